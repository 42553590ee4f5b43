"""Halting: when refinement ends for an example, decided for each example alone.

Legend: B batch, L length, S context positions, C context width, H heads.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from headwise.routing.gates import Gates
from headwise.routing.pooling import pooled
from headwise.routing.routers import normalised_entropy


@dataclass(frozen=True)
class FixedHalting:
    """every example takes all R steps"""

    learned: ClassVar[bool] = False


@dataclass(frozen=True)
class EntropyHalting:
    """at evaluation an example stops when its mean gate entropy falls below a share of ln H

    Args:
        threshold: that share; default 0.385, the original's 0.8 nats at 8 heads.
    """

    threshold: float = 0.385
    learned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold}: choose a share of ln H between 0 and 1")


@dataclass(frozen=True)
class PonderHalting:
    """a learned stopping probability per step, trained through the expected loss (PonderNet, arXiv 2107.05407)

    Args:
        bias: of the stopping logit at the start; default -3 (9.3 expected steps at R = 12), which avoids the early
            collapse that hits most runs started at 0 (arXiv 2604.21999).
    """

    bias: float = -3.0
    learned: ClassVar[bool] = True


HaltingConfig = FixedHalting | EntropyHalting | PonderHalting
HALTING: dict[str, type] = {"fixed": FixedHalting, "entropy": EntropyHalting, "ponder": PonderHalting}


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


def make_halting(config: HaltingConfig, context: int) -> Halting | None:
    """The policy, or None for `fixed`; `context` is C."""
    if isinstance(config, EntropyHalting):
        return Entropy(config)
    if isinstance(config, PonderHalting):
        return Ponder(config, context)
    return None


def ponder_distribution(stopping: Tensor) -> Tensor:
    """Stopping probabilities lambda [R, B] to p_t = lambda_t · prod_{s<t} (1 - lambda_s), with lambda_R := 1."""
    going = torch.cat([torch.ones_like(stopping[:1]), (1 - stopping[:-1]).cumprod(0)])  # reaches step t
    last = torch.ones_like(stopping[:1])
    return going * torch.cat([stopping[:-1], last])
