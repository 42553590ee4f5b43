"""What a trained parser does on a split: official scores, where it goes wrong, and one sentence as a drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.tasks.parsing import metrics
from headwise.tasks.parsing.data import ParsingData, Sentences
from headwise.tasks.parsing.prediction import trees
from headwise.tasks.parsing.sentences import Sentence
from headwise.tasks.parsing.trees import svg

SCORES = ("UAS", "LAS", "CLAS", "UCM", "LCM")
LENGTHS = (12, 20)
"""Words of the sentence that is drawn, from and to: long enough for a tree, short enough for a screen."""

SYNTHETIC = "On generated sentences: these figures say nothing about a language. "
SCORES_CAPTION = (
    "All words count, punctuation too, and relations up to the colon, as in the official scorer. CLAS: content words "
    "only; UCM and LCM: sentences without a wrong head, and without a wrong head or relation. Below the model rules "
    "that need none."
)
OVERLAP_CAPTION = (
    "Sentences that stand word by word in the training split, too; short ones mostly. The splits are left as they were "
    "published."
)


def analyse(model: TaskModel, data: TaskData, source: Source, batch_size: int | None = None) -> dict[str, Any]:
    """Metrics, tables and figures, as `TaskEntry.analysis` says.

    Args:
        model: of the task `parsing`, in evaluation mode.
        data: that the source belongs to; its rules and its overlap between splits are shown beside.
        source: a split.
        batch_size: sentences at once, at most; default as many as fill a batch.
    """
    assert isinstance(data, ParsingData)
    assert isinstance(source, Sentences)
    gold = source.sentences
    found = trees(model, gold, source.columns, batch_size=batch_size)
    predicted = [
        Sentence(sentence.forms, tree.heads, tree.relations, sentence.where)
        for sentence, tree in zip(gold, found, strict=True)
    ]
    scores = metrics.corpus_scores(gold, predicted)
    drawn = chosen(gold, predicted)
    return {
        "metrics": {name.lower(): scores[name] for name in SCORES},
        "tables": [
            _table(
                "Scores",
                SYNTHETIC * data.treebank.synthetic + SCORES_CAPTION,
                ["", *SCORES],
                [["model", *(scores[name] for name in SCORES)], *_rules(data, source)],
            ),
            _rows(
                "By length of the sentence",
                "In words, punctuation included.",
                metrics.by_length(gold, predicted),
                ("length",),
            ),
            _rows(
                "By relation",
                "Words by the universal relation that they have in the treebank, the most frequent first.",
                metrics.by_relation(gold, predicted),
                ("relation",),
            ),
            _table("Sentences that are in training, too", OVERLAP_CAPTION, ["split", "so many", "of"], _overlap(data)),
        ],
        "figures": [_figure(model, source, drawn, predicted[drawn])],
    }


def chosen(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> int:
    """Place of the sentence to draw: the first of moderate length with a mistake, else the first of that length, else
    the one that comes closest to it."""
    low, high = LENGTHS
    lengths = [len(sentence.forms) for sentence in gold]
    moderate = [place for place, length in enumerate(lengths) if low <= length <= high]
    if not moderate:
        return min(range(len(gold)), key=lambda place: max(low - lengths[place], lengths[place] - high))
    return next((place for place in moderate if not _same(gold[place], predicted[place])), moderate[0])


def _same(gold: Sentence, predicted: Sentence) -> bool:
    relations = zip(gold.relations, predicted.relations, strict=True)
    return gold.heads == predicted.heads and all(metrics.universal(a) == metrics.universal(b) for a, b in relations)


def _figure(model: TaskModel, source: Sentences, place: int, predicted: Sentence) -> dict[str, Any]:
    gold, depth = source.sentences[place], model.backbone.model.depth
    gates = _gates(model, source, place)
    low, high = LENGTHS
    caption = f"The first sentence of {low} to {high} words with a mistake, if there is one ({Path(gold.where).name})."
    if gates:
        where = f" in the last of {depth} blocks" if depth > 1 else ""
        caption += f" Below it the gate of each head{where}, word by word; 1 is plain attention."
    drawing = svg(gold.forms, (gold.heads, gold.relations), (predicted.heads, predicted.relations), gates or None)
    return {"title": "One sentence", "caption": caption, "svg": drawing}


def _gates(model: TaskModel, source: Sentences, place: int) -> list[list[list[float]]]:
    """Gates of the last block, for each refinement step that the sentence took: [L, or 1 for all words][H]."""
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in source.batch(torch.tensor([place])).items()}
    trace = model(batch, record=True)
    taken = (trace.gates or [])[: math.ceil(trace.steps[0].item())]
    return [layers[-1].weight[0].tolist() for layers in taken if layers]


def _rules(data: ParsingData, source: Sentences) -> list[list[Any]]:
    """UAS and LAS of the rules; the other scores are not asked of them."""
    found = data.references_by_metric(source)
    names = [name for name in found["uas"] if name not in ("floor", "ceiling")]
    return [
        [name.replace("_", " "), *(found[metric][name].mean().item() for metric in ("uas", "las")), None, None, None]
        for name in names
    ]


def _overlap(data: ParsingData) -> list[list[Any]]:
    return [[name, count, len(data.split(name))] for name, count in data.treebank.overlap.items()]


def _rows(title: str, caption: str, rows: Sequence[Mapping[str, Any]], first: tuple[str, ...]) -> dict[str, Any]:
    """A table of rows with the same keys; counts before scores."""
    keys = [key for key in rows[0] if key not in first]
    columns = [*first, *(key for key in keys if key not in SCORES), *(key for key in keys if key in SCORES)]
    return _table(title, caption, columns, [[row[column] for column in columns] for row in rows])


def _table(title: str, caption: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}
