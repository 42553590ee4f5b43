"""The JSONL files of a run: lines are dropped again where a resumed run will repeat them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headwise.files import append_record, parse_mapping, read_text, typed, write_text


def write_last_line(file: Path, line: Mapping[str, Any]) -> None:
    """Append the line about the test split, in place of one that is there already."""
    keep_lines(file, lambda found: found.get("split") != "test")
    append_record(file, line)


def forget_after(file: Path, update: int) -> None:
    """Drop the lines of a JSONL file that lie after `update`: a resumed run will write them again.

    Raises:
        InputError: a line in between is damaged; it names the file and the line.
    """
    keep_lines(file, lambda line: typed(line, "update", int, file) <= update)


def keep_lines(file: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the other lines, and one that was cut off while it was written.

    Raises:
        InputError: a line in between is damaged; it names the file and the line.
    """
    if not file.exists():
        return
    *lines, cut = read_text(file).split("\n")
    records = [parse_mapping(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]
    kept = [f"{line}\n" for line, record in zip(lines, records, strict=True) if wanted(record)]
    if cut or len(kept) < len(lines):
        write_text(file, "".join(kept))
