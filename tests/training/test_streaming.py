"""The streaming batch against the published loop, written out slot by slot; stops, parts and processes do not show."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.errors import InputError
from headwise.reasoning.controllers import TwoLevelState
from headwise.reasoning.draws import keys_of, uniform
from headwise.reasoning.halting import Correct
from headwise.reasoning.state import ControllerState
from headwise.reasoning.trace import Carry
from headwise.tasks.base import KEYS, Source, TaskModel
from headwise.training.building import reproducible
from headwise.training.config import RunConfig
from headwise.training.fit import assembled
from headwise.training.interruption import Interruption
from headwise.training.loop import Training, train_loop
from headwise.training.objective import Objective
from headwise.training.optim import optimizer_for
from headwise.training.processes import Processes
from headwise.training.schedules import set_learning_rates
from headwise.training.start import build
from headwise.training.streaming import StreamingBatches
from tests.training.recipes import tiny
from tests.training.shared_runs import Changed, Weights, in_float64, same, stopped, trained

S = 4
STREAMS = {
    "halting": {"name": "correct", "exploration": 0.5},
    "refinement": {
        "recursion": {"name": "two_streams", "period": 2},
        "initial_state": {"name": "random"},
        "noise": 0.1,
        "steps": 4,
        "segments": S,
        "gradient": "last",
    },
}
# One stream from the embedding, whose first step is that of a plain transformer, under a controller with a state.
SINGLE = {
    "router": "learned",
    "controller": {"name": "hrm", "period": 2},
    "halting": {"name": "correct", "exploration": 0.5, "pool": "mean"},
    "refinement": {"steps": 2, "segments": S, "injection": "input"},
}
ARMS = {"streams": STREAMS, "single": SINGLE}


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start about as many answers are judged right as wrong, and no answer like another."""
    honest = Correct.__init__

    def mixed(self: Correct, *settings: Any) -> None:
        honest(self, *settings)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.weight.normal_(generator=torch.Generator().manual_seed(5))

    monkeypatch.setattr(Correct, "__init__", mixed)


def config(output: Path, name: str = "streams", **training: Any) -> RunConfig:
    """Eight slots, 11 examples an epoch, so that epochs begin in the middle of an update."""
    small = tiny(output, ARMS[name], **({"updates": 12, "warmup": 0.0, "validate_every": 6, "log_every": 4} | training))
    return replace(small, task=replace(small.task, train_examples=11))


def started(config: RunConfig, folder: Path) -> Training:
    """A run in float64 before its first update."""
    data, model = build(config)
    split = data.split
    data.split = lambda name: Changed(split(name), same)  # type: ignore[method-assign]
    folder.mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    return assembled(config, model, data, folder, None, Interruption(), None, Processes(), ())


@dataclass
class Slot:
    """An example on its way, in the twin."""

    index: int
    draw: int
    minimum: int
    taken: int = 0
    carry: Carry | None = None


def published(config: RunConfig, model: TaskModel, source: Source) -> tuple[list[list[Any]], int]:
    """The loop of TRM, each slot alone: what the slots held at each update, and how many examples left."""
    training, loop, exploration = config.training, config.arm.refinement, config.arm.halting.exploration
    orders = (torch.cat(source.plan(training.batch_size, config.seed, epoch, shuffle=True)) for epoch in count())
    examples = (int(index) for order in orders for index in order)
    draws = count()

    def fresh() -> Slot:
        index, draw = next(examples), next(draws)
        key = keys_of(torch.tensor([index]), config.seed, draw)
        explores = uniform(key, 1).item() < exploration
        return Slot(index, draw, 2 + int(uniform(key, 2).item() * (S - 1)) if explores else 1)

    optimizer = optimizer_for(model, training.preset)
    slots, seen, left = [fresh() for _ in range(training.batch_size)], list[list[Any]](), 0
    for update in range(1, training.updates + 1):
        set_learning_rates(optimizer, training, update)
        seen.append([(slot.index, slot.draw, slot.taken, slot.minimum) for slot in slots])
        losses, terms, judged, halts = [], 0, [], []
        for slot in slots:
            index = torch.tensor([slot.index])
            batch = source.batch(index) | {KEYS: keys_of(index, config.seed, slot.draw)}
            trace = model(batch, slot.carry)
            prediction = model.task.read_out(trace.states[-1], batch)
            losses.append(model.task.loss(prediction, batch))
            terms += model.task.terms(batch).sum()
            right = model.task.metrics(prediction, batch)["perfect"].to(trace.halting.dtype)
            judged.append(F.binary_cross_entropy_with_logits(trace.halting, right))
            halts.append(trace.halting.item() > 0)
            slot.carry, slot.taken = trace.carry.detach(), slot.taken + 1
            assert slot.carry.steps == slot.taken * loop.steps
        loss = torch.cat(losses).sum() / terms + 0.5 * torch.stack(judged).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.preset.clip_norm)
        optimizer.step()
        for place, (slot, halt) in enumerate(zip(slots, halts, strict=True)):
            if slot.taken == S or (halt and slot.taken >= slot.minimum):
                left, slots[place] = left + 1, fresh()
    return seen, left


