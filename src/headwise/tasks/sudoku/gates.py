"""Which constraints a router follows: gates of heads along rows, columns and boxes and of heads that see everything.

Legend: B puzzles, C cells, H heads, G groups of heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headwise.routing.layout import heads_along
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.examined import GateSums
from headwise.tasks.sudoku.board import board
from headwise.tasks.sudoku.model import UNITS

STEPS = "Mean gate over puzzles, layers and cells, by refinement step; 1 is plain attention."
CELLS = (
    "The same by what kind of cell asks, at some of the steps. A blank is counted by what settles it before anything "
    "is filled in: it has one candidate (naked single); it is the only one of its row, column or box for a digit "
    "(hidden single; it may be one of several units); nothing does at once (later). A router that follows the "
    "constraint that settles a cell has the gate of that unit larger in that row than in the others."
)
SHOWN = 4
"""Steps of which gates are shown by kind of cell."""


@dataclass
class Usage:
    """The gates of many puzzles, by refinement step.

    Attributes:
        sums: of all heads.
        kinds: per step {kind of cell: its cells, and the sum over them of the mean gate of each head, [1 + H]}; empty
            where all cells of a puzzle have the same gates.
    """

    sums: GateSums = field(default_factory=GateSums)
    kinds: list[dict[str, Tensor]] = field(default_factory=list)


@torch.no_grad()
def usage(model: TaskModel, batches: Iterable[Batch], box: tuple[int, int]) -> Usage:
    """The gates of a model with a router, in evaluation mode, over batches of puzzles."""
    used = Usage()
    for batch in batches:
        trace = model(batch, record=True)
        used.sums.add(trace)
        of_kind = kinds(batch["clues"], box)
        for t, layers in enumerate(trace.gates or []):
            running = trace.steps > t
            if t == len(used.kinds):
                used.kinds.append({})
            weight = torch.stack([gates.weight for gates in layers]).mean(0)  # [B, C|1, H]
            for kind, chosen in of_kind.items() if weight.shape[1] > 1 else ():
                among = weight[chosen & running[:, None]]  # [cells, H]
                found = torch.cat([among.new_tensor([len(among)]), among.sum(0)])
                used.kinds[t][kind] = used.kinds[t].get(kind, 0) + found
    return used


def kinds(clues: Tensor, box: tuple[int, int]) -> dict[str, Tensor]:
    """Which cells of puzzles [B, C] are of which kind, bool [B, C] each."""
    N, blank = box[0] * box[1], clues == 0
    geometry = board(box)
    units = torch.from_numpy(geometry.units).to(clues.device)  # [3 N, N]
    unit_of = torch.from_numpy(geometry.unit_of).to(clues.device)  # [3, C]
    digits = torch.nn.functional.one_hot(clues, N + 1)[..., 1:].bool()  # [B, C, N]
    there = digits[:, units].any(2)  # [B, 3 N, N]
    taken = torch.stack([there[:, unit + N * place] for place, unit in enumerate(unit_of)]).any(0)
    candidate = ~taken & blank[..., None]  # [B, C, N]
    places = candidate[:, units].sum(2)  # [B, 3 N, N], blanks of a unit where a digit may stand
    naked = candidate.sum(2) == 1
    hidden = [(candidate & (places[:, unit + N * place] == 1)).any(2) for place, unit in enumerate(unit_of)]
    settled = torch.stack([naked, *hidden]).any(0)
    found = {"clue": ~blank, "naked single": naked}
    found |= {f"hidden single, {name}": which & ~naked for name, which in zip(UNITS, hidden, strict=True)}
    return found | {"later": blank & ~settled}


def groups(model: TaskModel) -> dict[str, Tensor]:
    """Heads by what they see, {row, column, box or global: int64 [heads]}; no group is empty."""
    shape = model.backbone.model
    along = heads_along(shape.structural_heads, UNITS)
    sees = [*along, *["global"] * (shape.heads - len(along))]
    found = {name: [place for place, one in enumerate(sees) if one == name] for name in (*UNITS, "global")}
    return {name: torch.tensor(places) for name, places in found.items() if places}


def tables(used: Usage, of_group: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Gates of each group of heads, by step and by kind of cell, as tables of the report."""
    rows = [
        [f"step {t}", *_means(torch.stack(layers).mean(0), of_group)] for t, layers in enumerate(used.sums.mean(), 1)
    ]
    found = [_table("Heads along rows, columns and boxes", STEPS, ["", *of_group], rows)]
    rows = []
    for t in shown(len(used.kinds)):
        for kind, sums in used.kinds[t].items():
            if sums[0] > 0:
                rows.append([f"{kind}, step {t + 1}", int(sums[0]), *_means(sums[1:] / sums[0], of_group)])
    if rows:
        found.append(_table("The same by kind of cell", CELLS, ["", "cells", *of_group], rows))
    return found


def shown(steps: int) -> list[int]:
    """Some of so many steps, from 0: the first, the last, and between them."""
    return sorted({round(part * (steps - 1) / (SHOWN - 1)) for part in range(SHOWN)}) if steps else []


def _means(gate: Tensor, of_group: dict[str, Tensor]) -> list[float]:
    return [gate[heads.to(gate.device)].mean().item() for heads in of_group.values()]


def _table(title: str, caption: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}
