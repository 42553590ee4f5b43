"""What is iterated: how the states after a step follow from those before it.

Legend: B batch, L length, D width; t the step, from 1 and over all segments; net the stack of blocks, x the embedding.

    single        h <- net(h + e)           e = x with injection "input", else 0
    two_streams   z <- net(z + y + x)       at period - 1 steps: updates of the latent
                  y <- net'(y + z)          at every period-th step: the update of the answer

Two streams are those of TRM (arXiv 2510.04871), whose one network does both (net' = net), and of HRM (arXiv
2506.21734), which has two: z is its low-level state z_L, y its high-level state z_H, net f_L and net' f_H. What is read
out and supervised is the answer after its updates; states after updates of the latent never are. A controller reads the
answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from headwise.reasoning import RECURSIONS
from headwise.registry import name_of
from headwise.routing.pooling import pooled


class Recursion(ABC):
    """What a recursion declares, and its equations; its subclasses are frozen dataclasses.

    A step has the states of the step before, the answer [B, L, D] and, of two streams, the latent [B, L, D].

    Attributes:
        streams: 1, or 2 where there is a latent beside the answer.
        injects: whether the embedding is in its equations, so that `injection` has nothing to add.
    """

    streams: ClassVar[int] = 1
    injects: ClassVar[bool] = False

    @property
    def cycle(self) -> int:
        """Steps from one update of the answer to the next; those of a segment are a multiple of it."""
        return 1

    @property
    def stacks(self) -> int:
        """How many stacks of blocks there are, each of the shape that the model has."""
        return 1

    def answers(self, step: int) -> bool:
        """Whether step `step` (from 1) updates the answer."""
        return step % self.cycle == 0

    def stack(self, step: int) -> int:
        """Which stack step `step` (from 1) applies, from 0."""
        return 0

    @abstractmethod
    def read(self, step: int, answer: Tensor, latent: Tensor | None, x: Tensor | None) -> Tensor:
        """What the stack is given at step `step`, [B, L, D]; `x` is the embedding where it is to be added, or None."""

    @abstractmethod
    def written(self, step: int, new: Tensor, answer: Tensor, latent: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Answer and latent after step `step`, at which the stack returned `new`."""

    def describe(self) -> str:
        """A few words for reports."""
        return name_of(RECURSIONS, type(self)).replace("_", " ")

    @classmethod
    def examples(cls) -> "Sequence[Recursion]":
        """Small ones, for six steps, that together use every option: the laws walk over them."""
        return [cls()]


@dataclass(frozen=True)
class SingleStream(Recursion):
    """one state, which every step replaces"""

    def read(self, step: int, answer: Tensor, latent: Tensor | None, x: Tensor | None) -> Tensor:
        return answer if x is None else answer + x

    def written(self, step: int, new: Tensor, answer: Tensor, latent: Tensor | None) -> tuple[Tensor, None]:
        return new, None


@dataclass(frozen=True)
class TwoStreams(Recursion):
    """an answer and a latent, which is updated several times for each update of the answer (TRM, HRM)

    Args:
        period: steps of a cycle: n = period - 1 updates of the latent, then one of the answer; default 7, TRM's for
            Sudoku (5 for mazes). HRM's code has 3.
        networks: 1 (default): one stack of blocks does both, as in TRM; 2: the answer has a stack of its own, as in
            HRM, with as many blocks again.
    """

    period: int = 7
    networks: Literal[1, 2] = 1
    streams: ClassVar[int] = 2
    injects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.period < 2:
            raise ValueError(f"period={self.period}: choose at least 2, an update of the latent and one of the answer")
        if self.networks not in (1, 2):
            raise ValueError(f"networks={self.networks}: choose 1 or 2")

    @property
    def cycle(self) -> int:
        return self.period

    @property
    def stacks(self) -> int:
        return self.networks

    def stack(self, step: int) -> int:
        return self.networks - 1 if self.answers(step) else 0

    def read(self, step: int, answer: Tensor, latent: Tensor | None, x: Tensor | None) -> Tensor:
        assert latent is not None
        assert x is not None
        return answer + latent if self.answers(step) else latent + answer + x

    def written(self, step: int, new: Tensor, answer: Tensor, latent: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (new, latent) if self.answers(step) else (answer, new)

    def describe(self) -> str:
        n, own = self.period - 1, ", by a network of its own" if self.networks == 2 else ""
        return f"a latent is updated {n} time{'s' * (n > 1)}, then the answer{own}"

    @classmethod
    def examples(cls) -> "Sequence[TwoStreams]":
        return [cls(period=3), cls(period=2, networks=2)]


@torch.no_grad()
def residual(new: Tensor, old: Tensor, mask: Tensor | None) -> Tensor:
    """How far an update moves the answer, |y_t - y_{t-1}| / |y_t|, [B]: norms over D, mean over the real tokens.

    Args:
        new, old: y_t and y_{t-1}, [B, L, D].
        mask: bool [B, L], True for real tokens, or None.
    """
    moved, size = ((new - old).norm(dim=-1), new.norm(dim=-1))
    return pooled((moved / size.clamp_min(torch.finfo(size.dtype).tiny)).unsqueeze(-1), mask).flatten()