def as_published(name: str, folder: Path) -> None:
    settings = config(folder, name)
    with in_float64(), reproducible(settings):
        run, twin = started(settings, folder / "ours"), started(settings, folder / "twin")
        seen, left = published(settings, twin.model.train(), twin.batches.source)
        ours = list[list[Any]]()
        given = run.batches.carry

        def watched(number: int) -> Carry | None:
            ours.append(list(zip(*(values.tolist() for values in run.batches.slots.values()), strict=True)))
            return given(number)

        run.batches.carry = watched  # type: ignore[method-assign]
        assert train_loop(run)
        assert ours == seen
        assert run.recorder.examples == left
        assert len({taken for slots in seen for _, _, taken, _ in slots}) == S, "examples must differ in their segments"
        assert left > 16
        for (name, own), other in zip(run.model.named_parameters(), twin.model.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ARMS)
def test_a_streaming_batch_is_the_published_loop_slot_by_slot(name: str, tmp_path: Path) -> None:
    as_published(name, tmp_path)


def stale(self: StreamingBatches, number: int) -> Carry | None:
    carry = honest_carry(self, number)
    return carry and replace(carry, fresh=torch.zeros_like(carry.fresh))


def of_global_numbers(self: StreamingBatches, index: Tensor, draw: Tensor) -> Tensor:
    explores = torch.rand(index.shape) < self.exploration
    return torch.where(explores, torch.randint(2, self.segments + 1, index.shape), 1)


def late(self: StreamingBatches, number: int, out: Objective) -> None:
    """Judged as with the weights after the optimiser's step: a different head."""
    hidden = out.carry.hidden
    honest_hand_on(self, number, out._replace(halts=hidden[:, 0].sum(-1) > 0))


honest_carry, honest_hand_on = StreamingBatches.carry, StreamingBatches.hand_on
MISTAKES: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "a fresh row starts from what the last example left": (StreamingBatches, "carry", stale),
    "a controller keeps its state of the last example": (TwoLevelState, "afresh", lambda self, rows: self),
    "exploration from the global generator": (StreamingBatches, "minimum", of_global_numbers),
    "an example leaves before its minimum": (
        StreamingBatches,
        "minimum",
        lambda self, index, draw: torch.ones_like(index),
    ),
    "judged by other weights": (StreamingBatches, "hand_on", late),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistakes_in_the_stream_are_caught(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*MISTAKES[mistake])
    with pytest.raises(AssertionError):
        as_published("single", tmp_path)


def test_exploration_is_a_share_of_the_examples_and_even_over_the_segments(tmp_path: Path) -> None:
    with in_float64():
        stream = started(config(tmp_path), tmp_path / "run").batches
    index = torch.arange(40_000)
    minimum = stream.minimum(index, index + 7)
    shares = [(minimum == segments).double().mean().item() for segments in range(1, S + 1)]
    assert shares == pytest.approx([0.5] + [0.5 / 3] * 3, abs=0.01)
    assert torch.equal(minimum[:9], stream.minimum(index[:9], index[:9] + 7))
    assert not torch.equal(minimum, stream.minimum(index, index + 8))


