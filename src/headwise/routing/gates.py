"""Gate functions: head logits to gates. Here those of all heads and of a fixed number; mixtures of heads have their own
file.

Legend: B batch, L length (1 where all tokens share their gates), H heads, S shared heads (always on), R = H - S routed.

At equal logits every active gate is 1 and the scale never depends on which heads are active, so a router that starts at
zero starts as plain attention. A gate function is a frozen dataclass (its fields are its configuration) that is called
with logits; it holds no state and no parameters.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from headwise.registry import name_of
from headwise.routing import GATES


@dataclass(frozen=True)
class Gates:
    """Head weights of one layer at one refinement step.

    Attributes:
        weight: [B, L|1, H], multiplies the head outputs; exactly 0 where a head is off.
        active: [B, L|1, H] bool, the heads that are on.
        probs: [B, L|1, R], over the routed heads, before any selection, for entropy and diagnostics.
        chosen: [B, L|1, H] bool, the heads that a gate trained softly will keep on at evaluation; None: `active`.
        expected: [B, L|1], differentiable stand-in for the number of active heads, where that number can vary.
        budget: [B, L|1], the most heads that the gate function allowed each token, with gradient, where it predicts it.
        predicted: name -> [B, L|1], whatever else was predicted per token, detached, for diagnostics.
    """

    weight: Tensor
    active: Tensor
    probs: Tensor
    chosen: Tensor | None = None
    expected: Tensor | None = None
    budget: Tensor | None = None
    predicted: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def fixed(cls, weight: Tensor) -> "Gates":
        """Gates that no router computed, [B, L|1, H]: of a head's probability, its share of the weight is known."""
        return cls(weight, weight != 0, weight / weight.sum(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny))

    @property
    def selected(self) -> Tensor:
        """[B, L|1, H] bool, the heads that the rule of evaluation keeps on."""
        return self.active if self.chosen is None else self.chosen

    def rows(self, index: Tensor) -> "Gates":
        """The gates of the examples in `index`."""
        return self._each(lambda part: part[index])

    def detach(self) -> "Gates":
        return self._each(torch.Tensor.detach)

    def on_host(self) -> "Gates":
        """Copies on the CPU, queued behind the device's work: synchronise before they are read."""
        return self._each(lambda part: part.to("cpu", non_blocking=True))

    def placed(self, index: Tensor, before: "Gates") -> "Gates":
        """`before`, the gates of a whole batch, with these in the rows of `index`."""
        return self._each(lambda part, old: old.index_copy(0, index, part), before)

    def _each(self, change: Callable[..., Tensor], *others: "Gates") -> "Gates":
        """`change` applied to every tensor, together with the same one of `others`."""
        every = (self, *others)
        parts: dict[str, Any] = {}
        for name in ("weight", "active", "probs", "chosen", "expected", "budget"):
            own = [getattr(gates, name) for gates in every]
            parts[name] = None if own[0] is None else change(*own)
        predicted = {name: change(*(gates.predicted[name] for gates in every)) for name in self.predicted}
        return Gates(**parts, predicted=predicted)


class GateFunction(ABC):
    """Head logits to gates; subclasses are frozen dataclasses, their fields the configuration.

    Attributes:
        softmax: `probs` is a distribution over heads.
        selects: it ranks heads and switches some off, so that a bias on the ranking has a meaning.
        varies: the number of active heads differs from token to token and can be steered.
        predicts_budget: it fills `Gates.budget`.
        noisy: it draws random numbers in training.
    """

    softmax: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    varies: ClassVar[bool] = False
    predicts_budget: ClassVar[bool] = False
    noisy: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        """Gates of `logits` [B, L|1, sum of `columns`]; `bias` [R] is added to the ranking score only."""

    def columns(self, heads: int) -> dict[str, int]:
        """How many numbers per token a router supplies, by what they mean, in their order: first `heads`, R; by
        default one for each head."""
        return {"heads": heads}

    def validate(self, heads: int) -> None:  # noqa: B027 - a hook
        """Raise a ValueError when the settings do not fit a layer of so many heads; by default all fit."""

    def describe(self) -> str:
        """A word or two for reports: the kind of gates."""
        return name_of(GATES, type(self)).replace("_", " ")

    def surrogate(self) -> "GateFunction | None":
        """The differentiable gate function whose gradient this one has in training; by default it has its own.

        None: its gradient is that of no gate function.
        """
        return self

    @classmethod
    def examples(cls) -> "Sequence[GateFunction]":
        """Small configurations, for a layer of four heads, that together use every option: the laws walk over them."""
        return [cls()]


