"""Runs on a GPU: what a processor computes, for every arm and task; skipped where there is no GPU."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import headwise
from headwise.reasoning.initial_states import RandomState
from headwise.routing.layout import Layout
from headwise.training.run import train
from tests.laws.arms import ARMS, SHAPE, grid, perturbed

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.filterwarnings("default"),  # torch's compiler has some of its own
]

TASKS = ["language", "maze", "maze_characters", "parsing", "pretrained", "sorting", "sorting_hints", "sudoku_4", "walk"]
SHORT = ("quick=true", "training.updates=4", "training.validate_every=2", "device=cuda", "training.precision=fp32")
LOOPED = ("task=sudoku_4", "arm=looped", "training.log_every=1", "training.schedule=constant")
WAYS = {
    "dense": replace(SHAPE, skipping="never"),
    "skipping": replace(SHAPE, relative=1, structural_heads={"second": 1, "first": 2}, skipping="always"),
}


def layout(device: str) -> Layout:
    """Of three examples of six tokens, the last with two of padding."""
    padding = torch.arange(6) < torch.tensor([[6], [6], [4]])
    drawn = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(6)) < 0.4
    first, second = (drawn | torch.eye(6, dtype=torch.bool)).to(device)
    seen = {"first": first, "second": second}
    route = torch.tensor([[0, 1], [1, -1], [1, 1]])
    keys = torch.arange(3)
    return Layout(padding.to(device), seen, grid(2, 3).to(device), route.to(device), keys=keys.to(device))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ARMS)
def test_every_arm_computes_on_a_gpu_what_it_computes_on_a_processor(name: str, way: str) -> None:
    # Gumbel noise is another sequence of numbers on every device
    backbone = perturbed(ARMS[name], shape=WAYS[way]).train("gumbel" not in name)
    x = torch.randn(3, 6, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = []
    for device in ("cpu", "cuda"):
        backbone.to(device)
        trace = backbone(x.to(device), layout(device))
        loss = (trace.states.square().mean((2, 3)) * trace.weights).sum() + sum(trace.losses.values())
        gradients = torch.autograd.grad(loss, list(backbone.parameters()), materialize_grads=True)
        found.append([part.cpu() for part in (trace.states, trace.weights, trace.steps, loss, *gradients)])
    refinement = ARMS[name].refinement
    drawn = refinement.noise or isinstance(refinement.initial_state, RandomState)  # in single precision
    close = 1e-5 if drawn else 1e-8
    torch.testing.assert_close(found[1], found[0], rtol=close, atol=close)


def trained(folder: Path, *settings: str) -> Path:
    return train(headwise.configure([*SHORT, *settings, f"output={folder}"]), progress=False)


@pytest.mark.parametrize("task", TASKS)
def test_weights_trained_on_a_gpu_say_the_same_on_a_processor(task: str, tmp_path: Path) -> None:
    directory = trained(tmp_path, f"task={task}")
    values = {device: headwise.evaluate(directory, {"device": device})["value"] for device in ("cuda", "cpu")}
    # Choices among scores that are nearly equal may fall otherwise: some room for what counts them
    assert values["cuda"] == pytest.approx(values["cpu"], rel=0.02, abs=0.02)


@pytest.mark.parametrize("how", ["precision=bf16", "compile=true", "ema=0.9", "profile=true", "accumulate=2"])
def test_a_gpu_trains_in_every_way_of_training(how: str, tmp_path: Path) -> None:
    directory = trained(tmp_path, "task=sudoku_4", "arm=trm", f"training.{how}")
    assert json.loads((directory / "summary.json").read_text())["updates"] == 4


def test_a_streaming_batch_trains_on_a_gpu(tmp_path: Path) -> None:
    directory = trained(tmp_path, "task=sudoku_4", "arm=trm", "arm.halting.name=correct")
    assert json.loads((directory / "summary.json").read_text())["updates"] == 4


def test_a_run_on_a_gpu_goes_on_where_it_was(tmp_path: Path) -> None:
    """Not bit for bit: some sums of a GPU come in any order."""
    whole = losses(trained(tmp_path / "whole", *LOOPED, "training.updates=8"))
    parts = trained(tmp_path / "parts", *LOOPED, "training.updates=4")
    config = headwise.configure([*SHORT, *LOOPED, "training.updates=8", f"output={tmp_path / 'parts'}"])
    assert losses(train(config, parts, progress=False)) == pytest.approx(whole, rel=1e-4)


def losses(directory: Path) -> list[float]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]