CLOCK = ("seconds", "samples_per_second", "tokens_per_second", "peak_memory_mb")


def lines(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in found]


def alike(a: Path, b: Path) -> bool:
    return all(one == pytest.approx(other, abs=1e-9) for one, other in zip(lines(a), lines(b), strict=True))


def close(a: Weights, b: Weights) -> bool:
    return all(np.allclose(a[name], b[name], rtol=0, atol=1e-9) for name in b)


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("update", [1, 5])
def test_a_run_stopped_between_any_two_updates_goes_on_as_if_it_had_not_been(
    name: str, update: int, tmp_path: Path
) -> None:
    whole = trained(config(tmp_path, name), tmp_path / "whole")
    assert stopped(config(tmp_path, name), tmp_path / "halves", update) is not None
    halves = trained(config(tmp_path, name), tmp_path / "halves", resume=True)
    assert all(np.array_equal(halves[key], whole[key]) for key in whole)
    assert alike(tmp_path / "halves", tmp_path / "whole")


def test_a_stopped_run_goes_on_in_parts(tmp_path: Path) -> None:
    whole = trained(config(tmp_path, "single"), tmp_path / "whole")
    stopped(config(tmp_path, "single"), tmp_path / "halves", 5)
    assert close(trained(config(tmp_path, "single", accumulate=3), tmp_path / "halves", resume=True), whole)


@pytest.mark.parametrize("name", ARMS)
def test_parts_and_processes_see_the_same_stream(name: str, tmp_path: Path) -> None:
    whole = trained(config(tmp_path, name), tmp_path / "whole")
    assert close(trained(config(tmp_path, name, accumulate=3), tmp_path / "parts"), whole)
    assert alike(tmp_path / "parts", tmp_path / "whole")


def test_records_say_how_many_segments_examples_took_and_how_many_halted(tmp_path: Path) -> None:
    trained(config(tmp_path), tmp_path / "run")
    train = [line for line in lines(tmp_path / "run") if line["split"] == "train"]
    assert [line["update"] for line in train] == [4, 6, 8, 12]
    assert all(1 <= line["segments_mean"] <= S for line in train)
    assert any(0 < line["halted_share"] < 1 for line in train)
    assert 0 < train[0]["examples"] < train[-1]["examples"]
    # 8 slots take 12 segments each; those that still are at work have not been counted
    taken = sum(
        line["segments_mean"] * (line["examples"] - before)
        for line, before in zip(train, [0, *(line["examples"] for line in train)], strict=False)
    )
    assert 8 * 12 - 8 * (S - 1) <= taken <= 8 * 12


class Growing(Source):
    """Examples as long as their number says."""

    def __len__(self) -> int:
        return 6

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        return {"x": torch.zeros(len(index), int(index.max()) + 1)}


def test_examples_of_different_lengths_cannot_take_each_others_rows() -> None:
    stream = StreamingBatches(Growing(), 2, 9, 0, segments=2, steps=1, exploration=0.0)
    out = Objective(torch.zeros(()), {}, Carry(torch.zeros(2, 1, 1), None), halts=torch.tensor([True, False]))

    def run() -> None:
        for _ in stream:
            stream.hand_on(0, out)

    with pytest.raises(InputError, match=r"arm.halting.streaming=true: examples differ in the shape of x .*use false"):
        run()


def test_a_state_of_a_controller_is_written_down_and_read_by_name() -> None:
    state = TwoLevelState(*torch.randn(2, 3, 1, 4), 7, torch.ones(3, 1, 1), torch.zeros(3, 1, 1))
    again = ControllerState.from_plain(state.to_plain())
    assert isinstance(again, TwoLevelState)
    assert again.step == 7
    assert torch.equal(again.fast, state.fast)
    with pytest.raises(ValueError, match=r"state of a controller: Gone is none of .*TwoLevelState"):
        ControllerState.from_plain({"class": "Gone"})
