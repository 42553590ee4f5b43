"""Halting: when refinement ends for an example, decided for each example alone.

Legend: B batch, L length, D width, S context positions, C context width, H heads.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.reasoning import HALTING
from headwise.registry import name_of
from headwise.routing.gates import Gates
from headwise.routing.pooling import first_token, pooled
from headwise.routing.routers import normalised_entropy


class HaltingConfig(ABC):
    """What a halting policy's configuration declares and builds; its subclasses are frozen dataclasses.

    Attributes:
        halts: whether an example can stop before R.
        learned: whether stopping is trained through the loss of every step.
        reads_context: whether it reads the controller's context.
        reads_distribution: whether it reads the gates' distribution over heads.
        judges: whether it builds a `Judge`, which looks at the answer at the ends of segments alone.
    """

    halts: ClassVar[bool] = True
    learned: ClassVar[bool] = False
    reads_context: ClassVar[bool] = False
    reads_distribution: ClassVar[bool] = False
    judges: ClassVar[bool] = False

    @property
    def streams(self) -> bool:
        """Whether in training an example that halts leaves its row of the batch to a fresh one."""
        return False

    @property
    def level(self) -> float:
        """The logit of a judgement above which an example stops."""
        return 0.0

    @abstractmethod
    def build(self, context: int, width: int) -> "Halting | Judge | None":
        """The policy, or None where every example takes all R steps.

        Args:
            context: C, 0 without a controller.
            width: D.
        """

    def describe(self) -> str:
        """A few words for reports."""
        return f"{name_of(HALTING, type(self))} halting"

    @classmethod
    def examples(cls) -> "Sequence[HaltingConfig]":
        """Configurations that together use every option: the laws walk over them."""
        return [cls()]


@dataclass(frozen=True)
class FixedHalting(HaltingConfig):
    """every example takes all R steps"""

    halts: ClassVar[bool] = False

    def build(self, context: int, width: int) -> None:
        return None


@dataclass(frozen=True)
class EntropyHalting(HaltingConfig):
    """at evaluation an example stops when its mean gate entropy falls below a share of ln H

    Args:
        threshold: that share; default 0.385, the original's 0.8 nats at 8 heads.
    """

    threshold: float = 0.385
    reads_distribution: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold}: choose a share of ln H between 0 and 1")

    def build(self, context: int, width: int) -> "Entropy":
        return Entropy(self)

    @classmethod
    def examples(cls) -> "Sequence[EntropyHalting]":
        return [cls(0.9)]


@dataclass(frozen=True)
class PonderHalting(HaltingConfig):
    """a learned stopping probability per step, trained through the expected loss (PonderNet, arXiv 2107.05407)

    Args:
        bias: of the stopping logit at the start; default -3 (9.3 expected steps at R = 12), which avoids the early
            collapse that hits most runs started at 0 (arXiv 2604.21999).
    """

    bias: float = -3.0
    learned: ClassVar[bool] = True
    reads_context: ClassVar[bool] = True

    def build(self, context: int, width: int) -> "Ponder":
        return Ponder(self, context)

    @classmethod
    def examples(cls) -> "Sequence[PonderHalting]":
        return [cls(-0.5)]


PUBLISHED_EXPLORATION = 0.1


@dataclass(frozen=True)
class CorrectHalting(HaltingConfig):
    """after each segment an example stops if its answer is judged right, as it is learned from being right (TRM)

    Args:
        pool: what is read of the answer's tokens: the first (default, as published), their mean, or "min", each: the
            answer is judged by the token judged worst, for it is right only where all are.
        bias: of the judgement's logit at the start; default -5, the published one: no answer is thought right.
        threshold: probability of being right above which an example stops; default 0.5, as published (q > 0). More of
            it takes more segments and makes fewer mistakes, 1 takes all; an evaluation may set it anew.
        streaming: in training, too, an example that halts leaves, and a fresh one takes its row (default, as
            published), so that easy ones take fewer updates; false: each takes all segments.
        exploration: share of the examples that take a minimum of 2 to S segments, drawn evenly, in training before they
            may leave; default 0.1, the published one.
    """

    pool: Literal["first", "mean", "min"] = "first"
    bias: float = -5.0
    threshold: float = 0.5
    streaming: bool = True
    exploration: float = PUBLISHED_EXPLORATION
    judges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold}: choose a probability above 0, up to 1 (never stop)")
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"exploration={self.exploration}: choose a share of the examples, 0..1")
        if not self.streaming and self.exploration != PUBLISHED_EXPLORATION:
            raise ValueError(
                f"exploration={self.exploration}: has an effect only with streaming=true; leave it at "
                f"{PUBLISHED_EXPLORATION}"
            )

    @property
    def streams(self) -> bool:
        return self.streaming

    @property
    def level(self) -> float:
        return math.inf if self.threshold == 1 else math.log(self.threshold / (1 - self.threshold))

    def build(self, context: int, width: int) -> "Correct":
        return Correct(self, width)

    def describe(self) -> str:
        return "halts where it judges its answer right" + (
            "" if self.streaming else " (in training after all segments)"
        )

    @classmethod
    def examples(cls) -> "Sequence[CorrectHalting]":
        mean = cls(pool="mean", bias=-0.5, threshold=0.4, streaming=False)
        return [cls(bias=-0.5, exploration=0.5), mean, replace(mean, pool="min")]


class Halting(nn.Module, ABC):
    """A halting policy that can stop an example early; `learned` policies also weigh the training loss."""

    role: ClassVar[str] = "controller"
    learned: ClassVar[bool] = False

    @abstractmethod
    def forward(self, context: Tensor | None, gates: Sequence[Gates], mask: Tensor | None) -> Tensor:
        """Probability [B] of stopping after this step, given that the example has come this far.

        Args:
            context: [B, S, C] of the controller at this step, or None.
            gates: of each layer at this step.
            mask: [B, L], True for real tokens, or None.
        """

    @abstractmethod
    def macs(self, length: int) -> float:
        """Multiply-accumulates of one step for one example of `length` tokens."""


class Entropy(Halting):
    """`EntropyHalting`: 1 where the mean over layers and real tokens of H(softmax(logits / temperature)), before any
    selection, is below the threshold. Differs from the original, which stopped the whole batch on the batch's mean."""

    def __init__(self, config: EntropyHalting) -> None:
        super().__init__()
        self.threshold = config.threshold

    def forward(self, context: Tensor | None, gates: Sequence[Gates], mask: Tensor | None) -> Tensor:
        per_layer = [pooled(normalised_entropy(gate.probs).unsqueeze(-1), mask).flatten() for gate in gates]
        mean = torch.stack(per_layer).mean(0)  # [B]
        return (mean < self.threshold).to(mean.dtype)

    def macs(self, length: int) -> float:
        return 0


