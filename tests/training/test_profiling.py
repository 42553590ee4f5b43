"""A profile says which part an operator belongs to, forward and backward, and changes nothing of what is trained."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from headwise.lab.report.write import write_report
from headwise.training.building import build_model, data_of
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import TrainingConfig
from headwise.training.profiling import by_part, named_methods
from headwise.training.run import train
from tests.training.recipes import GUMBEL, tiny


def event(name: str, start: float, time: float, parent: Any = None, number: int = -1, memory: float = 0.0) -> Any:
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start),
        cpu_parent=parent,
        sequence_nr=number,
        self_cpu_time_total=1000 * time,
        self_device_time_total=500 * time,
        self_cpu_memory_usage=2**20 * memory,
        self_device_memory_usage=0,
    )


def recorded() -> list[Any]:
    """An update: a router inside the backbone, their backward pass, and a validation that runs the backbone, too."""
    backbone = event("headwise: backbone", 0, 1)
    router = event("headwise: router", 1, 0, backbone)
    sum_back = event("autograd::engine::evaluate_function: SumBackward0", 10, 0, None, 8)
    product_back = event("autograd::engine::evaluate_function: MmBackward0", 20, 0, None, 7)
    grad = event("autograd::engine::evaluate_function: AccumulateGrad", 30, 1, None, -1)
    optimizer = event("Optimizer.step#AdamW.step", 40, 2)
    validation = event("headwise: validation", 50, 3)
    validated = event("headwise: backbone", 60, 1, validation)
    return [
        event("aten::mul", 61, 50, validated),
        validated,
        validation,
        optimizer,
        grad,
        event("aten::mm", 21, 6, product_back),
        product_back,
        event("aten::expand", 11, 4, sum_back),
        sum_back,
        event("aten::mm", 2, 3, router, 7, memory=4),
        event("aten::sum", 5, 2, backbone, 8, memory=1),
        event("aten::empty", 3, 1, router, 7, memory=-2),
        router,
        backbone,
    ]


def test_an_operator_of_the_backward_pass_belongs_to_the_part_that_made_its_node() -> None:
    parts = {part.part: part for part in by_part(recorded(), updates=2)}
    assert (parts["router"].forward_ms, parts["router"].backward_ms) == (2.0, 3.0)
    assert (parts["backbone"].forward_ms, parts["backbone"].backward_ms) == (1.5, 2.0)
    assert (parts["optimiser"].forward_ms, parts["other"].backward_ms) == (1.0, 0.5)
    assert parts["router"].kept_mb == 1.0
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    assert [part.part for part in by_part(recorded(), 2)][:2] == ["router", "backbone"]
    on_gpu = {part.part: part for part in by_part(recorded(), 2, on_cuda=True)}
    assert on_gpu["router"].forward_ms == 1.0


def test_validation_is_of_no_update() -> None:
    assert "validation" not in {part.part for part in by_part(recorded(), 2)}
    assert sum(part.forward_ms + part.backward_ms for part in by_part(recorded(), 1)) == 20


def test_what_a_compiled_backbone_is_made_of_is_not_told_apart(tmp_path: Path) -> None:
    def parts(compiled: bool) -> set[str]:
        training = SimpleNamespace(training=TrainingConfig(compile=compiled))
        stand_in = SimpleNamespace(batches=None, recorder=None, validation=None, model=model, config=training)
        return {part for _, _, part in named_methods(stand_in)}  # type: ignore[arg-type]

    config = tiny(tmp_path, GUMBEL)
    model = build_model(config, data_of(config).facts)
    assert parts(False) - parts(True) == {"controller", "router", "attention", "ffn"}
    assert {"data", "embed", "backbone", "read-out", "loss"} <= parts(True)


def test_a_profile_is_left_in_the_run_and_on_its_page_and_changes_no_weight(tmp_path: Path) -> None:
    plain = train(tiny(tmp_path / "plain", GUMBEL, dropout=0.2, updates=6), progress=False)
    run = train(tiny(tmp_path / "looked", GUMBEL, dropout=0.2, updates=6, profile=True), progress=False)
    states = [read_checkpoint(path / "checkpoints" / "last.ckpt")["model"] for path in (plain, run)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    found = json.loads((run / "profile" / "parts.json").read_text())
    assert found["updates"] == 3  # after two that are skipped, and one to warm up
    assert {path.name for path in (run / "profile").iterdir()} == {"parts.json", "parts.csv", "trace.json.gz"}
    parts = {part["part"]: part for part in found["parts"]}
    assert {
        "embed",
        "controller",
        "router",
        "attention",
        "ffn",
        "read-out",
        "optimiser",
        "data",
        "clip",
    } <= parts.keys()
    assert parts["attention"]["calls"] == 3  # one block, three steps
    assert parts["attention"]["backward_ms"] > 0
    assert parts["attention"]["kept_mb"] > 0
    rows = list(csv.DictReader((run / "profile" / "parts.csv").read_text().splitlines()))
    assert [row["part"] for row in rows] == [part["part"] for part in found["parts"]]
    trace = json.loads(gzip.decompress((run / "profile" / "trace.json.gz").read_bytes()))
    assert "headwise: router" in {one.get("name") for one in trace["traceEvents"]}
    page = write_report(run).read_text()
    assert "Where an update" in page
    assert "read-out" in page


def test_a_run_that_is_profiled_records_the_time_of_its_updates_and_epochs(tmp_path: Path) -> None:
    path = train(tiny(tmp_path, profile=True, validate_every=20), progress=False)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if line["split"] == "train"]
    assert all(0 < line["update_seconds"] <= line["update_seconds_max"] for line in training)
    seconds = sum(5 * line["update_seconds"] for line in training)
    assert seconds == pytest.approx(training[-1]["seconds"], rel=0.2, abs=0.05)
    assert json.loads((path / "profile" / "parts.json").read_text())["updates"] == 10
    assert ["epoch_seconds" in line for line in training] == [False, True, True, True]  # epochs of five updates


def test_a_resumed_run_is_profiled_as_far_as_updates_are_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny(tmp_path, updates=4, validate_every=2, profile=True, schedule="constant", warmup=0.0)
    path = train(config, progress=False)
    assert json.loads((path / "profile" / "parts.json").read_text())["updates"] == 2
    longer = replace(config, training=replace(config.training, updates=6))
    train(longer, resume=path, progress=False)
    assert "not profiled: 2 updates are left, 3 or more are needed" in caplog.text


def test_too_few_updates_to_look_at_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="profile=true with updates=2: choose 3 updates or more"):
        tiny(tmp_path, updates=2, profile=True)
