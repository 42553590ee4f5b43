"""Runs of the task from the words of a command line to tables, and on to graphs and instructions of other sizes."""

import json
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.compare import compare
from headwise.lab.report.write import write_report
from headwise.training.configuration import load, load_arms
from headwise.training.evaluation import evaluate
from headwise.training.run import train

TINY = [
    "task=walk",
    "task.nodes=6",
    "task.relations=3",
    "task.hops=3",
    "task.validation_examples=32",
    "task.test_examples=64",
    "model.width=16",
    "model.heads=4",
    "model.structural_heads=3",
    "model.ffn=16",
    "training.updates=6",
    "training.batch_size=8",
    "training.validate_every=3",
    "training.loggers=[]",
    "device=cpu",
]


def run(folder: Path, *words: str) -> Path:
    return train(load([*TINY, *words, f"output={folder}"]), progress=False)


def tables(path: Path) -> dict[str, Any]:
    return {table["title"]: table for table in json.loads((path / "analysis.json").read_text())["tables"]}


def test_a_run_says_how_it_does_by_number_of_hops_and_which_heads_are_open(tmp_path: Path) -> None:
    path = run(tmp_path, "arm=oracle", "task.train_hops=2")
    summary = json.loads((path / "summary.json").read_text())
    assert summary["floor"] == pytest.approx(1 / 6)
    assert summary["ceiling"] == 1
    assert set(summary["references_by_metric"]) == {
        "accuracy",
        "accuracy_1_hop",
        "accuracy_2_hops",
        "accuracy_3_hops",
    }
    hops, gates = tables(path)["By number of hops"], tables(path)["Gates by step"]
    assert [row[0] for row in hops["rows"]] == ["1 hop", "2 hops", "3 hops"]
    assert "more than 2 were not trained on" in hops["caption"]
    assert sum(row[1] for row in hops["rows"]) == 64
    assert gates["rows"] == [[f"step {t}", *([1.0, 0.0] if t <= 3 else ["-", "-"]), 1.0] for t in range(1, 7)]
    # Of four heads one along no relation is always open, and one of the other three while the walk goes on.
    mean = sum(n * row[1] for n, row in enumerate(hops["rows"], start=1)) / 64
    assert summary["heads_active_mean"] == pytest.approx(1 + mean / 6)


def test_weights_walk_other_graphs_and_with_an_instruction_by_steps_further(tmp_path: Path) -> None:
    path = run(tmp_path, "arm=looped_gated", "task.instruction=steps")
    further = evaluate(path, {"task.nodes": 9, "task.hops": 7, "arm.refinement.steps": 7})
    assert further["floor"] == pytest.approx(1 / 9)
    assert "accuracy_7_hops" in further["metrics"]
    placed = run(tmp_path, "arm=looped")
    assert evaluate(placed, {"task.nodes": 9})["floor"] == pytest.approx(1 / 9)
    with pytest.raises(InputError, match="trained on data with hops=3, these have 4"):
        evaluate(placed, {"task.hops": 4})


def test_arms_are_compared_on_walks_beside_the_oracle(tmp_path: Path) -> None:
    words = [*TINY, "task.successors=1.5", "task.instruction=tokens"]
    compare(load_arms(["looped_gated", "oracle"], words), seeds=1, output=tmp_path / "out", jobs=1)
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "oracle router: the heads of the relation that the task follows at each step" in page
    assert "By number of hops" in page
