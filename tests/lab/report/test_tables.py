"""The table at the end of a comparison in a terminal."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headwise.errors import InputError
from headwise.lab.report.tables import comparison_text, insert_table, markdown_table


def printed(result: dict[str, Any], width: int = 160) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in comparison_text(result):
            console.print(part)
    return capture.get()


@pytest.fixture
def result(comparison: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((comparison / "comparison.json").read_text())
    return content


def test_the_table_puts_every_arm_between_ceiling_and_floor(result: dict[str, Any]) -> None:
    lines = printed(result).splitlines()
    names = ["ceiling", "one line rule", "baseline", "looped", "hrm", "floor"]
    places = [next(i for i, line in enumerate(lines) if line.strip().startswith(name)) for name in names]
    assert places == sorted(places)


def test_the_table_has_score_interval_size_flops_and_speed(result: dict[str, Any]) -> None:
    text = printed(result)
    row = next(line for line in text.splitlines() if line.strip().startswith("looped"))
    low, high = result["arms"]["looped"]["interval"]
    cells = ["looped", "0.4988", f"{low:.4f} to {high:.4f}", "99.5 %", "50\u202f048", "12.0 M", "256"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells


def test_every_pair_has_its_verdict_and_the_report_its_path(result: dict[str, Any]) -> None:
    text = " ".join(printed(result).split())
    assert result["headline"] in text
    for pair in result["pairs"]:
        assert pair["verdict"] in text
    assert text.endswith("report.html")


def test_of_many_pairs_those_with_the_first_arm_are_printed(result: dict[str, Any]) -> None:
    pair = result["pairs"][0]
    others = [pair | {"a": f"arm{n}", "b": "looped", "verdict": f"said of arm{n}"} for n in range(11)]
    with_first = [pair | {"verdict": f"said of first {n}"} for n in range(2)]
    text = " ".join(printed(result | {"pairs": with_first + others}).split())
    assert "said of first 0" in text
    assert "said of first 1" in text
    assert "said of arm" not in text
    assert "and 11 pairs more, on the page" in text
    assert "said of arm9" in " ".join(printed(result | {"pairs": with_first + others[1:]}).split())


def test_names_leave_out_what_arms_share_and_that_is_told(result: dict[str, Any]) -> None:
    for old, new in (("hrm", "hrm:model.width=64"), ("looped", "looped:model.width=64")):
        result["arms"] = {new if label == old else label: arm for label, arm in result["arms"].items()}
        result["pairs"] = [pair | {side: new for side in "ab" if pair[side] == old} for pair in result["pairs"]]
    told = "Names leave out what arms share: model.width=64 in looped and hrm."
    for text in (printed(result), markdown_table(result)):
        assert told in text
        assert text.count("model.width=64") == 1


def test_a_failed_run_and_brackets_in_a_label_are_printed_as_they_are(result: dict[str, Any]) -> None:
    result["arms"]["[bold]"] = result["arms"].pop("hrm") | {"failures": {"2": "RuntimeError: loss nan"}}
    text = printed(result)
    assert "[bold], seed 2 failed: RuntimeError: loss nan" in text
    assert any(line.strip().startswith("[bold]") for line in text.splitlines())


def test_a_table_in_a_document_changes_nothing_but_what_stands_between_the_marks(
    result: dict[str, Any], tmp_path: Path
) -> None:
    document = tmp_path / "read me (ü=1).md"
    document.write_bytes(
        "Title\r\n\r\n<!-- result table -->\r\nold\r\n<!-- end of result table -->\r\ntail é\r\n".encode()
    )
    document.chmod(0o640)
    insert_table(result, document)
    content = document.read_bytes()
    assert content.startswith(b"Title\r\n\r\n<!-- result table -->\r\n")
    assert content.endswith("<!-- end of result table -->\r\ntail é\r\n".encode())
    assert b"old" not in content
    assert b"\n" not in content.replace(b"\r\n", b""), "every line end as it was"
    assert document.stat().st_mode & 0o777 == 0o640
    insert_table(result, document)
    assert document.read_bytes() == content, "a second time changes nothing"


def test_a_new_document_is_made_but_no_folder(result: dict[str, Any], tmp_path: Path) -> None:
    insert_table(result, tmp_path / "new.md")
    text = (tmp_path / "new.md").read_text(encoding="utf-8")
    assert text == f"<!-- result table -->\n{markdown_table(result)}\n<!-- end of result table -->\n"
    with pytest.raises(InputError, match="no folder"):
        insert_table(result, tmp_path / "gone" / "new.md")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Größe\n<!-- result table -->\n<!-- end of result table -->\n".encode("latin-1"), "not UTF-8"),
        (b"no marks\n", "no place for the table"),
        (b"<!-- end of result table -->\n<!-- result table -->\n", "no place for the table"),
    ],
)
def test_a_document_without_a_place_or_in_another_encoding_is_left_alone(
    result: dict[str, Any], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.md").write_bytes(content)
    with pytest.raises(InputError, match=message):
        insert_table(result, tmp_path / "a.md")
    assert (tmp_path / "a.md").read_bytes() == content
