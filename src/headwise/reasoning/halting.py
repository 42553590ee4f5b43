"""Halting: when refinement ends for an example, decided for each example alone.

Legend: B batch, L length, S context positions, C context width, H heads.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from headwise.reasoning import HALTING
from headwise.registry import name_of
from headwise.routing.gates import Gates
from headwise.routing.pooling import pooled
from headwise.routing.routers import normalised_entropy


class HaltingConfig(ABC):
    """What a halting policy's configuration declares and builds; its subclasses are frozen dataclasses.

    Attributes:
        halts: whether an example can stop before R.
        learned: whether stopping is trained through the loss of every step.
        reads_context: whether it reads the controller's context.
        reads_distribution: whether it reads the gates' distribution over heads.
    """

    halts: ClassVar[bool] = True
    learned: ClassVar[bool] = False
    reads_context: ClassVar[bool] = False
    reads_distribution: ClassVar[bool] = False

    @abstractmethod
    def build(self, context: int) -> "Halting | None":
        """The policy, or None where every example takes all R steps; `context` is C, 0 without a controller."""

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

    def build(self, context: int) -> None:
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

    def build(self, context: int) -> "Entropy":
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

    def build(self, context: int) -> "Ponder":
        return Ponder(self, context)

    @classmethod
    def examples(cls) -> "Sequence[PonderHalting]":
        return [cls(-0.5)]


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
    def macs(self) -> float:
        """Multiply-accumulates of one step for one example."""


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

    def macs(self) -> float:
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

    def macs(self) -> float:
        return self.head.weight.numel()


def ponder_distribution(stopping: Tensor) -> Tensor:
    """Stopping probabilities lambda [R, B] to p_t = lambda_t · prod_{s<t} (1 - lambda_s), with lambda_R := 1."""
    going = torch.cat([torch.ones_like(stopping[:1]), (1 - stopping[:-1]).cumprod(0)])  # reaches step t
    last = torch.ones_like(stopping[:1])
    return going * torch.cat([stopping[:-1], last])
