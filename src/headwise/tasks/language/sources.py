"""Sources of token sequences: records, windows of a running text, and one source before another.

A batch has, all [B, L] with L the longest example in it:
    tokens, targets   int64, the input and what follows it: targets[i] is tokens[i + 1]
    mask              bool, True for real tokens (records alone; windows are full)
    answer            bool, targets that belong to the response to a prompt
and characters, mean_characters [B]: how many characters the targets of this example, and of an example of the source on
average, stand for.
Legend: B batch, L length, N examples of a source, M tokens of its longest, T targets of a window.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import Batch, Source
from headwise.tasks.language.tokens import Encoded


class Sequences(Source):
    """A source of token sequences.

    Attributes:
        indices: every index below this is an example; more than `len` where an epoch is a draw.
        longest: input tokens of the longest example.
    """

    indices: int
    longest: int

    @abstractmethod
    def counts(self, size: int) -> Tensor:
        """How often each of `size` tokens occurs as a target, float64 [size]."""


class Records(Sequences):
    """Records, each with an end token behind it.

    Args:
        prompts: N texts in tokens; empty where a record has no prompt.
        responses: N texts in tokens.
        end: the end token.
    """

    def __init__(self, prompts: Sequence[Encoded], responses: Sequence[Encoded], end: int) -> None:
        both = list(zip(prompts, responses, strict=True))
        rows = [[*prompt.ids, *response.ids, end] for prompt, response in both]
        self.lengths = torch.tensor([len(row) for row in rows])  # [N]
        self.prompts = torch.tensor([len(prompt.ids) for prompt in prompts])  # [N]
        self.tokens = torch.full((len(rows), int(self.lengths.max())), end, dtype=torch.int32)  # [N, M]
        for row, ids in zip(self.tokens, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int32)
        # The end is no character, and the first token is given.
        self.characters = torch.tensor([float(sum([*p.characters, *r.characters][1:])) for p, r in both])  # [N]
        self.mean_characters = self.characters.mean()
        self.indices, self.longest = len(rows), self.tokens.shape[1] - 1

    def __len__(self) -> int:
        return self.indices

    def batch(self, index: Tensor) -> Batch:
        targets = self.lengths[index, None] - 1  # [B, 1]
        tokens = self.tokens[index, : int(targets.max()) + 1].long()  # [B, L + 1]
        place = torch.arange(tokens.shape[1] - 1)
        mask, prompt = place < targets, self.prompts[index, None]
        return {
            "tokens": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "mask": mask,
            "answer": mask & (prompt > 0) & (place >= prompt - 1),
            "characters": self.characters[index],
            "mean_characters": self.mean_characters.expand(len(index)),
        }

    def counts(self, size: int) -> Tensor:
        inside = torch.arange(1, self.tokens.shape[1]) < self.lengths[:, None]
        return torch.bincount(self.tokens[:, 1:][inside], minlength=size).double()

    def sequences(self) -> list[tuple[int, ...]]:
        """The tokens of every record, the end included."""
        rows = self.tokens.tolist()
        return [tuple(row[:n]) for row, n in zip(rows, self.lengths.tolist(), strict=True)]


class Windows(Sequences):
    """A running text in windows that follow each other: window i has the targets from i·T + 1 on.

    What is left over at the end, fewer than T tokens, is not used.
    """

    stride: int

    def __init__(self, text: Encoded, length: int) -> None:
        self.tokens, self.length = torch.tensor(text.ids, dtype=torch.int32), length
        self.total_characters = torch.tensor([0, *text.characters]).cumsum(0)  # before each token
        self.stride, self.longest = length, length
        self.windows = (len(self.tokens) - 1) // length
        self.indices = self.windows
        spelled = self.total_characters[self.windows * length + 1] - self.total_characters[1]
        self.mean_characters = spelled.float() / self.windows

    def __len__(self) -> int:
        return self.windows

    def batch(self, index: Tensor) -> Batch:
        start = index * self.stride
        tokens = self.tokens[start[:, None] + torch.arange(self.length + 1)].long()  # [B, T + 1]
        spelled = self.total_characters[start + self.length + 1] - self.total_characters[start + 1]
        return {
            "tokens": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "answer": torch.zeros(len(index), self.length, dtype=torch.bool),
            "characters": spelled.float(),
            "mean_characters": self.mean_characters.expand(len(index)),
        }

    def counts(self, size: int) -> Tensor:
        return torch.bincount(self.tokens[1:], minlength=size).double()

    def fingerprint(self) -> str:
        """Digest of the text in tokens, so that what lies between windows counts, too."""
        seen = hashlib.sha256(f"{type(self).__name__} of {self.length}".encode())
        for values in (self.tokens, self.total_characters):
            seen.update(values.numpy().data)
        return seen.hexdigest()[:16]


class RandomWindows(Windows):
    """Windows that may begin anywhere: index i begins at token i. An epoch draws as many as would fill the text."""

    def __init__(self, text: Encoded, length: int) -> None:
        super().__init__(text, length)
        self.stride, self.indices = 1, len(self.tokens) - length

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """A draw of its own for each (seed, epoch); without shuffling the windows that follow each other."""
        if shuffle:
            start = torch.from_numpy(np.random.default_rng([seed, epoch]).integers(0, self.indices, self.windows))
        else:
            start = torch.arange(self.windows) * self.length
        return list(torch.split(start, batch_size))


class Curriculum(Sequences):
    """One source for the first epochs, another from then on.

    Args:
        first: indices below `first.indices` are its.
        second: the rest.
        epochs: of the first.
        batch_size: examples per batch of the first; None takes what is asked for.
    """

    def __init__(self, first: Sequences, second: Sequences, epochs: int, batch_size: int | None = None) -> None:
        self.first, self.second, self.epochs, self.batch_size = first, second, epochs, batch_size
        self.indices = first.indices + second.indices
        self.longest = max(first.longest, second.longest)

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def batch(self, index: Tensor) -> Batch:
        early = index < self.first.indices
        if early.all():
            return self.first.batch(index)
        if early.any():
            raise ValueError("a batch lies in one phase of the curriculum, as `plan` gives it")
        return self.second.batch(index - self.first.indices)

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """The plan of the source whose turn it is; without shuffling both, one after the other."""
        first = self.first.plan(self.batch_size or batch_size, seed, epoch, shuffle)
        if shuffle and epoch < self.epochs:
            return first
        second = [index + self.first.indices for index in self.second.plan(batch_size, seed, epoch, shuffle)]
        return second if shuffle else first + second

    def counts(self, size: int) -> Tensor:
        return self.first.counts(size) + self.second.counts(size)

    def fingerprint(self) -> str:
        both = f"{self.first.fingerprint()} for {self.epochs}, then {self.second.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]
