"""Other ways to train the same: mixed precision, activations computed again, compiled, segments, averaged weights."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend

from headwise.models.compilation import compile_backbone
from headwise.training import fit
from headwise.training.building import reproducible
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import RunConfig, read
from headwise.training.evaluation import evaluate, load, overridden
from headwise.training.objective import objective
from headwise.training.optim import clip_by_role, optimizer_for
from headwise.training.run import train
from headwise.training.schedules import learning_rate_factor
from headwise.training.scoring import score
from headwise.training.start import build
from tests.training.recipes import GUMBEL, PONDER, SEGMENTS, lines, tiny, with_


def test_mixed_precision_trains_and_keeps_its_weights_in_full(tmp_path: Path) -> None:
    run = train(tiny(tmp_path, GUMBEL, precision="bf16", updates=5), progress=False)
    assert all(tensor.dtype != torch.bfloat16 for tensor in load(run).state_dict().values())


def test_activation_checkpointing_trains_the_same_model_bit_for_bit(tmp_path: Path) -> None:
    plain, again = (
        train(tiny(tmp_path / str(on), GUMBEL, dropout=0.2, updates=4, checkpointing=on), progress=False)
        for on in (False, True)
    )
    assert (plain / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch asks itself, while it traces
def test_a_compiled_backbone_trains_as_a_plain_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 6. The backend that only traces and differentiates stands in for the one that also writes C++, for time."""
    graphs = []

    def counting(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return lookup_backend("aot_eager")(graph, inputs)

    torch._dynamo.reset()
    monkeypatch.setattr(fit, "compile_backbone", partial(compile_backbone, backend=counting))
    arm = PONDER | {"controller": {"name": "hrm", "period": 1}, "refinement": {"steps": 2, "injection": "input"}}
    plain, compiled = (
        train(tiny(tmp_path / str(on), arm, updates=4, compile=on), progress=False) for on in (False, True)
    )
    assert graphs
    ours, theirs = load(compiled).state_dict(), load(plain).state_dict()
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, while it traces
def test_examples_of_any_length_need_no_further_compilation(tmp_path: Path) -> None:
    _, model = build(tiny(tmp_path, PONDER))
    graphs = 0

    def counting(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        nonlocal graphs
        graphs += 1
        return graph.forward

    compile_backbone(model.backbone, backend=counting)
    width = model.backbone.model.width
    seen = []
    for length in (5, 6, 7, 8, 9):
        model.backbone(torch.randn(length, length + 3, width))
        seen.append(graphs)
    assert seen[2] == seen[-1]


def test_a_run_in_segments_takes_the_steps_of_a_plain_loop_that_carries_the_state(tmp_path: Path) -> None:
    """Seven updates on batches of three segments: two batches whole and the first segment of a third."""
    config = tiny(tmp_path, SEGMENTS, updates=7, validate_every=7)
    run = train(config, progress=False)
    with reproducible(config):
        data, model = build(config)
        source, plan = data.split("train"), data.split("train").plan(8, config.seed, 0, shuffle=True)
        optimizer = optimizer_for(model, config.training.preset)
        for update in range(7):
            factor = learning_rate_factor(update, 7, config.training.warmup, config.training.schedule)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            carry = carry if update % 3 else None  # noqa: F821 - of the update before
            out = objective(model, source.batch(plan[update // 3]), {"entropy": 0.0}, carry)
            carry = out.carry
            optimizer.zero_grad()
            out.loss.backward()
            clip_by_role(optimizer, config.training.preset.clip())
            optimizer.step()
    for name, weight in load(run).state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-5, atol=1e-7)


def test_segments_are_updates_but_no_further_examples_and_count_in_an_examples_flops(tmp_path: Path) -> None:
    plain = {**SEGMENTS, "refinement": {"steps": 6, "injection": "input"}}
    summaries = [
        json.loads((train(tiny(tmp_path / str(i), arm, updates=12), progress=False) / "summary.json").read_text())
        for i, arm in enumerate((SEGMENTS, plain))
    ]
    assert [found["updates"] for found in summaries] == [12, 12]
    assert [found["examples"] for found in summaries] == [12 // 3 * 8, 12 * 8]
    assert [found["refinement_steps_mean"] for found in summaries] == [6, 6]
    assert summaries[0]["flops_per_example"] == summaries[1]["flops_per_example"]


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [({}, 6), ({"arm.refinement.steps": 4}, 12), ({"arm.refinement.segments": 8}, 16)],
)
def test_a_run_in_segments_is_evaluated_with_more_steps_than_it_was_trained_on(
    segmented: Path, overrides: dict[str, Any], steps: int
) -> None:
    found = evaluate(segmented, overrides)
    assert found["refinement_steps_mean"] == steps
    data, model = build(RunConfig.from_plain(overridden(read(segmented).to_plain(), overrides)))
    model.load_state_dict(load(segmented).state_dict())
    batch = data.split("test").batch(torch.arange(32))
    with torch.no_grad():
        trace = model.eval()(batch, record=True)
        value = model.task.metrics(model.task.read_out(trace.states[-1], batch), batch)["rank_tau"]
    assert len(trace.gates) == steps
    assert found["value"] == pytest.approx(value.mean().item())
    more = evaluate(segmented, {"arm.refinement.steps": 32})
    assert more["flops_per_example"] > 10 * evaluate(segmented)["flops_per_example"]


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(tmp_path_factory.mktemp("segments"), SEGMENTS), progress=False)


def test_averaged_weights_follow_their_formula_and_are_what_is_validated_and_saved(tmp_path: Path) -> None:
    config = tiny(tmp_path, GUMBEL, ema=0.9, updates=2, validate_every=1)
    runs = [train(with_(config, updates=2), progress=False)]
    first, second = (read_checkpoint(runs[0] / "checkpoints" / f"{name}.ckpt") for name in ("previous", "last"))
    start = dict(build(config)[1].named_parameters())
    for name, weight in start.items():
        expected = 0.9 * weight.detach() + 0.1 * first["model"][name]
        torch.testing.assert_close(first["average"][name], expected)
        expected = 0.9 * expected + 0.1 * second["model"][name]
        torch.testing.assert_close(second["average"][name], expected)
    best = read_checkpoint(runs[0] / "checkpoints" / "best.ckpt")
    saved = load(runs[0]).state_dict()
    assert all(torch.equal(saved[name], best["average"][name]) for name in start)
    data, model = build(config)
    model.load_state_dict(saved)
    validated = next(line for line in lines(runs[0], "metrics.jsonl")[::-1] if line.get("best"))
    assert score(model, data.split("validation"), 100).means()["rank_tau"] == pytest.approx(validated["rank_tau"])


def test_precision_auto_is_settled_before_the_run_begins_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was chosen, the run is the one that names it: the measurement leaves no trace."""
    with caplog.at_level(logging.INFO, "headwise"):
        run = train(tiny(tmp_path / "auto", GUMBEL, dropout=0.2, precision="auto", updates=4), progress=False)
    chosen = read(run).training.precision
    assert f"precision={chosen}: a step takes fp32" in caplog.text
    named = train(tiny(tmp_path / "named", GUMBEL, dropout=0.2, precision=chosen, updates=4), progress=False)
    assert (run / "model.safetensors").read_bytes() == (named / "model.safetensors").read_bytes()
    before = (run / "summary.json").read_bytes()
    train(with_(read(run), precision="auto"), resume=run, progress=False)
    assert json.loads(before)["updates"] == 4
    assert read(run).training.precision == chosen
