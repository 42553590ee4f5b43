"""One example written on by a model, to be read: its prompt, or the beginning of a running text, and what followed."""

from typing import cast

import torch

from headwise.tasks.base import Sample, Source, TaskModel
from headwise.tasks.language.generate import GenerationConfig, continuation
from headwise.tasks.language.model import LanguageTask

TOKENS = 32  # of a running text, which has no end of its own


def sample(model: TaskModel, source: Source) -> Sample:
    """Greedy text after the first example's prompt, as long as its response.

    Args:
        model: of the task `language`.
        source: a split; its first example is taken. One without a prompt is given its first half.
    """
    task = cast(LanguageTask, model.task)
    batch = source.batch(torch.arange(1))
    length = int(batch["mask"].sum()) if "mask" in batch else batch["tokens"].shape[1]
    ids = [*batch["tokens"][0, :length].tolist(), int(batch["targets"][0, length - 1])]
    answer = batch["answer"][0].nonzero().flatten()
    start = int(answer[0]) + 1 if len(answer) else max(1, len(ids) // 2)
    expected = ids[start:] if len(answer) else ids[start : start + TOKENS]
    device = next(model.parameters()).device
    given = torch.tensor([ids[:start]], device=device)
    written = continuation(model, given, GenerationConfig(tokens=len(expected)))[0].tolist()
    same = next((i for i, (a, b) in enumerate(zip(written, expected, strict=False)) if a != b), len(written))
    parts = ([i for i in part if i != task.end] for part in (ids[:start], written, expected))
    before, text, wanted = map(task.tokenizer.decode, parts)
    return Sample(before, text, wanted, same / len(expected))
