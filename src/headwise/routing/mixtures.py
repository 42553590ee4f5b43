"""Gate functions of mixtures of heads: some heads shared, and of the routed ones as many as a token needs.

Legend: B batch, L length (1 where all tokens share their gates), H heads, S shared heads (the first ones, always on),
R = H - S routed heads, p the softmax of the routed heads' logits.

A hard rule is trained in one of two ways. `straight_through` (default): forward the hard gates, backward the gradient
of the soft form, so that training and evaluation agree and off heads can be skipped in both. `soft`: the soft form in
training, the hard rule at evaluation. The soft form is a falling function of the probability of the heads that rank
*before* a head, so that a better head is never more closed than a worse one (the published one rose with the inclusive
sum: it suppressed the best heads and opened the worst).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.routing.gates import GateFunction, Gates, largest, straight_through, within

Training = Literal["straight_through", "soft"]


@dataclass(frozen=True)
class SharedRouted(GateFunction):
    """MoH: the first heads always on, the k largest of the others, the two groups balanced per token

        routed  2·a_2·k·p_i / sum of p over the chosen       shared  2·a_1·S·softmax_s        (a_1, a_2) a softmax

    (arXiv 2410.11842). The mean gate is 2·a_2 over the chosen routed heads and 2·a_1 over the shared ones.

    Args:
        shared: S; default 1. Their own softmax exists only for S > 1: over one head it is constant.
        k: routed heads that are on; default 3, so that with S = 1 half of the usual eight are active.
        training: `straight_through` (default; forward the hard gates, backward the gradient of the soft form) or `soft`
            (the soft form in training, the hard rule at evaluation); the soft form has every routed head on, 2·a_2·R·p.
            Differs from the paper by default: there a head that is off teaches the router nothing.
    """

    shared: int = 1
    k: int = 3
    training: Training = "straight_through"
    softmax: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.shared < 1:
            raise ValueError(f"shared={self.shared}: choose at least 1, or gate top_k, which has none")
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
        extra = 2 + (self.shared if self.shared > 1 else 0)
        routed = logits.shape[-1] - extra
        parts = _split(logits, self.columns(routed + self.shared))
        scores = parts["heads"] / temperature
        probs = scores.softmax(-1)
        balance = 2 * parts["balance"].softmax(-1)  # [B, L|1, 2], of the shared and the routed heads
        chosen = largest(scores if bias is None else scores + bias, self.k)
        hard, everywhere = self.k * within(scores, chosen), routed * probs
        softly = training and self.training == "soft"
        mixed = everywhere if softly else straight_through(hard, everywhere)
        inside = torch.ones_like(balance[..., :1])
        if self.shared > 1:
            inside = self.shared * parts["shared"].softmax(-1)
        weight = torch.cat([balance[..., :1] * inside, balance[..., 1:] * mixed], -1)
        on = F.pad(chosen, (self.shared, 0), value=True)
        active = torch.ones_like(on) if softly else on
        predicted = {"shared_share": balance[..., 0].detach() / 2}
        return Gates(weight, active, probs, on if softly else None, predicted=predicted)

    def columns(self, heads: int) -> dict[str, int]:
        own = {"shared": self.shared} if self.shared > 1 else {}
        return {"heads": heads - self.shared, **own, "balance": 2}

    def validate(self, heads: int) -> None:
        _check_shared(self.shared, heads)
        if self.k > heads - self.shared:
            raise ValueError(
                f"k={self.k} but {heads - self.shared} of the block's {heads} heads are routed; "
                f"choose 1..{heads - self.shared} (arm.gate.k)"
            )

    def surrogate(self) -> GateFunction | None:
        # Straight-through it is exact in the balance of the groups and soft in the choice of heads.
        return self if self.training == "soft" else None

    @classmethod
    def examples(cls) -> "Sequence[SharedRouted]":
        return [cls(1, 2, training="soft"), cls(2, 1)]


@dataclass(frozen=True)
class TopP(GateFunction):
    """routed heads in falling p until their probability reaches a threshold, weighted R·p

    A head is on iff the probability C of the heads before it is below the threshold: at least one is on, and the one
    that crosses the threshold is. Soft form: R·p·sigmoid((threshold - C)·s).

    Args:
        threshold: `predicted` (default): per token, 0.3 + 0.4·sigmoid; or a number above 0, up to 1, for all tokens.
        fallback: where no p reaches this confidence all routed heads are on; null (default) has no such rule.
            Published: 0.4. A router at zero is then plain attention.
        shared: S; default 0. They have gate 1.
        sharpness: s of the soft form; default 5.5, the middle of the range that the adaptive gate learns it in.
        renormalise: scale the gates of the active routed heads to mean 1.
        training: `straight_through` (default; forward the hard gates, backward the gradient of the soft form) or `soft`
            (the soft form in training, the hard rule at evaluation).
    """

    threshold: float | Literal["predicted"] = "predicted"
    fallback: float | None = None
    shared: int = 0
    sharpness: float = 5.5
    renormalise: bool = False
    training: Training = "straight_through"
    softmax: ClassVar[bool] = True
    selects: ClassVar[bool] = True
    varies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.threshold != "predicted" and not 0 < self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold}: choose a number above 0 and up to 1, or predicted")
        if self.fallback is not None and not 0 < self.fallback < 1:
            raise ValueError(f"fallback={self.fallback}: choose a probability between 0 and 1, or null")
        if self.shared < 0:
            raise ValueError(f"shared={self.shared}: choose 0 or more")
        _check_sharpness(self.sharpness)

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        routed = logits.shape[-1] - (self.threshold == "predicted")
        parts = _split(logits, self.columns(routed + self.shared))
        scores = parts["heads"] / temperature
        probs = scores.softmax(-1)
        before, _ = preceding(scores if bias is None else scores + bias)
        theta = torch.full_like(probs[..., :1], 0.0 if self.threshold == "predicted" else self.threshold)
        if self.threshold == "predicted":
            theta = 0.3 + 0.4 * parts["threshold"].sigmoid()  # [B, L|1, 1]
        on, factor = before < theta, ((theta - before) * self.sharpness).sigmoid()
        expected = factor.sum(-1)
        if self.fallback is not None:
            unsure = probs.amax(-1, keepdim=True) < self.fallback
            on, factor = on | unsure, factor.masked_fill(unsure, 1.0)
            # All heads count, and the way to fewer is a router that is surer.
            every = torch.full_like(expected, float(routed))
            expected = torch.where(unsure.squeeze(-1), straight_through(every, expected), expected)
        predicted = {"threshold": theta.detach().squeeze(-1)} if self.threshold == "predicted" else {}
        return _Rule(scores, probs, on, factor, training and self.training == "soft").gates(self, expected, predicted)

    def columns(self, heads: int) -> dict[str, int]:
        return {"heads": heads - self.shared} | ({"threshold": 1} if self.threshold == "predicted" else {})

    def validate(self, heads: int) -> None:
        _check_shared(self.shared, heads)

    def surrogate(self) -> GateFunction:
        return replace(self, training="soft")

    @classmethod
    def examples(cls) -> "Sequence[TopP]":
        return [cls(), cls(0.6, shared=1), cls(fallback=0.4, renormalise=True), cls(training="soft")]


@dataclass(frozen=True)
class Adaptive(GateFunction):
    """fully adaptive: threshold, head budget and sharpness predicted per token, weighted R·p

        threshold theta = 0.3 + 0.5·sigmoid      budget k = minimum + sigmoid·(maximum - minimum)
        sharpness s = 1 + 9·sigmoid

    A head is on iff the probability C of the heads before it is below theta, and their number (its rank, from 0) below
    k rounded to a whole number. Soft form: R·p·sigmoid((theta - C)·s)·sigmoid((k - rank - 1/2)·s), which for s to
    infinity is the hard rule.

    Args:
        minimum: of the budget; default 1: the best head is always on.
        maximum: of the budget; null (default) is all routed heads.
        sharpness: `learned` (default): per token; or a number for all. Under straight_through it shapes gradients only.
        shared: S; default 0. They have gate 1 and do not count in the budget.
        renormalise: scale the gates of the active routed heads to mean 1.
        training: `straight_through` (default; forward the hard gates, backward the gradient of the soft form) or `soft`
            (the soft form in training, the hard rule at evaluation).
    """

    minimum: float = 1.0
    maximum: float | None = None
    sharpness: float | Literal["learned"] = "learned"
    shared: int = 0
    renormalise: bool = False
    training: Training = "straight_through"
    softmax: ClassVar[bool] = True
    selects: ClassVar[bool] = True
    varies: ClassVar[bool] = True
    predicts_budget: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise ValueError(f"minimum={self.minimum}: choose at least 1")
        if self.maximum is not None and self.maximum <= self.minimum:
            raise ValueError(f"maximum={self.maximum}: choose more than minimum={self.minimum}, or null for all heads")
        if self.shared < 0:
            raise ValueError(f"shared={self.shared}: choose 0 or more")
        if self.sharpness != "learned":
            _check_sharpness(self.sharpness)

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        routed = logits.shape[-1] - (3 if self.sharpness == "learned" else 2)
        parts = _split(logits, self.columns(routed + self.shared))
        scores = parts["heads"] / temperature
        probs = scores.softmax(-1)
        before, rank = preceding(scores if bias is None else scores + bias)
        theta = 0.3 + 0.5 * parts["threshold"].sigmoid()  # [B, L|1, 1]
        most = routed if self.maximum is None else self.maximum
        complexity = parts["complexity"].sigmoid()
        budget = self.minimum + complexity * (most - self.minimum)
        predicted = {"threshold": theta, "complexity": complexity, "budget": budget}
        under, within = theta - before, budget - rank - 0.5  # both above 0: the head is on
        if self.sharpness == "learned":
            sharpness = predicted["sharpness"] = 1 + 9 * parts["sharpness"].sigmoid()
            factor = _soft_and(under, within, sharpness)
            # A budget is to be met by other heads, not by another softness of counting them.
            expected = _soft_and(under, within, sharpness.detach()) if training else factor
        else:
            factor = expected = _soft_and(under, within, self.sharpness)
        rule = _Rule(scores, probs, (under > 0) & (within > 0), factor, training and self.training == "soft")
        record = {name: part.detach().squeeze(-1) for name, part in predicted.items()}
        return rule.gates(self, expected.sum(-1), record, budget.squeeze(-1))

    def columns(self, heads: int) -> dict[str, int]:
        own = {"sharpness": 1} if self.sharpness == "learned" else {}
        return {"heads": heads - self.shared, "threshold": 1, "complexity": 1, **own}

    def validate(self, heads: int) -> None:
        _check_shared(self.shared, heads)
        routed = heads - self.shared
        for key in ("minimum", "maximum"):
            value = getattr(self, key)
            if value is not None and value > routed:
                raise ValueError(f"{key}={value:g} but {routed} heads are routed; choose 1..{routed} (arm.gate.{key})")
        if self.minimum == routed:
            raise ValueError(
                f"minimum={self.minimum:g}: all {routed} routed heads, always; choose less (arm.gate.minimum)"
            )

    def surrogate(self) -> GateFunction:
        return replace(self, training="soft")

    @classmethod
    def examples(cls) -> "Sequence[Adaptive]":
        fixed = cls(2.0, 3.0, sharpness=5.5, renormalise=True)
        return [cls(), fixed, cls(shared=1), cls(training="soft")]


@dataclass(frozen=True)
class ReLU(GateFunction):
    """each head on its own: relu(1 + z), off where that is 0 (ReMoE, arXiv 2412.14711, with gates that start at 1)

    `expected` is the L1 norm of the gates. Differs from the paper: its gradient is that of softplus(1 + z), so that a
    head which is off can still be called back when there are too few.
    """

    varies: ClassVar[bool] = True

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        raw = 1 + logits / temperature
        weight = raw.relu()
        norm = (straight_through(weight, F.softplus(raw)) if raw.requires_grad else weight).sum(-1)
        return Gates(weight, weight > 0, weight, expected=norm)


def preceding(scores: Tensor) -> tuple[Tensor, Tensor]:
    """What ranks before each head: its probability (the exclusive cumulative sum C) and its number (the rank from 0).

    Args:
        scores: [..., R], of which probabilities are the softmax; ties rank in the order of the heads.

    Returns:
        C, with gradient, and rank, both [..., R] in the order of the heads. C of the best head is exactly 0.
    """
    falling, order = scores.sort(dim=-1, descending=True, stable=True)
    before = F.pad(falling.softmax(-1)[..., :-1].cumsum(-1), (1, 0))
    ranks = torch.arange(scores.shape[-1], device=before.device, dtype=before.dtype).expand_as(before)
    nothing = torch.zeros_like(before)
    return nothing.scatter(-1, order, before), nothing.scatter(-1, order, ranks)


@dataclass(frozen=True)
class _Rule:
    """A rule over routed heads, [B, L|1, R]: which are on, and the factor between 0 and 1 that softens it.

    `scores` are logits over temperature, `probs` their softmax; `softly`: train the soft form now.
    """

    scores: Tensor
    probs: Tensor
    on: Tensor
    factor: Tensor
    softly: bool

    def gates(
        self, gate: "TopP | Adaptive", expected: Tensor, predicted: dict[str, Tensor], budget: Tensor | None = None
    ) -> Gates:
        """Gates of all heads, the shared ones at 1 before the routed ones, which `expected` and `budget` count."""
        weight, on = self._weight(gate.renormalise), self.on
        if gate.shared:
            weight, on = F.pad(weight, (gate.shared, 0), value=1.0), F.pad(on, (gate.shared, 0), value=True)
            expected = expected + gate.shared
            budget = None if budget is None else budget + gate.shared
        if self.softly:
            return Gates(weight, torch.ones_like(on), self.probs, on, expected, budget, predicted)
        return Gates(weight, on, self.probs, None, expected, budget, predicted)

    def _weight(self, renormalise: bool) -> Tensor:
        """The soft form, or the hard one with the gradient of the soft one."""
        even = self.probs * self.probs.shape[-1]
        if self.softly:
            return even * self.factor
        hard = self.on.sum(-1, keepdim=True) * within(self.scores, self.on) if renormalise else even * self.on
        return straight_through(hard, even * self.factor)


def _soft_and(under: Tensor, within: Tensor, sharpness: Tensor | float) -> Tensor:
    return (under * sharpness).sigmoid() * (within * sharpness).sigmoid()


def _split(logits: Tensor, columns: dict[str, int]) -> dict[str, Tensor]:
    """A router's output by what its columns mean."""
    return dict(zip(columns, torch.split(logits, list(columns.values()), -1), strict=True))


def _check_shared(shared: int, heads: int) -> None:
    if shared > heads - 2:
        fits = f"choose up to {heads - 2}" if heads > 2 else "use more heads"
        raise ValueError(
            f"shared={shared} leaves {max(heads - shared, 0)} of {heads} heads to route, and a choice needs 2; {fits} "
            "(arm.gate.shared)"
        )


def _check_sharpness(sharpness: float) -> None:
    if not sharpness > 0:
        raise ValueError(f"sharpness={sharpness}: choose a number above 0")
