"""The training data as a streaming batch: an example whose answer is judged right leaves, a fresh one takes its row.

    a slot holds an example, its draw number, the segments it has taken, and its minimum of them
    after each update   segment += 1;  it leaves if segment = S, or if q > 0 and segment >= minimum
    who takes its row   the next example of the epoch's order, slot by slot; draw number +1, segment 0, carry afresh
    minimum             with probability `exploration` even in 2..S, else 1, drawn from (seed, index, draw number)

So easy examples take few updates and hard ones many. Source: TRM (arXiv 2510.04871), after HRM (arXiv 2506.21734).
Differs from their code, as HRM's text has it: the minimum is drawn once for an example, not anew at each segment.

Legend: B slots, over all processes; S segments.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import typed
from headwise.reasoning.draws import keys_of, uniform
from headwise.reasoning.state import ControllerState
from headwise.reasoning.trace import Carry
from headwise.tasks.base import KEYS, Batch, Source
from headwise.training.data import on_device
from headwise.training.objective import Objective, Part
from headwise.training.processes import Processes

SLOTS = ("index", "draw", "segment", "minimum")
NOTED = ("left", "halted", "segments_taken")


class StreamingBatches:
    """The updates of a whole run. Like `TrainingBatches`, but which examples an update sees follows from the judgements
    of the updates before, the same on any number of processes: each slot belongs to one part of one of them.

    Its state is all that the next update depends on: slots, place in the epoch's order, and carry. So a checkpoint can
    be taken after any update.

    Args:
        source, batch_size, updates, seed, segments, accumulate, processes, device, keyed: as of `TrainingBatches`; an
            example's key is made of its draw number, not of the number of a batch.
        steps: of a segment.
        exploration: share of the examples with a minimum of segments.

    Attributes:
        position: updates given so far.
        epoch: of the example drawn last, from 0.
        drawn: examples drawn so far, those at hand included.
        counted: examples that left after the update at hand.
        slots: int64 [B] each: index, draw, segment, minimum.
    """

    between = True

    def __init__(
        self,
        source: Source,
        batch_size: int,
        updates: int,
        seed: int,
        segments: int,
        accumulate: int = 1,
        processes: Processes | None = None,
        device: str = "cpu",
        keyed: bool = False,
        *,
        steps: int,
        exploration: float,
    ) -> None:
        self.source, self.batch_size, self.updates, self.seed = source, batch_size, updates, seed
        self.segments, self.steps, self.exploration = segments, steps, exploration
        self.device, self.keyed, self.processes = device, keyed, processes or Processes()
        self.position, self.epoch, self.drawn, self.counted = 0, 0, 0, 0
        own = torch.arange(batch_size).tensor_split(self.processes.count)[self.processes.rank]
        self._rows = list(own.tensor_split(accumulate))  # slots of each part of this process
        self._place, self._order = 0, self._order_of(0)
        self._noted = dict.fromkeys(NOTED, 0)
        self._batches: list[Batch] = []
        self._carries: list[Carry | None] = [None] * accumulate
        self._halts: list[Tensor] = []
        self.slots = {name: torch.zeros(batch_size, dtype=torch.int64) for name in SLOTS}
        self._fill(torch.ones(batch_size, dtype=torch.bool))

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[list[Batch]]:
        if not self._batches:
            self._batches = [self._batch(rows) for rows in self._rows]
        while self.position < self.updates:
            self.position += 1
            yield self._batches

    @property
    def epochs(self) -> float:
        """Passes over the data when the update at hand began, a fraction: examples drawn beyond the first batch."""
        return (self.drawn - self.batch_size) / len(self.source)

    def part(self, terms: Tensor, number: int) -> Part:
        """What the objective must know of part `number` of the update's batch, which has so many loss terms."""
        return Part(terms, self.processes.count, len(self._rows[number]) / sum(map(len, self._rows)))

    def carry(self, number: int) -> Carry | None:
        """What part `number` starts from, with fresh examples marked; None: all start afresh."""
        carry, segment = self._carries[number], self.slots["segment"][self._rows[number]].to(self.device)
        return None if carry is None else replace(carry, steps=segment * self.steps, fresh=segment == 0)

    def hand_on(self, number: int, out: Objective) -> None:
        """Keep what that part's next segment starts from; after the last part, examples that halt leave."""
        assert out.halts is not None
        self._carries[number] = replace(out.carry, steps=0, fresh=None)
        self._halts.append(out.halts)
        if number == len(self._rows) - 1:
            halts, self._halts = torch.cat(self._halts).cpu(), []
            self._leave(halts)

    def due(self, update: int, every: int) -> bool:
        """Whether what is to happen every so many updates, and at the end of the run, happens after this one."""
        return update % every == 0 or update == self.updates

    def taken(self) -> dict[str, float]:
        """For a line of metrics, of the examples that left since the last: mean segments, and the share that halted
        before they had taken all."""
        noted, self._noted = self._noted, dict.fromkeys(NOTED, 0)
        if not (left := noted["left"]):
            return {}
        return {"segments_mean": noted["segments_taken"] / left, "halted_share": noted["halted"] / left}

    def state_dict(self) -> dict[str, Any]:
        """The same on any number of processes; all of them must ask for it."""
        own = [None if carry is None else _plain(carry) for carry in self._carries]
        parts = [part for parts in self.processes.gather(own) for part in parts if part is not None]
        return {
            "position": self.position,
            "epoch": self.epoch,
            "place": self._place,
            "drawn": self.drawn,
            "noted": dict(self._noted),
            "slots": dict(self.slots),
            "carry": _joined(parts) if parts else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises: ValueError, InputError: it is not the state of such a stream."""
        numbers = {name: typed(state, name, int, "batches") for name in ("position", "epoch", "place", "drawn")}
        if min(numbers.values()) < 0:
            raise ValueError(f"batches: {numbers}")
        slots = {name: typed(state["slots"], name, Tensor, "batches: slots") for name in SLOTS}
        bounds = (len(self.source) - 1, numbers["drawn"] - 1, self.segments - 1, self.segments)
        for (name, values), most in zip(slots.items(), bounds, strict=True):
            if values.shape != (self.batch_size,) or values.dtype != torch.int64:
                raise ValueError(f"{name} of the slots is {values.dtype} of {tuple(values.shape)}")
            if values.min() < 0 or values.max() > most:
                raise ValueError(f"{name} of the slots is not in 0..{most}")
        self.position, self.epoch, self._place, self.drawn = numbers.values()
        self._order = self._order_of(self.epoch)
        self._noted = {name: typed(state["noted"], name, int, "batches: noted") for name in NOTED}
        self.slots, self._batches = slots, []
        if (plain := state["carry"]) is not None:
            carry = _unplain(plain, self.device)
            if carry.hidden.dim() != 3 or len(carry.hidden) != self.batch_size:
                raise ValueError(f"carry is of {tuple(carry.hidden.shape)}, and there are {self.batch_size} slots")
            self._carries = [carry.rows(rows.to(self.device)) for rows in self._rows]

    def _leave(self, halts: Tensor) -> None:
        """Let examples go and fetch others, in all slots alike in every process; `halts` is of this one's slots."""
        mask = torch.zeros(self.batch_size, dtype=torch.int32)
        mask[torch.cat(self._rows)] = halts.int()
        segment = self.slots["segment"] + 1
        last = segment == self.segments
        leaving = (self.processes.sum(mask).bool() & (segment >= self.slots["minimum"])) | last
        self.counted = int(leaving.sum())
        new = (self.counted, int((leaving & ~last).sum()), int(segment[leaving].sum()))
        self._noted = {name: self._noted[name] + more for name, more in zip(NOTED, new, strict=True)}
        self.slots = self.slots | {"segment": segment}
        self._fill(leaving)
        for number, rows in enumerate(self._rows):
            if len(places := leaving[rows].nonzero().flatten()):
                self._batches[number] = self._replaced(self._batches[number], places, rows[places])

    def _fill(self, free: Tensor) -> None:
        """Give the slots in `free` (bool [B]) the next examples of the order."""
        places = free.nonzero().flatten()
        index = torch.tensor([self._next() for _ in places], dtype=torch.int64)
        draw = torch.arange(self.drawn, self.drawn + len(places))
        self.drawn += len(places)
        new = {"index": index, "draw": draw, "segment": torch.zeros_like(index), "minimum": self.minimum(index, draw)}
        self.slots = {name: values.index_copy(0, places, new[name]) for name, values in self.slots.items()}

    def minimum(self, index: Tensor, draw: Tensor) -> Tensor:
        """Segments that examples take at least, int64 of the shape of their indices and draw numbers."""
        keys = keys_of(index, self.seed, draw)
        explores = uniform(keys, 1) < self.exploration
        return torch.where(explores, 2 + (uniform(keys, 2) * (self.segments - 1)).long(), 1)

    def _next(self) -> int:
        while self._place == len(self._order):
            self.epoch, self._place = self.epoch + 1, 0
            self._order = self._order_of(self.epoch)
        self._place += 1
        return int(self._order[self._place - 1])

    def _order_of(self, epoch: int) -> Tensor:
        return torch.cat(self.source.plan(self.batch_size, self.seed, epoch, shuffle=True))

    def _batch(self, rows: Tensor) -> Batch:
        index = self.slots["index"][rows]
        batch = self.source.batch(index)
        if self.keyed:
            batch = batch | {KEYS: keys_of(index, self.seed, self.slots["draw"][rows])}
        return on_device(batch, self.device)

    def _replaced(self, batch: Batch, places: Tensor, rows: Tensor) -> Batch:
        """The batch with the examples of the slots `rows` at `places`."""
        new, places = self._batch(rows), places.to(self.device)
        for name, values in new.items():
            if values.shape[1:] != batch[name].shape[1:]:
                raise InputError(
                    f"arm.halting.streaming=true: examples differ in the shape of {name} ({list(values.shape[1:])} and "
                    f"{list(batch[name].shape[1:])}), and one cannot take the row of another; use false"
                )
        return {name: values.index_copy(0, places, new[name]) for name, values in batch.items()}


def _plain(carry: Carry) -> dict[str, Any]:
    state = None if carry.state is None else carry.state.on_host()
    if carry.hidden.device.type != "cpu":
        torch.accelerator.synchronize(carry.hidden.device)
    return {
        "hidden": carry.hidden.cpu(),
        "latent": None if carry.latent is None else carry.latent.cpu(),
        "state": None if state is None else state.to_plain(),
    }


def _unplain(plain: dict[str, Any], device: str = "cpu") -> Carry:
    def there(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    state = plain["state"]
    if state is not None:
        state = ControllerState.from_plain({name: there(value) for name, value in state.items()})
    return Carry(there(typed(plain, "hidden", Tensor, "carry")), state, latent=there(plain["latent"]))


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The carry of all slots from those of the parts, in their order."""
    carries = [_unplain(part) for part in parts]
    return _plain(Carry.joined(carries, torch.arange(sum(len(carry.hidden) for carry in carries))))
