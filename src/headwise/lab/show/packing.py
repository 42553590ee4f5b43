"""What was watched as data for a page: plain JSON, its arrays as base64 of whole numbers, no more than fits a budget.

Gates are kept in 16 bits, attention weights in 8, either all of them or for each token the places with the most weight,
and where even these are too many for some of the tokens alone; what is left out is said.

Legend: A answers, N layers, H heads, L tokens, Q tokens that are kept, k places.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.files import finite
from headwise.lab.show.watch import Watched
from headwise.tasks.scenes import counted

FRAMES = 60
"""Answers that are kept: a person watches no more."""
PLACES = 4
"""The fewest places that are kept of where a token's heads look."""
MOST_PLACES = 24
ONE = 255
"""An attention weight of 1, in 8 bits."""


def packed(watched: Watched, budget: int) -> dict[str, Any]:
    """The data of a page.

    Args:
        watched: a model on an example.
        budget: bytes, at most, of gates and attention weights before they become text.
    """
    kept = frames(len(watched.numbers))
    notes = []
    if len(kept) < len(watched.numbers):
        notes.append(f"Of {len(watched.numbers)} answers {len(kept)} are shown, evenly spaced, the last among them.")
    if (cycle := watched.numbers[0]) > 1:
        notes.append(f"Of every {cycle} steps the one that updates the answer is shown.")
    index, asked = torch.tensor(kept), _in_order(watched)
    looks = None if watched.looks is None else watched.looks[index]
    gates = None if watched.gates is None else watched.gates[index]
    tokens, places = _shares(looks, gates, asked, budget)
    said = {} if looks is None else _looks(looks, watched.real, tokens, places)
    notes += (
        said.pop("notes", [])
        if looks is not None
        else ["Where heads look is not shown: the layers are not headwise's."]
    )
    found = {
        "kind": watched.scene.kind,
        "question": dict(watched.scene.question),
        "tokens": list(watched.scene.tokens),
        "answers": [_plain(watched.scene.answers[place]) for place in kept],
        "steps": [watched.numbers[place] for place in kept],
        "most": watched.most,
        "halted": watched.halted,
        "residual": [_short(watched.residual[place]) for place in kept] if watched.residual else [],
        "metrics": [_plain(watched.metrics[place]) for place in kept] if watched.metrics else [],
        "halting": [_short(watched.halting[place]) for place in kept] if watched.halting_means else [],
        "halting_means": watched.halting_means,
        "kept": tokens,
        "gates": None if gates is None else _gates(gates, watched.real, tokens),
        "looks": said or None,
        "notes": notes,
    }
    plain: dict[str, Any] = finite(found)
    return plain


def frames(answers: int) -> list[int]:
    """Places of the answers that are kept, the first and the last among them."""
    if answers <= FRAMES:
        return list(range(answers))
    return sorted({round(place * (answers - 1) / (FRAMES - 1)) for place in range(FRAMES)})


def _in_order(watched: Watched) -> list[int]:
    """Real tokens, those first that a person would look at."""
    real = torch.nonzero(watched.real)[:, 0].tolist()
    first = [token for token in watched.scene.asked if watched.real[token]]
    return list(dict.fromkeys([*first, *real]))


def _shares(looks: Tensor | None, gates: Tensor | None, order: list[int], budget: int) -> tuple[list[int], int]:
    """The tokens that are kept, and the places kept for each; as many places as there are tokens: all."""
    length = len(order)
    gate = 0 if gates is None or gates.shape[2] == 1 else 2 * gates.shape[0] * gates.shape[1] * gates.shape[3]
    if looks is None:
        most = length if not gate else min(length, budget // gate)
        return sorted(order[:most]), 0
    rows, reach = looks.shape[0] * looks.shape[1] * looks.shape[2], looks.shape[-1]
    if length * (rows * reach + gate) <= budget:
        return sorted(order), reach
    entry = 2 if reach <= 256 else 3  # bytes of a place and its weight
    places = min((budget // length - gate) // (rows * entry), MOST_PLACES, reach)
    if places >= PLACES:
        return sorted(order), places
    places = min(PLACES, reach)
    return sorted(order[: budget // (rows * entry * places + gate)]), places


def _gates(gates: Tensor, real: Tensor, tokens: list[int]) -> dict[str, Any]:
    """The gates of the tokens that are kept, behind their mean over real tokens, [A, N, 1 + Q, H]; or, where all tokens
    have the same, [A, N, 1, H]."""
    same = gates.shape[2] == 1
    mean = (gates if same else gates[:, :, real]).mean(2, keepdim=True)
    own = mean if same else torch.cat([mean, gates[:, :, tokens]], 2)  # the mean first
    one = math.floor((2**16 - 1) / max(1.0, float(own.max())))
    whole = (own * one).round().clamp_min(0)
    whole = torch.where((own > 0) & (whole == 0), 1, whole)  # a head that is on stays on
    return {"shape": list(own.shape), "one": one, "same": same, "data": _text(whole, np.uint16)}


def _looks(looks: Tensor, real: Tensor, tokens: list[int], places: int) -> dict[str, Any]:
    """Where heads look: the mean over real tokens [A, N, H, L], and the tokens kept [A, N, H, Q, L], or k of the L."""
    reach = looks.shape[-1]
    own, mean = looks[:, :, :, tokens], looks[:, :, :, real].mean(3)
    found: dict[str, Any] = {
        "shape": [*looks.shape[:3], len(tokens), reach],
        "mean": _text(_weight(mean), np.uint8),
        "notes": [],
    }
    if places < reach:
        top = own.topk(places, -1)
        share = float(top.values.sum(-1).mean()) if own.numel() else 0.0
        found |= {
            "places": places,
            "at": _text(top.indices, np.uint8 if reach <= 256 else np.uint16),
            "weight": _text(_weight(top.values), np.uint8),
        }
        found["notes"].append(
            f"Of where a head of a token looks the {places} places with the most weight are kept, {share:.0%} of the "
            "weight on average."
        )
    else:
        found["weight"] = _text(_weight(own), np.uint8)
    if len(tokens) < int(real.sum()):
        found["notes"].append(
            f"Single tokens, with their gates and where they look, are {counted(len(tokens), 'token')} of "
            f"{int(real.sum())}; means are over all."
        )
    return found


def _weight(weights: Tensor) -> Tensor:
    return (weights * ONE).round().clamp(0, ONE)


def _text(numbers: Tensor, kind: Any) -> str:
    array = np.ascontiguousarray(numbers.cpu().numpy().astype(kind))
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _plain(values: Any) -> dict[str, Any]:
    return {key: _short(value) if isinstance(value, float) else value for key, value in values.items()}


def _short(value: float | None) -> float | None:
    """Four digits, which is more than is seen."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def unpacked(text: str, kind: Any, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """The array of a text that `packed` wrote."""
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<")).reshape(shape)
