"""From a corpus to examples: splits, tokens, and what a model must know of them.

A split is a list of records or a part of a running text. The model learns the next token, so an example of T targets
has T + 1 tokens; its first token is given, never predicted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from headwise.errors import InputError
from headwise.tasks.base import SPLITS, Source, TaskData
from headwise.tasks.language import corpora, grammar, references
from headwise.tasks.language.config import LanguageConfig
from headwise.tasks.language.corpora import Corpus, Record
from headwise.tasks.language.sources import Curriculum, RandomWindows, Records, Sequences, Windows
from headwise.tasks.language.tokens import TextTokenizer

HELD_OUT = 0.1
"""Share held out of a corpus that has no custom of its own; nanoGPT's for tinyshakespeare."""

CLOSED = ("facts_and_chat",)
"""Corpora that are scored on what was trained on, as their authors did."""


@dataclass(frozen=True)
class Parts:
    """A corpus in its three splits, each one running text or records.

    Attributes:
        train, validation, test: the splits; a closed corpus has the same one three times.
        language: the splits that together hold every record that can occur; none where that is not known.
    """

    train: str | list[Record]
    validation: str | list[Record]
    test: str | list[Record]
    language: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """All the text there is, nothing twice."""
        parts = {id(part): part for part in (self.train, self.validation, self.test)}
        return [text for part in parts.values() for text in texts_of(part)]


def texts_of(part: str | list[Record]) -> list[str]:
    """The texts of a split."""
    return [part] if isinstance(part, str) else [record.text for record in part]


