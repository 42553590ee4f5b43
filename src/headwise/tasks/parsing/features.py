"""Word vectors of a frozen encoder, computed once and kept on disk.

Legend: T words of all sentences, E width of the encoder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headwise import files
from headwise.tasks.base import Batch
from headwise.tasks.parsing.buckets import buckets
from headwise.tasks.parsing.encoder import Columns
from headwise.tasks.parsing.ragged import Ragged, starts_of
from headwise.tasks.parsing.sentences import Sentence

log = logging.getLogger("headwise")

TOKENS = 4096
"""Subwords, padding included, that go through the encoder at once."""
FORMAT = 2
"""Version of the files and of how words are read; a change makes old ones unused."""


class FeatureColumns(Columns):
    """Sentences as word vectors.

    Args:
        features: rows of [E], float16.
    """

    def __init__(self, features: Ragged) -> None:
        self.features = features
        self.costs = features.lengths

    def batch(self, index: Tensor) -> Batch:
        return {"features": self.features.batch(index)}


class FrozenFeatures:
    """Sentences to word vectors; the same sentences are computed once.

    Args:
        subwords: sentences to the encoder's input.
        encoder: in evaluation mode.
        cache: a directory for the vectors, or None to compute them each time.
    """

    def __init__(
        self, subwords: Callable[[Sequence[Sentence]], Columns], encoder: nn.Module, key: str, cache: Path | None
    ) -> None:
        self.subwords, self.encoder, self.key, self.cache = subwords, encoder, key, cache

    def __call__(self, sentences: Sequence[Sentence]) -> FeatureColumns:
        lengths = np.array([len(sentence.forms) for sentence in sentences], dtype=np.int64)
        starts = starts_of(lengths)
        if self.cache is None:
            return FeatureColumns(Ragged(self._compute(sentences, starts), starts))
        forms = json.dumps([sentence.forms for sentence in sentences], ensure_ascii=False)
        key = hashlib.sha256(f"{FORMAT} {self.key} {forms}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        path = self.cache / f"parsing-features-{key}.npy"
        found = _read(path, int(starts[-1]))
        if found is None:
            log.info("computing word vectors of %d sentences, once: %s", len(sentences), path)
            found = self._compute(sentences, starts)
            _write(path, found)
        return FeatureColumns(Ragged(found, starts))

    @torch.no_grad()
    def _compute(self, sentences: Sequence[Sentence], starts: NDArray[np.int64]) -> NDArray[np.float16]:
        columns = self.subwords(sentences)
        result: NDArray[np.float16] | None = None
        for index in buckets(columns.costs, TOKENS):
            real = torch.from_numpy(np.diff(starts)[index.numpy()])
            mask = torch.arange(int(real.max())) < real[:, None]  # [B, L]
            vectors = self.encoder(columns.batch(index) | {"mask": mask})  # [B, L, E]
            if result is None:
                result = np.zeros((int(starts[-1]), vectors.shape[-1]), dtype=np.float16)
            for row, words, count in zip(index.tolist(), vectors, real.tolist(), strict=True):
                result[starts[row] : starts[row] + count] = words[:count].half().numpy()
        assert result is not None  # there is no empty treebank
        return result


def _read(path: Path, words: int) -> NDArray[np.float16] | None:
    """Mapped from disk rather than read; None where there is no such file or it is damaged."""
    try:
        if not path.is_file():
            return None
        found: NDArray[np.float16] = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # a damaged header fails in a dozen ways: numpy, tokenize, mmap
        return None
    return found if found.ndim == 2 and len(found) == words and found.dtype == np.float16 else None


def _write(path: Path, values: NDArray[np.float16]) -> None:
    files.make_folder(path.parent)
    with files.writing(path) as new:
        np.save(new, values, allow_pickle=False)