@dataclass(frozen=True)
class Soft(GateFunction):
    """all heads on, weighted H·softmax(z)"""

    softmax: ClassVar[bool] = True

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        probs = (logits / temperature).softmax(-1)
        weight = probs * logits.shape[-1]
        return Gates(weight, torch.ones_like(weight, dtype=torch.bool), probs)


@dataclass(frozen=True)
class TopK(GateFunction):
    """the k largest heads on, weighted H·softmax(z); straight-through: backward as if all were on

    Args:
        k: heads that are on; default 2, the value of the pointer-over-heads parser.
        renormalise: scale the gates of the chosen heads to mean 1 (default no: a confident router may weigh more).
    """

    k: int = 2
    renormalise: bool = False
    softmax: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k}: choose at least 1")

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        return self.select(logits / temperature, bias)

    def select(self, scores: Tensor, bias: Tensor | None) -> Gates:
        """The k best of temperature-scaled (and, for Gumbel, noisy) scores [B, L|1, H]."""
        heads = scores.shape[-1]
        probs = scores.softmax(-1)
        chosen = largest(scores if bias is None else scores + bias, self.k)
        soft = probs * heads
        hard = self.k * within(scores, chosen) if self.renormalise else soft * chosen
        return Gates(straight_through(hard, soft), chosen, probs)

    def validate(self, heads: int) -> None:
        if self.k > heads:
            raise ValueError(f"top_k={self.k} but the block has {heads} heads; choose 1..{heads} (arm.gate.k)")

    def describe(self) -> str:
        return f"top-{self.k}"

    def surrogate(self) -> GateFunction:
        return Soft()

    @classmethod
    def examples(cls) -> "Sequence[TopK]":
        return [cls(2), cls(2, renormalise=True)]


@dataclass(frozen=True)
class Gumbel(TopK):
    """top-k of the logits plus Gumbel noise in training, without noise at evaluation; straight-through"""

    noisy: ClassVar[bool] = True

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        if training:
            uniform = torch.empty_like(logits).uniform_(generator=generator)
            tiny = torch.finfo(logits.dtype).tiny
            logits = logits - (-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
        return self.select(logits / temperature, bias)

    def describe(self) -> str:
        return f"Gumbel {super().describe()}"


@dataclass(frozen=True)
class Sigmoid(GateFunction):
    """each head on its own: 2·sigmoid(z) (head-wise gated attention, arXiv 2505.06708)"""

    softmax: ClassVar[bool] = False

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        probs = (logits / temperature).sigmoid()
        return Gates(2 * probs, torch.ones_like(probs, dtype=torch.bool), probs)


def largest(scores: Tensor, k: int) -> Tensor:
    """Where the k largest of [..., R] are, bool of the same shape."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(k, -1).indices, True)


def within(scores: Tensor, on: Tensor) -> Tensor:
    """softmax of [..., R] over the heads that are on, 0 elsewhere.

    That is p over the sum of p over those heads, also where each of these p is too small for a float.
    """
    return scores.masked_fill(~on, -torch.inf).softmax(-1)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Forward `hard`, backward the gradient of `soft`, so that heads that are off still teach the router.

    Where `hard` is 0 the result is exactly 0: soft - soft cancels in floating point. Without a gradient it is `hard`.
    """
    if not soft.requires_grad:
        return hard
    return soft + (hard - soft).detach()
