"""Solving by singles and guesses, on bit masks: digit d is bit d - 1.

The functions are plain Python on numpy arrays, compiled where numba is installed (the extra `sudoku`), about 150 times
as fast; `NUMBA_DISABLE_JIT=1` leaves them as they are. numba keeps what it compiled beside this file, or in the user's
cache: the first call of all takes some ten seconds.

A candidate of a blank is a digit that stands in none of its three units. A naked single is a blank with one candidate,
a hidden single a blank that is the only one of a unit with some candidate. Singles are placed until there are none.

Legend: C cells, N digits, U = 3 N units, P peers of a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., object])
Masks = NDArray[np.int32]
Ints = NDArray[np.int64]

try:
    from numba import njit

    COMPILED = True
except ImportError:
    COMPILED = False


def compiled(function: Function) -> Function:
    """The function compiled by numba, or as it is."""
    if not COMPILED:
        return function
    try:
        fast: Function = njit(cache=True)(function)
    except RuntimeError:  # there is no place to keep it
        fast = njit(function)
    return fast


@compiled
def place(digits: Masks, candidates: Masks, peers: Ints, cell: int, bit: int) -> None:
    """Put a digit into a cell; its peers lose it as a candidate."""
    digits[cell] = bit
    candidates[cell] = bit
    for peer in peers[cell]:
        candidates[peer] &= ~bit


@compiled
def start(clues: Ints, units: Ints, peers: Ints, digits: Masks, candidates: Masks) -> bool:
    """Fill in the clues [C] (0 a blank); False where two of them clash.

    Writes `digits`, int32 [C], the bit in each cell or 0, and `candidates`, int32 [C].
    """
    full = (1 << units.shape[1]) - 1
    digits[:] = 0
    candidates[:] = full
    for cell in range(len(clues)):
        if clues[cell] > 0:
            bit = 1 << (clues[cell] - 1)
            if not candidates[cell] & bit:
                return False
            place(digits, candidates, peers, cell, bit)
    return True


@compiled
def singles(digits: Masks, candidates: Masks, units: Ints, peers: Ints) -> bool:
    """Place naked singles until there is none, then hidden ones of every unit, and so on; False on a contradiction: a
    blank without a candidate, a unit without a place for a digit."""
    full = (1 << units.shape[1]) - 1
    moved = True
    while moved:
        moved = False
        for cell in range(len(digits)):
            if digits[cell] == 0:
                mask = candidates[cell]
                if mask == 0:
                    return False
                if mask & (mask - 1) == 0:
                    place(digits, candidates, peers, cell, mask)
                    moved = True
        if moved:
            continue
        for unit in range(len(units)):
            there, once, twice = 0, 0, 0
            for cell in units[unit]:
                if digits[cell] != 0:
                    there |= digits[cell]
                else:
                    twice |= once & candidates[cell]
                    once |= candidates[cell]
            if there | once != full:
                return False
            hidden = once & ~twice
            if hidden == 0:
                continue
            moved = True
            for cell in units[unit]:
                mask = candidates[cell] & hidden
                if digits[cell] == 0 and mask != 0:
                    if mask & (mask - 1) != 0:
                        return False  # two digits have no other place
                    place(digits, candidates, peers, cell, mask)
    return True


@compiled
def fewest(digits: Masks, candidates: Masks) -> int:
    """The blank with the fewest candidates, the first of them; -1 where there is no blank."""
    best, least = -1, 99
    for cell in range(len(digits)):
        if digits[cell] == 0:
            count, mask = 0, candidates[cell]
            while mask != 0:
                mask &= mask - 1
                count += 1
            if count < least:
                best, least = cell, count
                if count == 2:
                    break
    return best


@compiled
def search(
    digits: Masks, candidates: Masks, units: Ints, peers: Ints, rank: Ints, wanted: int, most: int
) -> tuple[int, int]:
    """Depth first: singles; then a guess at the blank with the fewest candidates, the first of them in the order of
    rows, its candidates in the order of `rank`; back to the last guess after a contradiction.

    Args:
        digits, candidates: the start, int32 [C]; at the end the first solution, if there is one.
        rank: int64 [C, N], what a candidate tried earlier has less of.
        wanted: solutions after which the search ends.
        most: guesses after which it is given up.

    Returns:
        How many solutions were found, -1 where it was given up; and guesses up to the first one (or in all, if there is
        none). Each candidate that is tried is a guess, the right one included.
    """
    C, N = rank.shape
    below_digits = np.zeros((C + 1, C), dtype=np.int32)  # the state before each guess that is open
    below_candidates = np.zeros((C + 1, C), dtype=np.int32)
    at = np.zeros(C + 1, dtype=np.int64)
    left = np.zeros(C + 1, dtype=np.int32)  # candidates not tried yet
    first = digits.copy()
    found, guesses, until_first, depth = 0, 0, 0, 0
    sound = singles(digits, candidates, units, peers)
    while True:
        if sound:
            cell = fewest(digits, candidates)
            if cell < 0:
                found += 1
                if found == 1:
                    first[:] = digits
                    until_first = guesses
                if found == wanted:
                    break
            else:
                below_digits[depth] = digits
                below_candidates[depth] = candidates
                at[depth] = cell
                left[depth] = candidates[cell]
                depth += 1
        while depth > 0 and left[depth - 1] == 0:
            depth -= 1
        if depth == 0:
            break
        if guesses == most:
            return -1, guesses
        cell = at[depth - 1]
        chosen, least = 0, 0
        for digit in range(N):
            if left[depth - 1] & (1 << digit) and (chosen == 0 or rank[cell, digit] < least):
                chosen, least = 1 << digit, rank[cell, digit]
        left[depth - 1] &= ~chosen
        digits[:] = below_digits[depth - 1]
        candidates[:] = below_candidates[depth - 1]
        place(digits, candidates, peers, cell, chosen)
        guesses += 1
        sound = singles(digits, candidates, units, peers)
    digits[:] = first
    return found, until_first if found > 0 else guesses


@compiled
def grade(clues: Ints, units: Ints, peers: Ints, solution: Ints, most: int) -> tuple[int, int]:
    """Solve a puzzle [C] completely: how many solutions it has (2: more than one), and how hard it is.

    The grade is the number of guesses that `search` needs to its first solution, candidates tried in ascending order:
    0 exactly where singles are enough. It depends on how the puzzle is turned and its digits are named.

    Args:
        solution: int64 [C], written: the first one, zeros where there is none.
        most: guesses after which it is given up.

    Returns:
        0, 1 or 2 solutions, -1 where it was given up, -2 where clues clash; and the grade.
    """
    C, N = len(clues), units.shape[1]
    digits, candidates = np.zeros(C, dtype=np.int32), np.zeros(C, dtype=np.int32)
    rank = np.zeros((C, N), dtype=np.int64)
    for digit in range(N):
        rank[:, digit] = digit
    solution[:] = 0
    if not start(clues, units, peers, digits, candidates):
        return -2, 0
    found, guesses = search(digits, candidates, units, peers, rank, 2, most)
    if found > 0:
        write(digits, solution)
    return found, guesses


@compiled
def write(digits: Masks, numbers: Ints) -> None:
    """Bits [C] as numbers: 1..N, 0 for none."""
    for cell in range(len(digits)):
        number, mask = 0, digits[cell]
        while mask != 0:
            mask >>= 1
            number += 1
        numbers[cell] = number


@compiled
def fill(units: Ints, peers: Ints, rank: Ints, solution: Ints, most: int) -> bool:
    """A full board, found by `search` from an empty one; False where it was given up. Writes `solution` [C]."""
    C = len(rank)
    digits, candidates = np.zeros(C, dtype=np.int32), np.zeros(C, dtype=np.int32)
    candidates[:] = (1 << units.shape[1]) - 1
    found, _ = search(digits, candidates, units, peers, rank, 1, most)
    if found == 1:
        write(digits, solution)
    return found == 1


@compiled
def by_singles(clues: Ints, units: Ints, peers: Ints, digits: Masks, candidates: Masks) -> bool:
    """Whether singles solve a puzzle [C] whose clues do not clash; `digits` and `candidates` are overwritten."""
    start(clues, units, peers, digits, candidates)
    return singles(digits, candidates, units, peers) and fewest(digits, candidates) < 0


@compiled
def dig(clues: Ints, units: Ints, peers: Ints, rank: Ints, order: Ints, easy: bool, n_clues: int, most: int) -> int:
    """Take clues away, in an order, wherever the puzzle keeps its one solution (`easy`: is still solved by singles).

    One pass is enough to make it minimal: a clue that is needed stays needed when there are fewer.

    Args:
        clues: int64 [C], at first the solution; at the end the puzzle.
        order: int64 [C], cells.
        n_clues: at which to stop, 0: as far as it goes.
        most: guesses after which it is not known whether a clue is needed.

    Returns:
        Clues left, or -1 where it was not known.
    """
    C = len(clues)
    digits, candidates = np.zeros(C, dtype=np.int32), np.zeros(C, dtype=np.int32)
    count = C
    for cell in order:
        if count == n_clues:
            break
        digit = clues[cell]
        clues[cell] = 0
        if easy:
            needed = not by_singles(clues, units, peers, digits, candidates)
        else:
            start(clues, units, peers, digits, candidates)
            candidates[cell] &= ~(1 << (digit - 1))  # is there a solution with another digit here?
            found, _ = search(digits, candidates, units, peers, rank, 1, most)
            if found < 0:
                return -1
            needed = found > 0
        if needed:
            clues[cell] = digit
        else:
            count -= 1
    return count
