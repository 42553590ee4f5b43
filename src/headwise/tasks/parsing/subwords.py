"""Words to subwords with an encoder's own tokenizer.

Legend: N sentences, B batch, S subwords.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer

from headwise.errors import InputError
from headwise.tasks.base import Batch
from headwise.tasks.parsing.encoder import Columns
from headwise.tasks.parsing.ragged import Ragged
from headwise.tasks.parsing.sentences import Sentence

AT_ONCE = 1000
"""Sentences that the tokenizer is given in one call, which it shares among threads."""
WORDS = ("the", "old", "dog", "saw", "a", "cat")
"""Asked of a tokenizer to learn how it reads words; any would do."""


class SubwordColumns(Columns):
    """Sentences in subwords.

    Args:
        ids: of subwords, marks at both ends included.
        words: the word that each belongs to, from 1 on; 0 for marks.
        padding: number of the token that pads.
    """

    def __init__(self, ids: Ragged, words: Ragged, padding: int) -> None:
        self.ids, self.words, self.padding = ids, words, padding
        self.costs = ids.lengths

    def batch(self, index: torch.Tensor) -> Batch:
        real = torch.from_numpy(self.ids.places(index)[1])
        return {
            "subwords": self.ids.batch(index, self.padding),
            "subword_mask": real,
            "word_of": self.words.batch(index),
        }


class Subwords:
    """Forms to the subwords that they have in running text, each form by itself.

    Args:
        facts: of the encoder, see `Pretrained.learn`.

    Raises:
        ValueError: the tokenizer does not part running text at words.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.tokenizer = Tokenizer.from_str(facts["tokenizer"])
        # A tokenizer's file may ask for both: what is too long is an error here, and batches are padded later
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.before = before_words(self.tokenizer)
        self.limit: int | None = facts["limit"]
        self.rows: int = facts["rows"]
        self.padding: int = facts["padding"]

    def __call__(self, sentences: Sequence[Sentence]) -> SubwordColumns:
        """One row per sentence.

        Raises:
            InputError: a sentence with more subwords than the encoder takes, or one that it has no vector for.
        """
        ids, words = [], []
        for sentence, encoding in zip(sentences, self._encode(sentences), strict=True):
            if self.limit is not None and len(encoding.ids) > self.limit:
                raise InputError(
                    f"{sentence.where}: the sentence's {len(sentence.forms)} words make {len(encoding.ids)} subwords "
                    f"with their marks, the encoder takes {self.limit}; split the sentence or leave it out"
                )
            if max(encoding.ids, default=0) >= self.rows:
                raise InputError(
                    f"{sentence.where}: the tokenizer makes number {max(encoding.ids)} of a word, the encoder has "
                    f"vectors for 0..{self.rows - 1}; tokenizer and weights are of different models"
                )
            ids.append(encoding.ids)
            words.append([0 if word is None else word + 1 for word in encoding.word_ids])
        return SubwordColumns(Ragged.of(ids), Ragged.of(words), self.padding)

    def _encode(self, sentences: Sequence[Sentence]) -> Iterator[Encoding]:
        for start in range(0, len(sentences), AT_ONCE):
            forms = [[self.before + form for form in sentence.forms] for sentence in sentences[start : start + AT_ONCE]]
            yield from self.tokenizer.encode_batch(forms, is_pretokenized=True)


def before_words(tokenizer: Tokenizer) -> str:
    """What to write before a word given by itself for it to be read as in running text: nothing, or a space.

    Byte-level BPE and some SentencePiece tokenizers take a space as part of the word behind it; RoBERTa's and GPT-2's
    do not put one before a word that has none. Others put it there themselves, where a second would be one too many.
    The tokenizer is asked which it is, since its file says so in a dozen ways.

    Raises:
        ValueError: neither gives what running text gives.
    """
    running: list[int] = tokenizer.encode(" ".join(WORDS), add_special_tokens=False).ids
    for before in ("", " "):
        alone = tokenizer.encode([before + word for word in WORDS], is_pretokenized=True, add_special_tokens=False)
        # The first word has no space before it in running text and may be read otherwise there
        behind = [number for number, word in zip(alone.ids, alone.word_ids, strict=True) if word]
        if running[len(running) - len(behind) :] == behind:
            return before
    raise ValueError("its tokenizer does not part a text at words")