def divide(corpus: Corpus, held_out: float, seed: int) -> Parts:
    """A corpus in its splits.

    A text gives its end: the first half of what is held out validates, the second tests. Records are drawn; equal
    records stay together, so that none is in two splits. With nothing held out the corpus is closed.

    Raises:
        InputError: too few records for three splits.
    """
    if corpus.text is not None:
        if not held_out:
            return Parts(corpus.text, corpus.text, corpus.text)
        end = len(corpus.text)
        cut = int(end * (1 - held_out))
        middle = (cut + end) // 2
        return Parts(corpus.text[:cut], corpus.text[cut:middle], corpus.text[middle:])
    records = corpus.records or []
    if not held_out:
        return Parts(records, records, records, language=("train",))
    different = list(dict.fromkeys(record.text for record in records))
    count = round(held_out * len(different))
    if not 2 <= count < len(different):
        raise InputError(
            f"task.held_out={held_out}: takes {count} of the {len(different)} different records of {corpus.name}; "
            "validation and test need one each, training the rest; use held_out=0 to score what was trained on"
        )
    drawn = [different[i] for i in np.random.default_rng(seed).permutation(len(different))[:count]]
    halves = {"validation": set(drawn[: count // 2]), "test": set(drawn[count // 2 :])}
    train = [record for record in records if not any(record.text in half for half in halves.values())]
    validation, test = ([record for record in records if record.text in half] for half in halves.values())
    return Parts(train, validation, test)


def synthetic(config: LanguageConfig, seed: int) -> Parts:
    """The corpus that needs no file; see `grammar`."""
    marker = config.response_marker
    train, validation, test = (
        [corpora.as_record(text, marker, f"synthetic, {name} record {n}") for n, text in enumerate(texts, start=1)]
        for name, texts in grammar.generate(seed).items()
    )
    return Parts(train, validation, test, language=SPLITS)


class LanguageData(TaskData):
    """The splits of a corpus as tokens, and their references.

    `facts` holds the tokenizer itself, as JSON, so that a saved model needs no data to read and write.

    Raises:
        InputError: a corpus that is missing, empty, unreadable or too short, or a record longer than the context.
    """

    config: LanguageConfig

    def __init__(self, config: LanguageConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        self._corpus, self._before = self._parts(), self._first()
        self._has_records = any(isinstance(part, list) for part in (self._before, self._corpus.train))
        # Byte-level BPE can spell anything, so what is held out need not be seen to be readable.
        seen = texts_of(self._corpus.train) if config.tokenizer == "bpe" else self._corpus.texts
        seen = seen if self._before is None else [*seen, *texts_of(self._before)]
        tokenizer = TextTokenizer.fit(config.tokenizer, seen, config.vocabulary)
        self._number(tokenizer, len(tokenizer) + self._has_records)
        text = tokenizer.to_json()
        self.facts = {
            "kind": tokenizer.kind,
            "vocabulary": self.vocabulary,
            "end": len(tokenizer) if self._has_records else None,
            # As many positions as examples have: a further one would never be trained.
            "context": self._longest,
            # Before the tokenizer itself, which would make a long message where two differ.
            "tokenizer_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "tokenizer": text,
        }
        self.notes = {"synthetic": config.corpus == "synthetic"}

    def adopt(self, facts: dict[str, Any]) -> None:
        """As the base says; any corpus will do that the run's tokenizer can spell and its context holds.

        Raises:
            InputError: it does not.
        """
        if facts == self.facts:
            return
        if facts["kind"] != self.config.tokenizer:
            raise InputError(f"task.tokenizer={self.config.tokenizer}: the run has {facts['kind']}; leave it as it was")
        if self._has_records and facts["end"] is None:
            raise InputError(
                f"task.corpus={self.config.corpus}: records, but the run was trained on text alone and knows no end of "
                "one; give a text"
            )
        self._number(TextTokenizer.from_json(facts["kind"], facts["tokenizer"]), facts["vocabulary"])
        if self._longest > facts["context"]:
            raise InputError(
                f"task.context={self.config.context}: examples of {self._longest} tokens, the run was trained on at "
                f"most {facts['context']}; choose task.context={facts['context']} or less"
            )
        self.facts = facts

    def _number(self, tokenizer: TextTokenizer, vocabulary: int) -> None:
        """The splits in tokens, and what is counted in them.

        Args:
            tokenizer: of the training text, or of a run.
            vocabulary: tokens that the model knows: the tokenizer's and, after records, one for their end.
        """
        parts, config = self._corpus, self.config
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        train = self._source(parts.train, "the training part", RandomWindows)
        self._sources: dict[str, Sequences] = {"train": train}
        for name in ("validation", "test"):
            part = getattr(parts, name)
            same = isinstance(part, list) and part is parts.train
            self._sources[name] = train if same else self._source(part, f"the {name} part", Windows)
        self._unigram = references.Unigram(train, self.vocabulary)
        language = [source for name in parts.language if isinstance(source := self._sources[name], Records)]
        self._closed = references.Closed(language) if language else None
        if self._before is not None:
            before = self._source(self._before, "the pretraining corpus", RandomWindows)
            epochs, batch_size = config.pretraining_epochs, config.pretraining_batch_size
            self._sources["train"] = Curriculum(before, train, epochs, batch_size)
        self._longest = max(source.longest for source in self._sources.values())

    def split(self, name: str) -> Source:
        return self._sources[name]

    def references(self, source: Source) -> dict[str, Tensor]:
        """`floor` and, where every record that can occur is known, `ceiling`, in nats per token."""
        return self.references_by_metric(source)["loss"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same in bits per character, too."""
        return references.by_metric(source, self._unigram, self._closed)

    def _parts(self) -> Parts:
        config = self.config
        if config.corpus == "synthetic":
            return synthetic(config, self.seed)
        held_out = config.held_out
        if held_out is None:
            held_out = 0.0 if config.corpus in CLOSED else HELD_OUT
        return divide(corpora.load(config), held_out, self.seed)

    def _first(self) -> str | list[Record] | None:
        """What is read before the corpus itself, if anything."""
        found = corpora.pretraining(self.config) if self.config.pretraining_epochs else None
        if found is None:
            return None
        return found.records if found.text is None else found.text

    def _source(self, part: str | list[Record], what: str, windows: type[Windows]) -> Sequences:
        """A split in tokens: records, or windows of the given kind.

        Raises:
            InputError: a record longer than the context, a text shorter than a window.
        """
        length = self.config.context
        if isinstance(part, str):
            text = self.tokenizer.encode(part, what)
            if len(text.ids) <= length:
                raise InputError(
                    f"task.corpus={self.config.corpus}: {what} has {len(text.ids)} tokens, but one block takes "
                    f"{length + 1} (task.context={length} and the token after it); choose a smaller task.context or a "
                    "longer text"
                )
            return windows(text, length)
        prompts = [self.tokenizer.encode(record.prompt, record.where) for record in part]
        responses = [self.tokenizer.encode(record.response, record.where) for record in part]
        for record, prompt, response in zip(part, prompts, responses, strict=True):
            tokens = len(prompt.ids) + len(response.ids)
            if tokens > length:
                raise InputError(
                    f"{record.where}: {tokens} tokens, but task.context={length}; choose task.context={tokens} or "
                    "more, or shorten it"
                )
        return Records(prompts, responses, len(self.tokenizer))
