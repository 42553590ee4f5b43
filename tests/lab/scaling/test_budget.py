"""Memory and time before training: what is estimated from small passes is what the whole model takes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from headwise.lab.scaling.budget import (
    _first_batch,
    _score_bytes,
    _shallow,
    _update_bytes,
    memory,
    seconds,
)
from headwise.lab.scaling.memory import LiveBytes, Peak
from headwise.models.sizes import SIZES, ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.training import memory as machine
from headwise.training.building import build_model, data_of
from headwise.training.config import TrainingConfig
from headwise.training.memory import BLOCK_OBJECTS, capacity, resident, weights_memory
from headwise.training.optim import optimizer_for
from tests.lab.conftest import run_config

SHAPE = ModelConfig(width=32, heads=4, ffn=64, depth=4)
RECIPE = TrainingConfig(updates=40, batch_size=12, evaluation_batch_size=30)


def test_live_bytes_follow_tensors_from_their_making_to_their_end() -> None:
    weight = torch.randn(100, 100)
    with LiveBytes([weight]) as live:
        product = weight.t() @ weight  # the view shares the storage of a tensor that is not counted
        assert live.now == 40_000
        total = (product * 2).sum()  # the factor of two dies at once
        assert live.now == 40_000 + total.nbytes
        del product
        assert live.now == total.nbytes
    assert live.peak == 80_000 + total.nbytes


def test_live_bytes_see_what_checkpointing_does_not_keep_and_computes_again() -> None:
    layer = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(4)))
    x = torch.randn(256, 64, requires_grad=True)

    def kept(checkpointed: bool) -> tuple[int, int]:
        with LiveBytes([*layer.parameters(), x]) as live:
            out = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
            loss = out.square().mean()
            between = live.now
            loss.backward()
        return between, live.peak

    (plain, _), (light, peak) = kept(False), kept(True)
    assert light < plain / 3
    assert peak > light + plain / 2  # the layer's activations come back for the backward pass


@pytest.mark.parametrize("name", ["baseline", "hrm"])
def test_the_estimate_of_a_deep_model_on_a_large_batch_is_what_it_takes(name: str) -> None:
    config = run_config(name, model=SHAPE, training=RECIPE)
    data = data_of(config)
    need = memory(config, data)
    batch = data.split("train").batch(_first_batch(config, data))
    model = _shallow(config, data, SHAPE.depth)
    kept, _ = _update_bytes(config, model, batch)
    assert need.activations == pytest.approx(kept, rel=0.03)
    scored = _score_bytes(model, data, 30)
    assert 0.97 * scored <= need.evaluation <= 1.1 * scored
    own = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    assert need.parameters == own
    optimizer = optimizer_for(model, config.training.preset)
    optimizer.step()
    state = [value for values in optimizer.state.values() for value in values.values() if value.ndim]
    assert need.optimizer == sum(value.nbytes for value in state)
    assert need.gradients == sum(
        parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None
    )


def test_a_gradient_through_the_last_steps_only_needs_no_more_memory_for_more_steps() -> None:
    def activations(gradient: str, steps: int) -> int:
        arm = replace(
            run_config("looped").arm,
            refinement=RefinementConfig(steps=steps, gradient=gradient, injection="input"),  # type: ignore[arg-type]
        )
        config = run_config("looped", arm=arm, model=SHAPE, training=RECIPE)
        return memory(config, data_of(config)).activations

    assert activations("last", 8) == pytest.approx(activations("last", 4), rel=0.02)
    assert activations("full", 8) > 1.8 * activations("full", 4)


def test_the_peak_counts_each_phase_once() -> None:
    config = run_config("baseline", model=SHAPE, training=RECIPE)
    need = weights_memory(config, data_of(config).facts, process=1000)
    assert need.process == 1000 + BLOCK_OBJECTS * SHAPE.depth
    assert need.peak == need.process + need.parameters + need.gradients + need.optimizer + need.checkpoint
    assert replace(need, activations=10**9, evaluation=10**8).peak == need.peak - need.checkpoint + 10**9


def test_the_largest_size_is_weighed_without_being_built() -> None:
    config = run_config("baseline", model=SIZES["huge"])
    assert 16 * 520e6 < weights_memory(config, data_of(config).facts).peak - 12 * 520e6 < 16 * 523e6


def test_time_grows_with_updates_and_a_timing_leaves_weights_of_the_run_alone() -> None:
    config = run_config("baseline", model=SHAPE, training=RECIPE)
    data = data_of(config)
    torch.manual_seed(3)
    before = build_model(config, data.facts)
    estimate = seconds(config, data, 1)
    assert estimate.training == pytest.approx(40 * estimate.update)
    assert estimate.run == estimate.training + estimate.evaluation > 0
    assert torch.get_num_threads() == 1
    torch.manual_seed(3)
    after = build_model(config, data.facts)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_the_capacity_is_the_least_of_memory_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, free = tmp_path / "memory.max", tmp_path / "unlimited"
    free.write_text("max\n")
    monkeypatch.setattr(machine, "GROUP_LIMITS", (free, tmp_path / "missing"))
    physical = capacity()
    assert physical > 2**28
    limit.write_text("268435456\n")
    monkeypatch.setattr(machine, "GROUP_LIMITS", (free, limit))
    assert capacity() == 2**28


def test_the_peak_of_a_process_holds_what_was_allocated_and_freed() -> None:
    before = resident()
    with Peak() as peak:
        block = torch.ones(2**25)  # 128 MiB
        del block
    assert peak.bytes > before + 100 * 2**20
