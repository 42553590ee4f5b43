"""What rules without a model reach: word by word, no tree is asked for.

- `previous_word`, `next_word`: attach every word to its neighbour, the one at the end to the root.
- `majority_offset`: attach every word to the word at the distance, or to the root, that is most frequent in training.
- `majority_by_form`: the same for each word form, in lower case; a form that training lacks takes the overall order.

Each takes the most frequent choice that does not leave the sentence. A relation is the most frequent one of the form
in training that fits: `root` at the root, another one elsewhere.

Legend: N sentences, L words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from headwise.tasks.parsing.metrics import universal
from headwise.tasks.parsing.sentences import Sentence

T = TypeVar("T")

_ROOT = 0
"""The distance from a word to itself, free to stand for the root."""


class Rules:
    """The rules, with what they count in training sentences."""

    def __init__(self, train: Sequence[Sentence]) -> None:
        distances: defaultdict[str, Counter[int]] = defaultdict(Counter)
        labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
        overall, every_label = Counter[int](), Counter[str]()
        for sentence in train:
            words = zip(sentence.forms, sentence.heads, sentence.relations, strict=True)
            for place, (form, head, relation) in enumerate(words, start=1):
                distance = head - place if head else _ROOT
                distances[form.lower()][distance] += 1
                overall[distance] += 1
                if head:
                    labels[form.lower()][universal(relation)] += 1
                    every_label[universal(relation)] += 1
        self._distances = {form: _ranked(counts) for form, counts in distances.items()}
        self._labels = {form: _ranked(counts)[0] for form, counts in labels.items()}
        self._distance = _ranked(overall) or [_ROOT]
        self._label = next(iter(_ranked(every_label)), "dep")

    def __call__(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """UAS of every rule, per sentence: {rule: float [N]}."""
        return self._scores(sentences, labelled=False)

    def labelled(self, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
        """LAS of every rule, per sentence: {rule: float [N]}; relations count up to the colon, as in the metrics."""
        return self._scores(sentences, labelled=True)

    def heads(self, sentence: Sentence) -> dict[str, list[int]]:
        """The heads that every rule gives: {rule: [L]}, 0 the root."""
        L = len(sentence.forms)
        by_form = [self._distances.get(form.lower(), self._distance) for form in sentence.forms]
        ranked = {
            "previous_word": [[-1]] * L,
            "next_word": [[1]] * L,
            "majority_offset": [self._distance] * L,
            "majority_by_form": by_form,
        }
        return {
            rule: [_head(place, order, L) for place, order in enumerate(orders, start=1)]
            for rule, orders in ranked.items()
        }

    def relations(self, sentence: Sentence, heads: Sequence[int]) -> list[str]:
        """The relations [L] that go with given heads."""
        return [
            self._labels.get(form.lower(), self._label) if head else "root"
            for form, head in zip(sentence.forms, heads, strict=True)
        ]

    def _scores(self, sentences: Sequence[Sentence], labelled: bool) -> dict[str, Tensor]:
        found: defaultdict[str, list[float]] = defaultdict(list)
        for sentence in sentences:
            gold = list(map(universal, sentence.relations))
            for rule, heads in self.heads(sentence).items():
                relations = self.relations(sentence, heads) if labelled else gold
                right = zip(heads, relations, sentence.heads, gold, strict=True)
                found[rule].append(sum((h, r) == (g, s) for h, r, g, s in right) / len(heads))
        return {rule: torch.tensor(values) for rule, values in found.items()}


def _ranked(counts: Counter[T]) -> list[T]:
    """By falling count; of equals the one met first, so that nothing but the order of training sentences decides."""
    return [value for value, _ in counts.most_common()]


def _head(place: int, distances: Sequence[int], L: int) -> int:
    """The head of word `place` by the first of the distances that stays in the sentence; the root if none does."""
    inside = (distance for distance in distances if distance == _ROOT or 1 <= place + distance <= L)
    distance = next(inside, _ROOT)
    return 0 if distance == _ROOT else place + distance
