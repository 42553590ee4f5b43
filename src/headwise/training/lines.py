"""The JSONL files of a run: lines that are written whole, and dropped again where a resumed run will repeat them."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

METRICS, ROUTING = "metrics.jsonl", "routing.jsonl"


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Add one line."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(finite(line), allow_nan=False) + "\n")


def write_last_line(file: Path, line: Mapping[str, Any]) -> None:
    """Append the line about the test split, in place of one that is there already."""
    keep_lines(file, lambda found: found["split"] != "test")
    append(file, line)


def forget_after(file: Path, update: int) -> None:
    """Drop the lines of a JSONL file that lie after `update`: a resumed run will write them again."""
    keep_lines(file, lambda line: line["update"] <= update)


def keep_lines(file: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the other lines, and one that was cut off while it was written."""
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and wanted(json.loads(line))]
    if len(kept) < len(lines):
        temporary = file.with_name(file.name + ".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(file)


def finite(value: Any) -> Any:
    """The same plain data with null for numbers that JSON does not have (NaN, infinities)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
