"""From a treebank to examples, and what a parser must know of them.

Legend: N sentences, B batch, L words.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.tasks.base import Batch, Source, TaskData
from headwise.tasks.parsing import references, treebank
from headwise.tasks.parsing.buckets import buckets
from headwise.tasks.parsing.config import ParsingConfig
from headwise.tasks.parsing.encoder import Columns, Encoder
from headwise.tasks.parsing.metrics import is_content
from headwise.tasks.parsing.ragged import Ragged
from headwise.tasks.parsing.sentences import Sentence

log = logging.getLogger("headwise")

UNKNOWN_RELATION = -1


class Sentences(Source):
    """Sentences with their trees.

    A batch has the encoder's tensors and, all [B, L] with L words in the longest sentence:
        mask        bool, True for words
        heads       int64, 0 the root, else the number of the head from 1 on
        relations   int64, place in the list of relations; -1 one that the list lacks
        content     bool, words whose relation counts for CLAS
    and share, content_share [B]: the sentence's words, and content words, over those of an average sentence of the
    source, so that the mean over the source of a score weighted by it is the score over all words.

    Args:
        sentences: with gold trees.
        relations: what the model can label an arc with.
        columns: the sentences as the encoder reads them.
    """

    def __init__(self, sentences: Sequence[Sentence], relations: Sequence[str], columns: Columns) -> None:
        self.sentences, self.columns = sentences, columns
        place = {name: number for number, name in enumerate(relations)}
        self.heads = Ragged.of([sentence.heads for sentence in sentences])
        self.relations = Ragged.of(
            [[place.get(name, UNKNOWN_RELATION) for name in sentence.relations] for sentence in sentences]
        )
        self.content = Ragged.of([[is_content(name) for name in sentence.relations] for sentence in sentences])
        self.words = self.heads.lengths.mean()
        self.content_words = self.content.values.sum() / len(sentences)

    def __len__(self) -> int:
        return len(self.sentences)

    def batch(self, index: Tensor) -> Batch:
        real = torch.from_numpy(self.heads.places(index)[1])
        content = self.content.batch(index).bool()
        return self.columns.batch(index) | {
            "mask": real,
            "heads": self.heads.batch(index),
            "relations": self.relations.batch(index, UNKNOWN_RELATION),
            "content": content,
            "share": real.sum(1) / self.words,
            "content_share": content.sum(1) / max(self.content_words, 1e-9),
        }

    def names(self, index: int) -> Sequence[str]:
        """The words."""
        return self.sentences[index].forms

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """Batches of similar length with as many tokens, padding included, as `batch_size` average sentences have."""
        rng = np.random.default_rng([seed, epoch]) if shuffle else None
        return buckets(self.columns.costs, batch_size * self.columns.costs.mean(), rng)

    def fingerprint(self) -> str:
        """Digest of words and trees: what an encoder makes of them, vectors say, would take long to read."""
        seen = hashlib.sha256()
        for sentence in self.sentences:
            seen.update(repr((sentence.forms, sentence.heads, sentence.relations)).encode())
        return seen.hexdigest()[:16]


class ParsingData(TaskData):
    """The splits of a treebank and the scores of simple rules on them.

    Raises:
        InputError: a treebank that is missing, malformed or without a split, or an encoder that is not to be had.
    """

    config: ParsingConfig
    _facts: dict[str, Any]

    def __init__(self, config: ParsingConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        self.treebank = treebank.load(config, seed, cache)
        self.notes = {
            "treebank": self.treebank.name,
            "synthetic": self.treebank.synthetic,
            "overlap": self.treebank.overlap,
        }
        self._splits = {
            "train": self.treebank.train[: config.train_sentences],
            "validation": self.treebank.validation,
            "test": self._of_length(self.treebank.test),
        }
        train = self._splits["train"]
        if config.train_sentences is not None and len(train) < config.train_sentences:
            raise InputError(
                f"task.train_sentences={config.train_sentences}: {self.treebank.name} has {len(train)} sentences to "
                f"train on; choose 1..{len(train)}"
            )
        self._rules = references.Rules(train)

    def _of_length(self, sentences: list[Sentence]) -> list[Sentence]:
        """Those of `test_words` words."""
        if self.config.test_words is None:
            return sentences
        fewest, most = self.config.test_words
        found = [sentence for sentence in sentences if fewest <= len(sentence.forms) <= most]
        if not found:
            longest = max(len(sentence.forms) for sentence in sentences)
            raise InputError(
                f"task.test_words=[{fewest},{most}]: no test sentence of {self.treebank.name} has so many words, the "
                f"longest has {longest}"
            )
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """The relations in their order, and what the encoder learned; learned when first asked for."""
        if not self._facts:
            # The inventory of relations is public; a rare one may occur in a later split alone
            sentences = chain(*self._splits.values())
            names = sorted({name for sentence in sentences for name in sentence.relations})
            encoder: Encoder = self.config.encoder
            self._facts = {"relations": names, "encoder": encoder.learn(self._splits["train"])}
        return self._facts

    @facts.setter
    def facts(self, facts: dict[str, Any]) -> None:
        self._facts = facts

    def adopt(self, facts: dict[str, Any]) -> None:
        """As the base says; any treebank will do: a relation that the model lacks counts as wrong."""
        self.facts = facts

    def split(self, name: str) -> Sentences:
        return self._sources[name]

    @cached_property
    def _sources(self) -> dict[str, Sentences]:
        encoder: Encoder = self.config.encoder
        if self.cache is None and getattr(encoder, "frozen", False):
            log.warning(
                "word vectors of the frozen encoder are computed anew in every run; cache=<directory> keeps them"
            )
        inputs = encoder.inputs(self.facts["encoder"], self.cache)
        relations = self.facts["relations"]
        return {name: Sentences(split, relations, inputs(split)) for name, split in self._splits.items()}

    def references(self, source: Source) -> dict[str, Tensor]:
        """LAS of the rules, weighted as `Sentences` says; `floor` is the best of them, `ceiling` 1 at every word."""
        return self.references_by_metric(source)["las"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same in UAS, too."""
        assert isinstance(source, Sentences)
        share = torch.from_numpy(source.heads.lengths / source.words)
        rules = {"las": self._rules.labelled(source.sentences), "uas": self._rules(source.sentences)}
        found = {}
        for metric, by_rule in rules.items():
            weighted = {name: values * share for name, values in by_rule.items()}
            floor = max(weighted.values(), key=lambda values: values.mean().item())
            found[metric] = {"floor": floor, "ceiling": share, **weighted}
        return found
