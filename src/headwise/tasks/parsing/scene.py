"""A sentence with its arcs as it is drawn, and one that is typed. Legend: L words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from headwise.errors import InputError
from headwise.tasks.parsing.metrics import universal
from headwise.tasks.parsing.reading import texts
from headwise.tasks.scenes import Example, Scene, counted, percent

if TYPE_CHECKING:
    from headwise.tasks.parsing.model import ParsingTask, Scores


def scene(task: ParsingTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The words with the arcs of each answer, and the right ones where they are known."""
    batch, names = example.batch, task.facts["relations"]
    words = list(example.names)
    question: dict[str, Any] = {"words": words}
    if example.solved:
        labels = [names[number] if number >= 0 else "?" for number in batch["relations"][0].tolist()]
        question |= {"heads": batch["heads"][0].tolist(), "relations": labels}
    return Scene("arcs", question, [_answer(task, scores, example, question) for scores in predictions], words)


def typed(task: ParsingTask, text: str) -> Example:
    """The sentence of a line, marks parted from its words.

    Raises:
        InputError: there is none, or the encoder cannot read it.
    """
    found = [block for block, _ in texts(text.splitlines(), "the sentence", "punctuation") if block is not None]
    if len(found) != 1:
        raise InputError(f"{text!r}: {len(found) or 'no'} sentences; type one")
    sentence = found[0].unparsed
    columns = task.config.encoder.inputs(task.facts["encoder"], None)([sentence])
    mask = torch.ones(1, len(sentence.forms), dtype=torch.bool)
    return Example(columns.batch(torch.tensor([0])) | {"mask": mask}, sentence.forms, solved=False)


def _answer(task: ParsingTask, scores: Scores, example: Example, question: dict[str, Any]) -> dict[str, Any]:
    heads, relations = task.decode(scores, example.batch["mask"])
    sure = scores.arcs.softmax(-1).gather(2, heads[..., None])[0, :, 0]  # [L]
    labels = [task.facts["relations"][number] for number in relations[0].tolist()]
    found = {"heads": heads[0].tolist(), "relations": labels, "sure": percent(sure)}
    said = f"{counted(len(labels), 'arc')}"
    if "heads" in question:
        right = [a == b for a, b in zip(found["heads"], question["heads"], strict=True)]
        named = [universal(a) == universal(b) for a, b in zip(labels, question["relations"], strict=True)]
        both = sum(a and b for a, b in zip(right, named, strict=True))
        said = f"{sum(right)} of {counted(len(right), 'head')} right, {both} with their relation"
    return found | {"said": said, "confidence": float(sure.mean())}
