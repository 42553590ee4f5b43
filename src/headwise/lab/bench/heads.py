"""Speed of attention whose heads are partly off, over dense attention: the whole curve, break-even and losses.

One attention layer of width 512, causal, on one thread, with router, selection and slicing in our time and neither
gates nor router in the dense one's. A router with random weights selects; its gates are forced (no gradient), because a
causal model refuses selection per sequence and because skipping gives a gate that is off no gradient. Training is
forward and backward with gradients in inputs and all weights. All forms of a cell take turns within a round, dense
attention before each kind. Times are the process's own seconds: on one thread those of an idle machine's clock, without
the turns that other programs take.

Names: heads/{layer|sequence|token}_{percent of heads on}_n{length}_h{heads}_{train|infer}; the ratio is the speed-up
that the rule of `headwise.routing.skipping` gives. Where the rule computes densely, heads/always_... is the same with
skipping forced. Legend: n length, D width, B batch.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from headwise.lab import plot_style as style
from headwise.routing.attention import RoutedAttention
from headwise.routing.gates import TopK
from headwise.routing.routers import Granularity, LearnedRouter, Router

WIDTH = 512
LENGTHS, HEADS, PERCENT = (512, 1024, 2048), (8, 16), (25, 50, 75)
KINDS: tuple[Granularity, ...] = ("layer", "sequence", "token")
TOKENS, ROUNDS = 2048, {"infer": 7, "train": 5}
LEAST = 0.97  # what the rule may lose where it computes densely


@dataclass(frozen=True)
class Cell:
    """A point of the curve; `forced` where skipping was forced against the rule."""

    kind: str
    percent: int
    length: int
    heads: int
    mode: str
    forced: bool = False

    @property
    def name(self) -> str:
        forced = "always_" if self.forced else ""
        return f"heads/{forced}{self.kind}_{self.percent}_n{self.length}_h{self.heads}_{self.mode}"

    @classmethod
    def read(cls, name: str) -> "Cell":
        """The cell of a name."""
        words = name.removeprefix("heads/").split("_")
        forced = words[0] == "always"
        kind, percent, length, heads, mode = words[forced:]
        return cls(kind, int(percent), int(length[1:]), int(heads[1:]), mode, forced)


@dataclass(frozen=True)
class Measured:
    """Milliseconds of our form and the dense one, and the median over rounds of dense over ours."""

    cell: Cell
    ours: float
    dense: float
    ratio: float


def measure() -> Iterator[Measured]:
    """All cells; about four minutes on an idle core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for length, heads, mode in product(LENGTHS, HEADS, ("infer", "train")):
            yield from _together(length, heads, mode)
    finally:
        torch.set_num_threads(before)