class Ponder(Halting):
    """`PonderHalting`: lambda_t = sigmoid(w·pool(context_t) + b)."""

    learned = True

    def __init__(self, config: PonderHalting, context: int) -> None:
        super().__init__()
        self.head = nn.Linear(context, 1)
        nn.init.constant_(self.head.bias, config.bias)

    def forward(self, context: Tensor | None, gates: Sequence[Gates], mask: Tensor | None) -> Tensor:
        if context is None:
            raise ValueError("ponder halting reads the controller's context and got none")
        return self.head(pooled(context, mask)).sigmoid().flatten()  # type: ignore[no-any-return]

    def macs(self, length: int) -> float:
        return self.head.weight.numel()


class Judge(nn.Module, ABC):
    """Says at the end of a segment how sure it is that an answer is right; an example stops where the logit is above
    `level`. The objective teaches it by the task's metric `exact`."""

    role: ClassVar[str] = "controller"
    level: float = 0.0

    @abstractmethod
    def forward(self, answer: Tensor, mask: Tensor | None) -> Tensor:
        """Logit [B] that the answer is right, with gradient.

        Args:
            answer: [B, L, D], the state that is read out, before the backbone's last norm.
            mask: [B, L], True for real tokens, or None.
        """

    @abstractmethod
    def macs(self, length: int) -> float:
        """Multiply-accumulates of one judgement of one example of `length` tokens."""


class Correct(Judge):
    """`CorrectHalting`: q = w·norm(y_1) + b, with y_1 the answer's first real token (pool=mean: the tokens' mean;
    pool=min: the least q of any token), and w = 0 at the start. Differs from the paper: what is read is normed (RMS, no
    scale), as the states of blocks that norm first grow over steps; where blocks norm last, as in TRM, that changes
    nothing."""

    def __init__(self, config: CorrectHalting, width: int) -> None:
        super().__init__()
        self.pool, self.level = config.pool, config.level
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, config.bias)

    def forward(self, answer: Tensor, mask: Tensor | None) -> Tensor:
        if self.pool != "min":
            answer = first_token(answer, mask) if self.pool == "first" else pooled(answer, mask)  # [B, 1, D]
        judged = self.head(F.rms_norm(answer, answer.shape[-1:])).squeeze(-1)
        if self.pool == "min" and mask is not None:
            padding = ~mask & mask.any(dim=1, keepdim=True)  # of nothing but padding all is read
            judged = judged.masked_fill(padding, math.inf)
        return judged.amin(dim=1)  # type: ignore[no-any-return]

    def macs(self, length: int) -> float:
        return (length if self.pool == "min" else 1) * self.head.weight.numel()


def ponder_distribution(stopping: Tensor) -> Tensor:
    """Stopping probabilities lambda [R, B] to p_t = lambda_t · prod_{s<t} (1 - lambda_s), with lambda_R := 1."""
    going = torch.cat([torch.ones_like(stopping[:1]), (1 - stopping[:-1]).cumprod(0)])  # reaches step t
    last = torch.ones_like(stopping[:1])
    return going * torch.cat([stopping[:-1], last])
