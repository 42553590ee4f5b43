"""An encoder that needs no download: words and their characters, read by a bidirectional LSTM.

The recipe of Dozat & Manning (2017), small: in a treebank of this size it learns more from few sentences than attention
without pretraining does. Differs from the paper: characters through a convolution instead of an LSTM.
Legend: B batch, L length, C characters of a word, U different words of a batch, E width of a word vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headwise.models.precision import recurrent_in_bf16
from headwise.tasks.base import Batch
from headwise.tasks.parsing.encoder import Columns, Inputs
from headwise.tasks.parsing.ragged import Ragged
from headwise.tasks.parsing.sentences import Sentence

PADDING, UNKNOWN = 0, 1
ENDS = 12
"""Characters kept from each end of a longer word."""


@dataclass(frozen=True)
class Scratch:
    """words and characters through a small LSTM, nothing pretrained

    Args:
        word: width of a word's embedding; default 128.
        minimum: words seen less often in training have no embedding of their own; default 2, so that the one for
            unknown words is trained.
        word_dropout: share of words that training treats as unknown; default 0.2.
        characters: width of a word's character features; default 96.
        hidden: width of each of the LSTM's two directions; default 256.
        layers: of the LSTM; default 2.
        dropout: on the input of each layer, the same units for a whole sentence; default 0.33.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    word: int = 128
    minimum: int = 2
    word_dropout: float = 0.2
    characters: int = 96
    hidden: int = 256
    layers: int = 2
    dropout: float = 0.33

    def __post_init__(self) -> None:
        for key in ("word", "minimum", "characters", "hidden", "layers"):
            if getattr(self, key) < 1:
                raise ValueError(f"task.encoder.{key}={getattr(self, key)}: choose 1 or more")
        for key in ("word_dropout", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"task.encoder.{key}={getattr(self, key)}: choose 0 or more, below 1")

    def learn(self, train: Sequence[Sentence]) -> dict[str, Any]:
        """The words that are frequent enough and all characters of the training sentences, each in sorted order."""
        words = Counter(form.lower() for sentence in train for form in sentence.forms)
        characters = {character for sentence in train for form in sentence.forms for character in form}
        frequent = sorted(word for word, count in words.items() if count >= self.minimum)
        return {"words": frequent, "characters": "".join(sorted(characters))}

    def reads(self, facts: dict[str, Any]) -> bool:
        """Whether they are a vocabulary."""
        return facts.keys() == {"words", "characters"}

    def inputs(self, facts: dict[str, Any], cache: Path | None) -> Inputs:
        """Forms to numbers."""
        return Vocabulary(facts)

    def module(self, facts: dict[str, Any]) -> nn.Module:
        """The LSTM and its embeddings."""
        return ScratchEncoder(self, len(facts["words"]) + 2, len(facts["characters"]) + 2)


