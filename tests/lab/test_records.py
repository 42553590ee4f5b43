"""Runs read back from disk: whatever is damaged, the rest is still there."""

from pathlib import Path

import numpy as np
import pytest

from headwise.lab.records import is_run, read_run

WHOLE = '{"update": 10, "split": "validation", "loss": 2.0}\n', '{"update": 30, "split": "validation", "loss": 1.0}\n'


@pytest.mark.parametrize("damage", ["{\n", "[1, 2]\n", "\x00\n", '"update"\n', "[" * 100_000 + "\n"])
def test_a_damaged_record_hides_no_other(tmp_path: Path, damage: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(WHOLE[0] + damage + WHOLE[1], encoding="utf-8")
    assert read_run(tmp_path).curve("loss") == ([10.0, 30.0], [2.0, 1.0])


def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(WHOLE[0] + WHOLE[1][:-9], encoding="utf-8")
    assert read_run(tmp_path).curve("loss") == ([10.0], [2.0])


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"PK\x03\x04", b"\x93NUMPY", b"{", b"[]", b"null", b"[" * 100_000]
)
def test_a_run_whose_every_file_is_damaged_is_an_empty_run(tmp_path: Path, content: bytes) -> None:
    for name in ("summary.json", "metrics.jsonl", "routing.jsonl", "test_values.npy", "analysis.json"):
        (tmp_path / name).write_bytes(content)
    run = read_run(tmp_path)
    assert is_run(tmp_path)
    assert (run.summary, run.metrics, run.routing, run.analysis) == ({}, [], [], {})
    assert run.test_values is None


def test_a_directory_in_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "summary.json").mkdir()
    assert read_run(tmp_path).summary == {}


def test_test_values_are_one_number_for_each_example(tmp_path: Path) -> None:
    np.save(tmp_path / "test_values.npy", np.zeros((2, 2), dtype=np.float32))
    assert read_run(tmp_path).test_values is None
    np.save(tmp_path / "test_values.npy", np.array([0.5, 1.0]))
    values = read_run(tmp_path).test_values
    assert values is not None
    assert (values.dtype, values.tolist()) == (np.float32, [0.5, 1.0])
