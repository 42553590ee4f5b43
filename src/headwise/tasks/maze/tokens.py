"""What the model sees of a maze: one token per cell, in the order of rows.

Legend: B batch, N side, L = N * N tokens, D width, F features of the convolution.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.tasks.base import Batch

BITS = 6
"""Walls up, right, down, left; start; goal."""

POSITION_SCALE = 0.1
"""Standard deviation of the position embeddings at the start: below that of a cell's bits, above what is lost in it."""


@dataclass(frozen=True)
class NoEncoder:
    """Each token knows its own cell; what lies around is for attention to find out."""


@dataclass(frozen=True)
class Convolution:
    """A convolutional encoder over the grid of bits; what it finds is added to the tokens.

    Args:
        features: F, channels of each layer; default 32.
        layers: 3 x 3 convolutions, so that a cell sees as many cells in each direction; default 2.
        local: add to each token the features of its cell; default true.
        summary: add to every token the mean of the features over the maze; default true, as published.

    Raises:
        ValueError: a value out of range, or nothing that would be added.
    """

    features: int = 32
    layers: int = 2
    local: bool = True
    summary: bool = True

    def __post_init__(self) -> None:
        for key in ("features", "layers"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: choose 1 or more")
        if not (self.local or self.summary):
            raise ValueError("local=false and summary=false: nothing would be read; choose one of them, or name=none")


EncoderConfig = NoEncoder | Convolution
ENCODERS: dict[str, type] = {"none": NoEncoder, "cnn": Convolution}


def bits(batch: Batch, dtype: torch.dtype) -> Tensor:
    """Walls, start and goal of each cell as zeros and ones, [B, L, 6]."""
    walls = ~batch["open"].flatten(1, 2)  # [B, L, 4]
    cells = torch.arange(walls.shape[1], device=walls.device)
    ends = torch.stack([cells == batch["start"][:, None], cells == batch["goal"][:, None]], dim=-1)  # [B, L, 2]
    return torch.cat([walls, ends], dim=-1).to(dtype)


class Cells(nn.Module):
    """bits -> token, plus learned embeddings of row and column for a model with absolute positions.

    Args:
        width: D.
        side: N, as many rows and columns as have embeddings; None for none of them.
        bits: how many a cell has.
    """

    role = "backbone"

    def __init__(self, width: int, side: int | None, bits: int = BITS) -> None:
        super().__init__()
        self.project = nn.Linear(bits, width)
        self.row = nn.Embedding(side, width) if side is not None else None
        self.column = nn.Embedding(side, width) if side is not None else None
        for embedding in (self.row, self.column):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=POSITION_SCALE)

    def forward(self, seen: Tensor) -> Tensor:
        """Bits [B, L, 6], or as many as there are, to tokens [B, L, D]."""
        tokens: Tensor = self.project(seen)
        if self.row is not None and self.column is not None:
            place = self.row.weight[:, None] + self.column.weight  # [N, N, D]
            tokens = tokens + place.flatten(0, 1)
        return tokens


class ConvolutionalEncoder(nn.Module):
    """Features of each cell's surroundings, and their mean over the maze, to be added to the tokens.

    Beyond the border the bits are zero, which no cell inside has at its border: so edges can be told.
    """

    role = "backbone"

    def __init__(self, config: Convolution, width: int) -> None:
        super().__init__()
        channels = [BITS] + [config.features] * config.layers
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(channels)
        )
        self.local = nn.Linear(config.features, width, bias=False) if config.local else None
        self.summary = nn.Linear(config.features, width, bias=False) if config.summary else None

    def forward(self, seen: Tensor, side: int) -> Tensor:
        """Bits [B, L, 6] of mazes of N x N to what is added, [B, L, D] or, of a summary alone, [B, 1, D]."""
        image = seen.mT.reshape(seen.shape[0], BITS, side, side)
        for layer in self.layers:
            image = F.gelu(layer(image))
        found = image.flatten(2).mT  # [B, L, F]
        added: Tensor = found.new_zeros(())
        if self.local is not None:
            added = added + self.local(found)
        if self.summary is not None:
            added = added + self.summary(found.mean(1, keepdim=True))
        return added
