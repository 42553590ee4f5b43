"""What a pretrained model can do, found by trying it: names in configurations differ from model to model.

Legend: B batch, S subwords, E width of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from headwise.tasks.base import Batch
from headwise.tasks.parsing.encoder import Columns
from headwise.tasks.parsing.sentences import Sentence

SHORT, LONG = 4, 24
"""Words of the sentences that are tried. Far enough apart to tell positions from the buckets of distances that T5 and
MPNet look up as well, and shorter than any encoder's limit."""
TOLERANCE = 1e-3
"""How much padding may change, of the largest value. Sums in another order change 1e-6 of it."""


@dataclass(frozen=True)
class Trial:
    """What was found.

    Attributes:
        width: E.
        limit: subwords of the longest sentence, marks included; None where there is none.
        unused: names of the parameters that no vector depends on (of a pooler, of global attention, ...).
    """

    width: int
    limit: int | None
    unused: tuple[str, ...]


class SubwordEncoder(Protocol):
    """What is tried."""

    def subword_vectors(self, batch: Batch) -> Tensor:
        """Subwords to vectors, [B, S] to [B, S, E]."""

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Its weights by name."""


def try_out(encoder: SubwordEncoder, inputs: Callable[[list[Sentence]], Columns]) -> Trial:
    """Try an encoder on a short and a long sentence.

    Args:
        encoder: in evaluation mode.
        inputs: sentences to subwords.

    Raises:
        ValueError: it gives no vector for each subword, or another one where padding follows.
    """
    columns = inputs([Sentence(("a",) * words, (), (), "") for words in (SHORT, LONG)])
    looks, found = [], []
    for place in range(2):
        with _LookUps() as seen:
            found.append(_vectors(encoder, columns.batch(torch.tensor([place]))))
        looks.append(seen.tables)
    short, long = found
    padded = _vectors(encoder, columns.batch(torch.arange(2)))[0, : short.shape[1]]
    if (padded - short[0]).abs().max() > TOLERANCE * short.abs().max():
        raise ValueError("what it says of a sentence depends on the padding behind it")
    used = {id(parameter) for parameter in _leaves(long)}
    return Trial(
        width=long.shape[-1],
        limit=_limit(looks[0], looks[1], long.shape[1] - short.shape[1], long.shape[1]),
        unused=tuple(name for name, parameter in encoder.named_parameters() if id(parameter) not in used),
    )


def _vectors(encoder: SubwordEncoder, batch: Batch) -> Tensor:
    vectors = encoder.subword_vectors(batch)
    expected = batch["subwords"].shape
    if not isinstance(vectors, Tensor) or vectors.ndim != 3 or vectors.shape[:2] != expected:
        raise ValueError("it does not give one vector per subword")
    return vectors


@dataclass(frozen=True)
class _Table:
    """A look-up in a table of embeddings.

    Attributes:
        rows: of the table.
        last: the last of them that was read.
    """

    rows: int
    last: int


class _LookUps(TorchFunctionMode):
    """Notes every look-up in a table of embeddings, whatever module makes it, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[_Table] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.embedding:
            index, weight = _embedding(*args, **(kwargs or {}))
            self.tables.append(_Table(len(weight), int(index.max())))
        return func(*args, **(kwargs or {}))


def _embedding(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    return input, weight


def _limit(short: list[_Table], long: list[_Table], step: int, length: int) -> int | None:
    """Subwords of the longest sentence for which the tables of positions have a row.

    The same word again and again is read at the same row of the table of words; at positions the last row moves on by
    as many as there are more subwords.
    """
    limits = [
        after.rows - (after.last + 1 - length)
        for before, after in zip(short, long, strict=True)
        if after.last - before.last == step
    ]
    return min(limits, default=None)


def _leaves(result: Tensor) -> Iterable[Tensor]:
    """The parameters that a result depends on."""
    seen, waiting = set(), [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where a gradient is added up
            yield node.variable
        waiting += [following for following, _ in node.next_functions]
