"""Parsing: the two ends of the model. Word vectors in; scores of every head and relation out.

Legend: B batch, L words, D width, E width of the encoder, R width of the relation scorer's perceptrons, K relations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.parsing import metrics
from headwise.tasks.parsing.config import ParsingConfig
from headwise.tasks.parsing.decoding import decode_argmax, decode_tree
from headwise.tasks.parsing.pretrained import PretrainedEncoder
from headwise.tasks.parsing.scorer import ArcScorer, RelationScorer, of_heads
from headwise.tasks.parsing.scratch import SharedDropout
from headwise.tasks.scenes import Example, Scene


class Scores(NamedTuple):
    """A prediction: scores of the heads, and what scores of relations are made from once the heads are known.

    Attributes:
        arcs: [B, L, L + 1], -inf where the candidate is padding or the word itself; candidate 0 is the root.
        dependents: [B, L, R]. heads: [B, L + 1, R].
    """

    arcs: Tensor
    dependents: Tensor
    heads: Tensor


class Entry(nn.Module):
    """Word vectors [B, L, E] to the backbone's width."""

    role = "backbone"

    def __init__(self, encoder: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = SharedDropout(dropout)
        self.projection = nn.Linear(encoder, width)

    def forward(self, vectors: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.dropout(vectors))
        return projected


class Biaffine(nn.Module):
    """Hidden states to scores; the root is a vector of its own beside those of the words."""

    role = "readout"

    def __init__(self, config: ParsingConfig, width: int, relations: int) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.root)
        self.dropout = SharedDropout(config.dropout)
        self.arcs = ArcScorer(width, config.arcs, config.dropout)
        self.relations = RelationScorer(width, config.labels, relations, config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Scores:
        words = self.dropout(hidden)
        candidates = torch.cat([self.root.expand(hidden.shape[0], 1, -1).to(words.dtype), words], 1)  # [B, L + 1, D]
        arcs = self.arcs(words, candidates)
        # No softmax or tree search in half precision; double stays double, for finite differences
        arcs = arcs.to(torch.promote_types(arcs.dtype, torch.float32))
        length = mask.shape[1]
        itself = torch.eye(length, length + 1, dtype=torch.bool, device=mask.device).roll(1, 1)  # [L, L + 1]
        refused = itself | ~F.pad(mask, (1, 0), value=True)[:, None]  # [B, L, L + 1]
        return Scores(
            arcs.masked_fill(refused, -torch.inf), self.relations.dependent(words), self.relations.head(candidates)
        )

    def label(self, scores: Scores, heads: Tensor) -> Tensor:
        """Scores of the relations to the given heads [B, L]: [B, L, K]."""
        labels: Tensor = self.relations(scores.dependents, of_heads(scores.heads, heads))
        return labels


class ParsingTask(Task):
    """Attach each word to its head, or the root, by a labelled arc."""

    name: ClassVar[str] = "parsing"
    metric: ClassVar[str] = "las"
    training_size: ClassVar[str | None] = "train_sentences"
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    config: ParsingConfig

    def __init__(self, config: ParsingConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        if not config.encoder.reads(facts["encoder"]):
            raise InputError(
                "task.encoder: the run was trained with an encoder of another kind, or by another version; leave it "
                "as it was, or train anew"
            )
        self.encoder = config.encoder.module(facts["encoder"])
        self.entry = Entry(self.encoder.width, width, config.dropout)
        self.biaffine = Biaffine(config, width, len(facts["relations"]))

    @classmethod
    def shifts(cls, config: ParsingConfig) -> dict[str, Shift]:
        """Short and long sentences of the same test set, and another treebank, which the user names: a file .conllu to
        test on, or a treebank, whose own training part then teaches the rules of the floor."""

        def other(treebank: str) -> dict[str, Any]:
            if treebank.endswith(".conllu"):
                return {"test": treebank}
            return {"treebank": treebank, "train_sentences": None} | dict.fromkeys(("train", "validation", "test"))

        by_words = ([1, 10], [11, 20], [21, 40], [41, 1000])
        return {
            "words": Shift("words of a sentence", "all", lambda words: {"test_words": words}, by_words, drawn=False),
            "treebank": Shift("where the sentences are from", config.treebank, other),
        }

    def warm_start(self) -> None:
        if isinstance(self.encoder, PretrainedEncoder):
            self.encoder.warm_start()

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, L, D] and the mask of words."""
        return self.entry(self.encoder(batch)), batch["mask"]

    def read_out(self, hidden: Tensor, batch: Batch) -> Scores:
        scores: Scores = self.biaffine(hidden, batch["mask"])
        return scores

    def loss(self, prediction: Scores, batch: Batch) -> Tensor:
        """Cross-entropy of each word's head plus that of its relation to the right head, summed over words [B]."""
        mask, heads = batch["mask"], batch["heads"]
        relations = self.biaffine.label(prediction, heads)
        terms = _nats(prediction.arcs, heads.masked_fill(~mask, -1)) + _nats(relations, batch["relations"])
        return terms.sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """Words, [B]."""
        return batch["mask"].sum(1)

    def metrics(self, prediction: Scores, batch: Batch) -> dict[str, Tensor]:
        """UAS, LAS and complete matches; see `metrics.measure`."""
        heads, relations = self.decode(prediction, batch["mask"])
        return metrics.measure(heads, relations, batch, self.facts["relations"])

    def decode(self, prediction: Scores, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Heads and relations of the best trees, int64 [B, L] each; 0 at padding.

        A word attached to the root has the relation `root`, and no other word has, as Universal Dependencies ask.
        """
        search = decode_tree if self.config.decoder == "tree" else decode_argmax
        heads = search(prediction.arcs, mask)
        labels = self.biaffine.label(prediction, heads)
        names: list[str] = self.facts["relations"]
        if "root" in names and len(names) > 1:
            at_root = heads == 0
            root = torch.arange(len(names), device=heads.device) == names.index("root")
            labels = labels.masked_fill(at_root[..., None] ^ root, -torch.inf)
        return heads, labels.argmax(-1).masked_fill(~mask, 0)

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `parsing.scene`."""
        from headwise.tasks.parsing.scene import scene

        return scene(self, example, predictions)

    def from_text(self, text: str) -> Example:
        """See `parsing.scene`."""
        from headwise.tasks.parsing.scene import typed

        return typed(self, text)


def _nats(scores: Tensor, targets: Tensor) -> Tensor:
    """-ln p of each target [B, L], 0 where it is -1."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    terms = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=-1)
    return terms.view_as(targets)
