"""What an encoder is: how sentences become numbers, and numbers word vectors.

An encoder is a configuration that knows both halves: `learn` and `inputs` on the side of the data, `module` on the side
of the model. What the halves must agree on, a vocabulary say, goes from one to the other as facts, plain JSON that is
saved with the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from headwise.tasks.base import Batch
from headwise.tasks.parsing.sentences import Sentence


class Columns(ABC):
    """Sentences as an encoder reads them.

    Attributes:
        costs: tokens of each sentence as the encoder counts them, int64 [N]; batches are filled by them.
    """

    costs: NDArray[np.int64]

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The encoder's tensors for the sentences `index` [B]."""


class Inputs(Protocol):
    """Turns sentences into columns."""

    def __call__(self, sentences: Sequence[Sentence]) -> Columns:
        """One row per sentence, in their order.

        Raises:
            InputError: a sentence that the encoder cannot read.
        """


class Encoder(Protocol):
    """The configuration of an encoder."""

    def learn(self, train: Sequence[Sentence]) -> dict[str, Any]:
        """Facts from the training sentences."""

    def reads(self, facts: dict[str, Any]) -> bool:
        """Whether the facts are such as an encoder of this kind learns, all of them there."""

    def inputs(self, facts: dict[str, Any], cache: Path | None) -> Inputs:
        """The data's half."""

    def module(self, facts: dict[str, Any]) -> nn.Module:
        """The model's half: batch -> word vectors [B, L, E]; it has the attribute `width`, E."""
