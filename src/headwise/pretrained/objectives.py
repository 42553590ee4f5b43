"""What a head is important for: the loss of a language model, or the embeddings of an encoder.

An objective takes the derivatives that tell of it in one forward pass, makes measures of importance of them, and says
what a change of the model has cost.

Legend: P scalars that are derived, L length, U units (heads, or key/value groups), V vocabulary, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

GRADIENT, FISHER, FIRST, SLOPE, SECOND = "gradient", "fisher", "first_order", "mean_gradient", "second_order"


class Objective(Protocol):
    """What importance is measured by."""

    @property
    def unit(self) -> str:
        """The unit in which a change of the model is told."""

    def scalars(self, output: Any, tokens: Tensor, number: int) -> Tensor:
        """The scalars [P] whose derivatives by the gates are taken; `number` is that of the example."""

    def measures(self, gradients: Tensor) -> dict[str, Tensor]:
        """Measures of one example [U] by name, from the derivatives of the scalars by the gates [P, L, U]; their mean
        over examples is taken."""

    def derived(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Measures that follow from the means over examples [U]."""

    def keep(self, output: Any, tokens: Tensor) -> Tensor:
        """What is kept of the untouched model's output, for `change`."""

    def value(self, kept: Sequence[Tensor]) -> float:
        """The mean over examples of what is measured, of the untouched model."""

    def change(self, output: Any, tokens: Tensor, kept: Tensor) -> float:
        """What a change of the model has cost on one example."""


@dataclass(frozen=True)
class NextToken:
    """The mean loss of the next token in nats; a change is what is added to it.

    With S the sum of an example's losses and g_lh the gate of head h at token l, all at g = 1:

        gradient        mean over l of |dS/dg_lh|
        fisher          mean over l of (dS/dg_lh)², the diagonal of the empirical Fisher information of single gates
        first_order     -(mean over l of dS/dg_lh): the loss added by g_h = 0, to first order
        mean_gradient   its absolute value
        second_order    first_order + fisher / 2, the Fisher information in the place of second derivatives

    Source: the sensitivity of Michel, Levy and Neubig (2019), `Are Sixteen Heads Really Better than One?`.
    Differs from the paper: its absolute value is that of an example's derivative by one gate for all tokens; `gradient`
    takes it at each token, since a head may help at one and harm at another.
    """

    unit: str = "nats"

    def scalars(self, output: Any, tokens: Tensor, number: int) -> Tensor:
        return _losses(output.logits, tokens).sum()[None]

    def measures(self, gradients: Tensor) -> dict[str, Tensor]:
        one = gradients[0]  # [L, U]
        return {GRADIENT: one.abs().mean(0), FISHER: one.square().mean(0), FIRST: -one.mean(0)}

    def derived(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        return {SLOPE: means[FIRST].abs(), SECOND: means[FIRST] + means[FISHER] / 2}

    def keep(self, output: Any, tokens: Tensor) -> Tensor:
        return _losses(output.logits, tokens).mean()

    def value(self, kept: Sequence[Tensor]) -> float:
        return float(torch.stack(list(kept)).mean())

    def change(self, output: Any, tokens: Tensor, kept: Tensor) -> float:
        return float(_losses(output.logits, tokens).mean() - kept)


@dataclass(frozen=True)
class OwnEmbedding:
    """1 - cosine between an example's embedding and that of the untouched model; half their squared distance.

    The embedding is the mean of the last hidden states, of length 1. At g = 1 this distance is 0 and so is its gradient
    by any gate: what tells of importance is how far the embedding e moves, its derivative by the gates. Its square is
    estimated without bias from that of v·e, v random signs:

        gradient        mean over l of ||de/dg_lh||
        fisher          mean over l of ||de/dg_lh||²
        second_order    ||sum over l of de/dg_lh||² / 2: 1 - cosine at g_h = 0, to second order

    Args:
        probes: P random vectors an example; each takes a backward pass, and 8 leave an error of a quarter on the square
            at one token, which the mean over tokens and examples makes small.
        seed: of the vectors.
    """

    probes: int = 8
    seed: int = 0
    unit: str = "1 - cosine"

    def scalars(self, output: Any, tokens: Tensor, number: int) -> Tensor:
        embedding = _embedding(output)
        generator = torch.Generator().manual_seed(self.seed + number)
        signs = torch.randint(0, 2, (self.probes, embedding.shape[-1]), generator=generator) * 2 - 1
        return signs.to(embedding) @ embedding

    def measures(self, gradients: Tensor) -> dict[str, Tensor]:
        squares = gradients.square().mean(0)  # [L, U]
        return {
            GRADIENT: squares.sqrt().mean(0),
            FISHER: squares.mean(0),
            SECOND: gradients.sum(1).square().mean(0) / 2,
        }

    def derived(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def keep(self, output: Any, tokens: Tensor) -> Tensor:
        return _embedding(output)

    def value(self, kept: Sequence[Tensor]) -> float:
        return 0.0

    def change(self, output: Any, tokens: Tensor, kept: Tensor) -> float:
        return float((_embedding(output) - kept).square().sum() / 2)


def _losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """Nats of each token but the first: logits [1, L, V] -> [L - 1]."""
    return F.cross_entropy(logits[0, :-1], tokens[0, 1:], reduction="none")


def _embedding(output: Any) -> Tensor:
    """The mean of the hidden states [1, L, D], of length 1: [D]."""
    return F.normalize(output.last_hidden_state[0].mean(0), dim=-1)
