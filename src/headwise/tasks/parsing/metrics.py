"""Attachment scores, as the official scorer of the CoNLL 2018 shared task counts them.

Every word counts, punctuation too. Relations are compared up to the colon (`nmod:poss` is `nmod`).

- UAS: words with the right head, over all words. LAS: words with the right head and relation.
- CLAS: LAS of content words as F1. What a content word is depends on the relation, and a predicted relation may be one
  where the gold one is not; so there are two totals: F1 = 2 right / (gold + predicted content words), where right are
  content words by gold with head and relation right. Function words and punctuation have no part in it.
- UCM, LCM: sentences in which every head (every head and relation) is right.

All scores are shares from 0 to 1.
Legend: B batch, L length, N sentences, W words of all sentences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.parsing.sentences import Sentence

# fmt: off
CONTENT = frozenset((
    "nsubj", "obj", "iobj", "csubj", "ccomp", "xcomp", "obl", "vocative", "expl", "dislocated", "advcl",
    "advmod", "discourse", "nmod", "appos", "nummod", "acl", "amod", "conj", "fixed", "flat", "compound",
    "list", "parataxis", "orphan", "goeswith", "reparandum", "root", "dep",
))
# fmt: on
"""Universal relations of content words; not among them are aux, case, cc, clf, cop, det, mark and punct."""

BINS = ((1, 5), (6, 10), (11, 20), (21, 30), (31, 50), (51, None))
"""Lengths of sentences that are reported together, first and last."""


def universal(relation: str) -> str:
    """The part of a relation before its subtype."""
    return relation.partition(":")[0]


def is_content(relation: str) -> bool:
    """Whether a word with this relation counts for CLAS."""
    return universal(relation) in CONTENT


class Words(NamedTuple):
    """What is true of each word; bool tensors of one shape, False at padding.

    Attributes:
        real: it is one.
        attached: its head is right.
        labelled: its head and relation are right.
        content: its gold relation is that of a content word.
        predicted_content: its predicted relation is.
    """

    real: Tensor
    attached: Tensor
    labelled: Tensor
    content: Tensor
    predicted_content: Tensor


class Counts(NamedTuple):
    """Per example, or of a whole corpus, int64: the sums from which scores are made; sums of these add up.

    Attributes:
        words: all of them.
        attached, labelled: with the right head; with the right head and relation.
        content, predicted_content: content words by gold, and by prediction.
        content_labelled: content words by gold with the right head and relation.
    """

    words: Tensor
    attached: Tensor
    labelled: Tensor
    content: Tensor
    predicted_content: Tensor
    content_labelled: Tensor

    @property
    def uas(self) -> Tensor:
        return self.attached / self.words

    @property
    def las(self) -> Tensor:
        return self.labelled / self.words

    @property
    def clas(self) -> Tensor:
        return 2 * self.content_labelled / (self.content + self.predicted_content)


def universal_ids(names: Sequence[str]) -> Tensor:
    """From a relation's place in `names` to the first place with the same universal relation, int64 [len(names) + 1].

    The last entry is -1, so that -1, a relation that the list lacks, stays -1.
    """
    first: dict[str, int] = {}
    ids = [first.setdefault(universal(name), place) for place, name in enumerate(names)]
    return torch.tensor([*ids, -1])


def content_ids(names: Sequence[str]) -> Tensor:
    """Whether each of `names` is the relation of a content word, bool [len(names) + 1]; False for -1, as above."""
    return torch.tensor([*map(is_content, names), False])


@lru_cache(maxsize=16)
def _tables(names: tuple[str, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    return universal_ids(names).to(device), content_ids(names).to(device)


def words(heads: Tensor, relations: Tensor, batch: Batch, names: Sequence[str]) -> Words:
    """Compare predictions word by word.

    Args:
        heads, relations: predicted, int64 [B, L]; relations are places in `names`.
        batch: gold `heads`, `relations` (-1: one that `names` lacks, which no prediction can meet), `mask`, `content`.
        names: the relations.
    """
    same, content = _tables(tuple(names), heads.device)
    real, gold = batch["mask"], same[batch["relations"]]
    attached = (heads == batch["heads"]) & real
    labelled = attached & (same[relations] == gold) & (gold >= 0)
    return Words(real, attached, labelled, batch["content"] & real, content[relations] & real)


def counts(found: Words) -> Counts:
    """Sums over the last dimension: per example of [B, L], over everything of [W]."""
    content_labelled = found.labelled & found.content
    return Counts(
        *(part.sum(-1) for part in (found.real, found.attached, found.labelled)),
        *(part.sum(-1) for part in (found.content, found.predicted_content, content_labelled)),
    )


def measure(heads: Tensor, relations: Tensor, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
    """Every score per example, float [B]; NaN where an example has no words.

    `uas` and `las` are weighted by `batch["share"]`, the example's words over those of an average example of its
    source, so that the mean over the source is the score over all its words. `clas` is weighted by
    `batch["content_share"]`, the same of content words by gold. (The weight that makes its mean exact has predicted
    content words in it, see `weights`; with gold ones it is off by less than 0.001 on EWT at a LAS from 0.8 on, as long
    as the two totals are about the same.) A share that the batch lacks counts as 1.

    Args: as in `words`.
    """
    found = counts(words(heads, relations, batch, names))
    share, content_share = batch.get("share", torch.tensor(1.0)), batch.get("content_share", torch.tensor(1.0))
    return {
        "uas": found.uas * share.to(heads.device),
        "las": found.las * share.to(heads.device),
        "clas": found.clas * content_share.to(heads.device),
        "ucm": _complete(found.attached, found.words),
        "lcm": _complete(found.labelled, found.words),
    }


def weights(batch: Batch, predicted_content: Tensor | None = None) -> dict[str, Tensor]:
    """What each example's scores have to be weighted by for a mean that is the corpus's score, float [B].

    Args:
        batch: with gold `mask` and `content`.
        predicted_content: `Counts.predicted_content` [B], which makes the mean of CLAS exact too.
    """
    real, content = batch["mask"].sum(1).float(), batch["content"].sum(1).float()
    if predicted_content is not None:
        content = (content + predicted_content) / 2
    one = torch.ones_like(real)
    return {"uas": real, "las": real, "clas": content, "ucm": one, "lcm": one}


def corpus_scores(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> dict[str, float]:
    """UAS, LAS, CLAS, UCM, LCM (shares of 1), `words` and `sentences` of a whole corpus.

    Raises:
        ValueError: the sentences are not the same, with the first that differs.
    """
    found, sentence = _compare(gold, predicted)
    return _scores(found, sentence, torch.arange(len(gold)))


def by_length(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> list[dict[str, Any]]:
    """`corpus_scores` of short and of long sentences: one row for each of `BINS` with sentences, `length` its name."""
    found, sentence = _compare(gold, predicted)
    lengths = torch.bincount(sentence, minlength=len(gold))
    rows = []
    for first, last in BINS:
        chosen = ((lengths >= first) & (lengths <= (last or lengths.max()))).nonzero().flatten()
        if len(chosen):
            rows.append({"length": f"{first}-{last}" if last else f">{first - 1}", **_scores(found, sentence, chosen)})
    return rows


def by_relation(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> list[dict[str, Any]]:
    """Scores by universal relation of the gold trees: `relation`, `words`, UAS, LAS; the most frequent first."""
    found, _ = _compare(gold, predicted)
    names = [universal(relation) for sentence in gold for relation in sentence.relations]
    place = {name: number for number, name in enumerate(sorted(set(names)))}
    ids = torch.tensor([place[name] for name in names])
    rows = []
    for name, number in place.items():
        chosen = _exact(counts(_take(found, ids == number)))
        rows.append({"relation": name, "words": int(chosen.words), "UAS": float(chosen.uas), "LAS": float(chosen.las)})
    return sorted(rows, key=lambda row: (-row["words"], row["relation"]))


def _compare(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> tuple[Words, Tensor]:
    """All words in one line, [W], and the number of the sentence of each, int64 [W]."""
    if len(gold) != len(predicted):
        raise ValueError(f"{len(predicted)} predicted sentences for {len(gold)} gold ones")
    for right, guess in zip(gold, predicted, strict=True):
        if right.forms != guess.forms:
            raise ValueError(f"{guess.where}: not the words of the gold sentence at {right.where}")
        for sentence in (right, guess):
            if not len(sentence.forms) == len(sentence.heads) == len(sentence.relations):
                raise ValueError(f"{sentence.where}: not one head and one relation per word")
    names = sorted({name for sentence in (*gold, *predicted) for name in sentence.relations})
    place = {name: number for number, name in enumerate(names)}
    heads, relations = _line(predicted, place)
    gold_heads, gold_relations = _line(gold, place)
    mask = torch.ones_like(heads, dtype=torch.bool)
    batch = {
        "heads": gold_heads,
        "relations": gold_relations,
        "mask": mask,
        "content": content_ids(names)[gold_relations],
    }
    lengths = torch.tensor([len(sentence.forms) for sentence in gold], dtype=torch.int64)
    return words(heads, relations, batch, names), torch.repeat_interleave(torch.arange(len(gold)), lengths)


def _line(sentences: Iterable[Sentence], place: dict[str, int]) -> tuple[Tensor, Tensor]:
    heads = [head for sentence in sentences for head in sentence.heads]
    relations = [place[name] for sentence in sentences for name in sentence.relations]
    return torch.tensor(heads, dtype=torch.int64), torch.tensor(relations, dtype=torch.int64)


def _scores(found: Words, sentence: Tensor, chosen: Tensor) -> dict[str, float]:
    """The scores of the words of the chosen sentences."""
    inside = torch.isin(sentence, chosen)
    total = _exact(counts(_take(found, inside)))
    wrong = [len(torch.unique(sentence[inside & ~right])) for right in (found.attached, found.labelled)]
    return {
        "UAS": float(total.uas),
        "LAS": float(total.las),
        "CLAS": float(total.clas),
        "UCM": 1 - wrong[0] / len(chosen) if len(chosen) else math.nan,
        "LCM": 1 - wrong[1] / len(chosen) if len(chosen) else math.nan,
        "words": int(total.words),
        "sentences": len(chosen),
    }


def _take(found: Words, chosen: Tensor) -> Words:
    return Words(*(part[chosen] for part in found))


def _exact(total: Counts) -> Counts:
    """In double precision: a quotient of whole tensors would be single."""
    return Counts(*(part.double() for part in total))


def _complete(right: Tensor, total: Tensor) -> Tensor:
    return torch.where(total > 0, (right == total).float(), torch.nan)
