"""Which heads a token uses, as what slicing needs: stretches of neighbouring heads, and their places by group.

There are few different sets in a text, so that each is worked out once.

Legend: H heads, G key/value heads, u heads in use.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroupRun:
    """Neighbouring key/value heads that are all in use.

    Attributes:
        first, last: the key/value heads, last excluded.
        start, end: the heads in use that read them, as places among the u, end excluded.
        pack: places among the u, so many for each group, where groups have different numbers of heads on; else None.
        unpack: places of the heads in use among what `pack` has arranged; None where that is all, in order.
    """

    first: int
    last: int
    start: int
    end: int
    pack: Tensor | None
    unpack: Tensor | None


@dataclass(frozen=True)
class HeadSet:
    """A set of heads.

    Attributes:
        heads: their numbers, in order.
        all_on: whether they are all.
        runs: stretches of neighbouring ones, (first, last + 1) each.
        index: [u] int64.
        groups: stretches of key/value heads that they read.
    """

    heads: tuple[int, ...]
    all_on: bool
    runs: tuple[tuple[int, int], ...]
    index: Tensor
    groups: tuple[GroupRun, ...]


@lru_cache(maxsize=4096)
def head_set(on: tuple[bool, ...], groups: int, device: torch.device) -> HeadSet:
    """The set of the heads that are `on`, of which each group has equally many neighbours."""
    heads = tuple(head for head, used in enumerate(on) if used)
    per_group = len(on) // groups
    members = [tuple(place for place, head in enumerate(heads) if head // per_group == g) for g in range(groups)]
    with torch.inference_mode(False):
        runs = tuple(_group_run(members, *run, device) for run in stretches([bool(own) for own in members]))
        return HeadSet(heads, all(on), stretches(on), torch.tensor(heads, dtype=torch.int64, device=device), runs)


def stretches(on: tuple[bool, ...] | list[bool]) -> tuple[tuple[int, int], ...]:
    """First and last + 1 of each run of neighbours that are on."""
    edges = [False, *on, False]
    turns = [place for place in range(len(on) + 1) if edges[place] != edges[place + 1]]
    return tuple(zip(turns[::2], turns[1::2], strict=True))


def _group_run(members: list[tuple[int, ...]], first: int, last: int, device: torch.device) -> GroupRun:
    own = members[first:last]
    start, end, most = own[0][0], own[-1][-1] + 1, max(map(len, own))
    if all(len(each) == most for each in own):
        return GroupRun(first, last, start, end, None, None)
    pack = [each[min(place, len(each) - 1)] for each in own for place in range(most)]
    unpack = [number * most + place for number, each in enumerate(own) for place in range(len(each))]
    return GroupRun(first, last, start, end, *(torch.tensor(part, device=device) for part in (pack, unpack)))
