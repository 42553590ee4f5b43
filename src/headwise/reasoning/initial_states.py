"""Initial states: what refinement starts from, before it has seen anything.

Legend: B batch, L length, D width, S streams: 1, or 2 with the answer first and then the latent.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from headwise.reasoning import INITIAL_STATES
from headwise.reasoning.draws import normal
from headwise.registry import name_of


class InitialStateConfig(ABC):
    """What the configuration of initial states declares and builds; its subclasses are frozen dataclasses.

    Attributes:
        embeds: whether the one state is the embedding, which the first step then need not be given again.
        draws: whether each example draws its own, from the key that it has in the layout.
    """

    embeds: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    @abstractmethod
    def build(self, width: int, streams: int) -> "InitialState":
        """The module for hidden width D and S streams."""

    def describe(self) -> str:
        """A few words for reports."""
        return f"{name_of(INITIAL_STATES, type(self))} initial state"

    @classmethod
    def examples(cls) -> "Sequence[InitialStateConfig]":
        """Some that together use every option: the laws walk over them."""
        return [cls()]


@dataclass(frozen=True)
class EmbeddingState(InitialStateConfig):
    """the embedding; of two streams both start at zero, so that the first step reads the embedding alone, too"""

    embeds: ClassVar[bool] = True

    def build(self, width: int, streams: int) -> "Embedded":
        return Embedded(streams)


@dataclass(frozen=True)
class FixedState(InitialStateConfig):
    """a random vector for each stream, drawn once, kept with the weights, the same for every token (TRM, HRM)

    Args:
        seed: of the draw; default 0.
    """

    seed: int = 0

    def build(self, width: int, streams: int) -> "Fixed":
        return Fixed(self, width, streams)


@dataclass(frozen=True)
class RandomState(InitialStateConfig):
    """normal numbers of each token of each example, so that the answer is to be reached from anywhere (EqR)

    Args:
        std: their standard deviation; default 1, EqR's (arXiv 2605.21488).
    """

    std: float = 1.0
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"std={self.std}: choose a number above 0")

    def build(self, width: int, streams: int) -> "Drawn":
        return Drawn(self, streams)


class InitialState(nn.Module, ABC):
    """What refinement starts from."""

    @abstractmethod
    def forward(self, x: Tensor, keys: Tensor | None, places: Tensor) -> list[Tensor]:
        """The state of each stream, S of [B, L, D].

        Args:
            x: [B, L, D], the embedding.
            keys: int64 [B], of the examples; None where nothing is drawn.
            places: int64 [B|1, L], of the tokens in their sequences.
        """


class Embedded(InitialState):
    """`EmbeddingState`."""

    def __init__(self, streams: int) -> None:
        super().__init__()
        self.streams = streams

    def forward(self, x: Tensor, keys: Tensor | None, places: Tensor) -> list[Tensor]:
        return [x] if self.streams == 1 else [torch.zeros_like(x)] * self.streams


class Fixed(InitialState):
    """`FixedState`: normal numbers cut off at two standard deviations, then scaled to a standard deviation of 1, as in
    the code of HRM and TRM."""

    vectors: Tensor

    def __init__(self, config: FixedState, width: int, streams: int) -> None:
        super().__init__()
        # Drawn on the CPU, whatever the default device, so that a seed means the same everywhere.
        generator = torch.Generator().manual_seed(config.seed)
        within = math.erf(math.sqrt(2)) * (2 * torch.rand(streams, width, generator=generator, device="cpu") - 1)
        drawn = math.sqrt(2) * within.erfinv()  # the quantiles between -2 and 2
        self.register_buffer("vectors", (drawn / _CUT_DEVIATION).to(torch.get_default_device()))

    def forward(self, x: Tensor, keys: Tensor | None, places: Tensor) -> list[Tensor]:
        return [vector.to(x.dtype).expand_as(x) for vector in self.vectors]


class Drawn(InitialState):
    """`RandomState`."""

    def __init__(self, config: RandomState, streams: int) -> None:
        super().__init__()
        self.std, self.streams = config.std, streams

    def forward(self, x: Tensor, keys: Tensor | None, places: Tensor) -> list[Tensor]:
        assert keys is not None
        drawn = (normal(keys, stream, places, x.shape[-1]) for stream in range(self.streams))
        return [(self.std * numbers).to(x.dtype) for numbers in drawn]


# Of a standard normal number between -2 and 2: its variance is 1 - 4·phi(2) / (Phi(2) - Phi(-2)).
_CUT_DEVIATION = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