class Vocabulary:
    """Numbers of words and characters; 0 pads, 1 is unknown."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.words = {word: number for number, word in enumerate(facts["words"], start=UNKNOWN + 1)}
        self.characters = {one: number for number, one in enumerate(facts["characters"], start=UNKNOWN + 1)}

    def __call__(self, sentences: Sequence[Sentence]) -> WordColumns:
        forms = sorted({form for sentence in sentences for form in sentence.forms})
        number = {form: place for place, form in enumerate(forms)}
        types = Ragged.of([[number[form] for form in sentence.forms] for sentence in sentences])
        words = np.array([self.words.get(form.lower(), UNKNOWN) for form in forms], dtype=np.int32)
        spelled = [[self.characters.get(one, UNKNOWN) for one in _ends(form)] for form in forms]
        characters = np.full((len(forms), max(map(len, spelled), default=1)), PADDING, dtype=np.int32)
        for row, spelling in zip(characters, spelled, strict=True):
            row[: len(spelling)] = spelling
        return WordColumns(types, words, characters)


class WordColumns(Columns):
    """Sentences as numbers of different forms, and each form's word and characters.

    Args:
        types: numbers of forms.
        words: word of each form, [forms].
        characters: of each form, [forms, C].
    """

    def __init__(self, types: Ragged, words: np.ndarray[Any, Any], characters: np.ndarray[Any, Any]) -> None:
        self.types, self.words, self.characters = types, words, characters
        self.costs = types.lengths

    def batch(self, index: Tensor) -> Batch:
        types = self.types.batch(index)  # [B, L]
        real = torch.from_numpy(self.types.places(index)[1])
        words = torch.from_numpy(self.words).long()[types]
        spelled = torch.from_numpy(self.characters).long()[types]  # [B, L, C]
        longest = int((spelled * real[..., None] != PADDING).sum(-1).max())
        return {
            "types": types,
            "words": words.masked_fill(~real, PADDING),
            "characters": spelled[..., : max(longest, 1)],
        }


class ScratchEncoder(nn.Module):
    """[word embedding; characters] -> LSTM: word vectors [B, L, 2 · hidden]."""

    role = "backbone"

    def __init__(self, config: Scratch, words: int, characters: int) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Embedding(words, config.word)
        self.characters = Characters(characters, config.characters)
        self.dropout = SharedDropout(config.dropout)
        widths = [config.word + config.characters] + [2 * config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(BothWays(width, config.hidden) for width in widths)
        self.width = 2 * config.hidden

    def forward(self, batch: Batch) -> Tensor:
        words, mask = batch["words"], batch["mask"]  # [B, L]
        if self.training and self.config.word_dropout:
            dropped = torch.rand(words.shape, device=words.device) < self.config.word_dropout
            words = torch.where(dropped & mask, UNKNOWN, words)
        x = torch.cat([self.word(words), self.characters(batch["types"], batch["characters"])], -1)
        for layer in self.layers:
            x = layer(self.dropout(x), mask.sum(1))
        return x


class BothWays(nn.Module):
    """One LSTM from the first word on and one from the last: [B, L, width] to [B, L, 2 · hidden].

    `nn.LSTM(bidirectional=True)` needs packed sentences to begin at the last word and not in the padding, and packed
    ones take up to twice the time on a CPU. Under bf16 they run in fp32 where the device knows no other.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, hidden, batch_first=True)
        self.backwards = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        kind = x.device.type
        if torch.is_autocast_enabled(kind) and not recurrent_in_bf16(kind):
            with torch.autocast(kind, enabled=False):
                return self._both(x.float(), lengths)
        return self._both(x, lengths)

    def _both(self, x: Tensor, lengths: Tensor) -> Tensor:
        batch, length, _ = x.shape
        last = lengths[:, None] - 1 - torch.arange(length, device=x.device)  # [B, L]
        # Rows of the words from the last to the first, copied whole; padding is never read.
        mirror = (last.clamp_min(0) + length * torch.arange(batch, device=x.device)[:, None]).flatten()
        backwards, _ = self.backwards(x.flatten(0, 1).index_select(0, mirror).view_as(x))
        backwards = backwards.flatten(0, 1).index_select(0, mirror).view_as(backwards)
        return torch.cat([self.forwards(x)[0], backwards], -1)


class Characters(nn.Module):
    """A word's spelling: character embeddings, a convolution over three of them, the maximum over places."""

    def __init__(self, characters: int, width: int, embedding: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding)
        self.convolution = nn.Conv1d(embedding, width, kernel_size=3, padding=1)

    def forward(self, types: Tensor, characters: Tensor) -> Tensor:
        """Numbers of forms [B, L] and their characters [B, L, C] to features [B, L, width]; each form once."""
        different, places = torch.unique(types, return_inverse=True)  # [U], [B, L]
        first = torch.zeros(different.shape[0], dtype=torch.long, device=types.device)
        first.scatter_(0, places.flatten(), torch.arange(types.numel(), device=types.device))
        spelled = characters.flatten(0, 1)[first]  # [U, C]
        beyond = spelled == PADDING
        # Zeros behind a word's end, as the convolution sees them before its beginning
        embedded = self.embedding(spelled).masked_fill(beyond[..., None], 0)
        features = self.convolution(embedded.transpose(1, 2))  # [U, width, C]
        features = features.masked_fill(beyond[:, None], -torch.inf).amax(-1).relu()
        found: Tensor = features[places]
        return found


class SharedDropout(nn.Module):
    """Dropout that leaves out the same units at every word of a sentence (Gal & Ghahramani 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, E] to the same."""
        if not self.training or not self.rate:
            return x
        return x * nn.functional.dropout(torch.ones_like(x[:, :1]), self.rate)


def _ends(form: str) -> str:
    return form if len(form) <= 2 * ENDS else form[:ENDS] + form[-ENDS:]