def _together(length: int, heads: int, mode: str) -> Iterator[Measured]:
    """Every kind and share at one length, timed in turns with dense attention."""
    torch.manual_seed(0)
    layers = {way: RoutedAttention(WIDTH, heads, causal=True, skipping=way).train(mode == "train") for way in WAYS}
    for layer in layers.values():
        layer.load_state_dict(layers["never"].state_dict())
    batch = max(2, TOKENS // length)  # at least two, so that examples differ in the heads they select
    x = torch.randn(batch, length, WIDTH, requires_grad=mode == "train")
    parts: dict[Cell | None, Callable[[], Tensor]] = {None: lambda: layers["never"](x)[0]}
    for kind, percent in product(KINDS, PERCENT):
        router = LearnedRouter(kind).build(TopK(heads * percent // 100), WIDTH, heads)
        assert router is not None
        with torch.no_grad():
            for parameter in router.parameters():
                parameter.normal_()
            gates = router(x)[0].weight

        def routed(way: str, router: Router = router) -> Callable[[], Tensor]:
            return lambda: layers[way](x, router(x)[0].weight.detach())[0]

        parts[Cell(kind, percent, length, heads, mode)] = routed("auto")
        if layers["auto"].plan(gates, x).kind == "dense":
            parts[Cell(kind, percent, length, heads, mode, True)] = routed("always")
    weights = [x, *(parameter for layer in layers.values() for parameter in layer.parameters())]
    above = torch.randn_like(x).detach() if mode == "train" else None
    for cell, pairs in _turns(parts, weights, above, ROUNDS[mode]).items():
        own, dense = (1e3 * statistics.median(part) for part in zip(*pairs, strict=True))
        yield Measured(cell, own, dense, statistics.median(d / o for o, d in pairs))


WAYS: tuple[Any, ...] = ("never", "auto", "always")


def _turns(
    parts: Mapping[Cell | None, Callable[[], Tensor]], weights: Sequence[Tensor], above: Tensor | None, rounds: int
) -> dict[Cell, list[tuple[float, float]]]:
    """Seconds of each part and of the dense one (None) next before it, per round; with `above` backward is in them."""

    def once(part: Callable[[], Tensor]) -> float:
        for weight in weights:
            weight.grad = None
        with torch.inference_mode(above is None):
            start = time.process_time()
            out = part()
            if above is not None:
                out.backward(above)  # type: ignore[no-untyped-call]
            return time.process_time() - start

    for part in parts.values():
        once(part)
    times: dict[Cell, list[tuple[float, float]]] = {cell: [] for cell in parts if cell is not None}
    for _ in range(rounds):
        dense, kind = 0.0, ""
        for cell, own in times.items():
            if cell.kind != kind:
                dense, kind = once(parts[None]), cell.kind
            own.append((once(parts[cell]), dense))
    return times


def curve(ratios: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of the summary: for each kind, share and mode the median, lowest and highest ratio over n and H."""
    rows = []
    for kind, mode, percent in product(KINDS, ROUNDS, PERCENT):
        auto, forced = _ratios(ratios, kind, mode, percent)
        chosen = {cell.name for cell in forced}
        plain = [value for cell, value in auto.items() if cell.name.replace("heads/", "heads/always_") in chosen]
        skipped = [forced.get(_forced(cell), value) for cell, value in auto.items()]
        rows.append(
            {
                "selection": kind,
                "mode": mode,
                "heads on": f"{percent} %",
                "median": statistics.median(auto.values()),
                "lowest": min(auto.values()),
                "highest": max(auto.values()),
                "dense by the rule": f"{len(plain)} of {len(auto)}",
                "median if forced": statistics.median(skipped),
            }
        )
    return rows


def _forced(cell: Cell) -> Cell:
    return Cell(cell.kind, cell.percent, cell.length, cell.heads, cell.mode, True)


def _ratios(ratios: Mapping[str, float], kind: str, mode: str, percent: int) -> tuple[dict[Cell, float], ...]:
    """The cells under the rule, and those that were forced besides."""
    found: tuple[dict[Cell, float], ...] = ({}, {})
    for name, ratio in ratios.items():
        cell = Cell.read(name)
        if (cell.kind, cell.mode, cell.percent) == (kind, mode, percent):
            found[cell.forced][cell] = ratio
    return found


def break_even(ratios: Mapping[str, float], kind: str, length: int, heads: int, mode: str) -> float | None:
    """Per cent of heads at which skipping costs what dense attention costs, between two measured shares.

    None where skipping wins at every share; 0 where it loses at every share.
    """
    points = []
    for percent in PERCENT:
        cell = Cell(kind, percent, length, heads, mode)
        points.append((percent, ratios.get(_forced(cell).name, ratios[cell.name])))
    if points[0][1] < 1:
        return 0.0
    for (low, above), (high, below) in pairwise(points):
        if below < 1:
            return low + (high - low) * (above - 1) / (above - below)
    return None


def lines(ratios: Mapping[str, float]) -> list[str]:
    """What the curve says in words: break-even, and where something is slower than dense attention."""
    out = ["break-even, per cent of heads on (skipping forced):"]
    for kind, mode in product(KINDS, ROUNDS):
        each = []
        for length, heads in product(LENGTHS, HEADS):
            share = break_even(ratios, kind, length, heads, mode)
            each.append(
                f"n={length} H={heads} {'above 75' if share is None else f'{share:.0f}' if share else 'below 25'}"
            )
        out.append(f"  {kind}, {mode}: " + "; ".join(each))
    for forced, text in ((True, "slower than dense if forced"), (False, f"the rule loses more than {1 - LEAST:.0%}")):
        limit = 1.0 if forced else LEAST
        slow = [(n, r) for n, r in ratios.items() if Cell.read(n).forced is forced and r < limit]
        out.append(f"{text}: " + ("; ".join(f"{n.removeprefix('heads/')} {r:.2f}" for n, r in slow) or "nowhere"))
    return out


def figure(ratios: Mapping[str, float]) -> Figure:
    """Speed-up over the share of heads: a panel for each selection and mode, a line for each n and H.

    Filled markers: skipped by the rule; hollow: skipping forced where the rule computes densely.
    """
    with rc_context(style.STYLE):
        drawn = Figure(figsize=(style.WIDTH, 5.6), layout="constrained", facecolor="white")
        FigureCanvasAgg(drawn)
        panels = drawn.subplots(len(ROUNDS), len(KINDS), sharex=True, sharey=True)
        for (row, mode), (column, kind) in product(enumerate(ROUNDS), enumerate(KINDS)):
            axis = panels[row][column]
            axis.plot(
                PERCENT, [100 / percent for percent in PERCENT], ":", color=style.MUTED, label="1 / share of heads"
            )
            axis.axhline(1, color=style.MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
            for index, (length, heads) in enumerate(product(LENGTHS, HEADS)):
                colour, cells = style.colour(index), [Cell(kind, p, length, heads, mode) for p in PERCENT]
                values = [ratios.get(_forced(cell).name, ratios[cell.name]) for cell in cells]
                axis.plot(PERCENT, values, color=colour, linewidth=1.2, label=f"n={length}, H={heads}")
                for cell, value in zip(cells, values, strict=True):
                    face = "white" if _forced(cell).name in ratios else colour
                    axis.plot([cell.percent], [value], style.marker(index), color=colour, markerfacecolor=face, ms=5)
            axis.set_title(f"{kind}, {'training' if mode == 'train' else 'inference'}")
            axis.set_xticks(PERCENT)
            if column == 0:
                axis.set_ylabel("speed-up over dense")
            if row:
                axis.set_xlabel("per cent of heads on")
        handles, names = panels[0][0].get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside upper left", ncols=4, fontsize=9)
        return drawn
