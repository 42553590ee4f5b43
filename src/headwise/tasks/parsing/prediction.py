"""Sentences to trees with a trained model.

Legend: N sentences, B batch, L words.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models import precision as precisions
from headwise.tasks.base import TaskModel
from headwise.tasks.parsing.buckets import buckets
from headwise.tasks.parsing.encoder import Columns, Inputs
from headwise.tasks.parsing.model import ParsingTask
from headwise.tasks.parsing.sentences import Sentence

Numbers = list[list[int]]
Precision = Literal["auto", "fp32", "bf16"]

SAMPLE = 512
"""Words of the first sentences on which `auto` times both precisions, twice: a fifth of a second."""
TOKENS = 1024
"""Words of a batch, padding included: the fastest of 1024 to 8192 on a CPU, where larger ones leave its caches."""
LONGEST = 2000
"""Words. Arc scores and tree search take memory by the square of them: 0.3 GB here, and no sentence is so long."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What was predicted for a sentence: the head of each word (0 the root, 1..L the words) and its relation."""

    heads: tuple[int, ...]
    relations: tuple[str, ...]


class Parser:
    """A trained model, ready to parse sentences that have no tree.

    Args:
        model: of the task `parsing`; put into evaluation mode.
        precision: of the matrix products; see `ParseConfig`.

    Attributes:
        precision: fp32 or bf16; None until `auto` has seen the first sentences.
        choice: what `auto` measured, or None.

    Raises:
        InputError: the frozen encoder that the model stands on is not to be had.
    """

    def __init__(self, model: TaskModel, precision: Precision = "auto") -> None:
        assert isinstance(model.task, ParsingTask)
        self.model, self.task = model.eval(), model.task
        self.choice: precisions.Choice | None = None
        self.precision: precisions.Precision | None = None if precision == "auto" else precision
        if precision == "auto" and not fast_bf16():
            self.precision = "fp32"
        self.inputs: Inputs = self.task.config.encoder.inputs(self.task.facts["encoder"], None)

    def __call__(self, sentences: Sequence[Sentence]) -> list[Tree | InputError]:
        """The tree of each sentence in their order, or why it has none; the others do not suffer from it."""
        if not sentences:
            return []
        try:
            if self.precision is None:
                self.choice = self._measured(sentences)
                self.precision = self.choice.precision
            return self._trees(sentences, self.precision)
        except InputError as problem:
            if len(sentences) == 1:
                return [problem]
        half = len(sentences) // 2  # hardly ever is one refused, so this hardly ever happens
        return self(sentences[:half]) + self(sentences[half:])

    def _measured(self, sentences: Sequence[Sentence]) -> precisions.Choice:
        """The faster precision for the first of the sentences."""
        words = list(accumulate(len(sentence.forms) for sentence in sentences))
        sample = sentences[: max(1, bisect_right(words, SAMPLE))]
        return precisions.measure(lambda precision: self._trees(sample, precision), repeats=1)

    def _trees(self, sentences: Sequence[Sentence], precision: precisions.Precision) -> list[Tree | InputError]:
        half = precision == "bf16"
        return [*trees(self.model, sentences, self._columns(sentences, half), half)]

    def _columns(self, sentences: Sequence[Sentence], half: bool) -> Columns:
        """What the encoder reads.

        Raises:
            InputError: a sentence that cannot be parsed.
        """
        for sentence in sentences:
            if (words := len(sentence.forms)) > LONGEST:
                raise InputError(f"{sentence.where}: {words} words; a sentence may have {LONGEST}, split it")
        # A frozen encoder runs in here
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return self.inputs(sentences)


def trees(
    model: TaskModel,
    sentences: Sequence[Sentence],
    columns: Columns,
    half: bool = False,
    batch_size: int | None = None,
) -> list[Tree]:
    """The trees of sentences in their order; their own are not looked at.

    Args:
        model: of the task `parsing`, in evaluation mode, on any device.
        sentences: whose words count.
        columns: the same, as the model's encoder reads them.
        half: encoder and blocks in bf16. The scorer is not: its rounding alone would change twice as many heads.
        batch_size: sentences at once, at most; default as many as make up a batch of `TOKENS`.
    """
    assert isinstance(model.task, ParsingTask)
    names: list[str] = model.task.facts["relations"]
    lengths = torch.tensor([len(sentence.forms) for sentence in sentences])
    plan = [part for index in buckets(columns.costs, TOKENS) for part in torch.split(index, batch_size or len(index))]
    found = [Tree((), ())] * len(sentences)
    for index, batch in zip(plan, _side_by_side(partial(_predict, model, columns, lengths, half), plan), strict=True):
        for place, length, to, by in zip(index.tolist(), lengths[index].tolist(), *batch, strict=True):
            found[place] = Tree(tuple(to[:length]), tuple(names[number] for number in by[:length]))
    return found


@torch.inference_mode()
def _predict(model: TaskModel, columns: Columns, lengths: Tensor, half: bool, index: Tensor) -> tuple[Numbers, Numbers]:
    """Heads and numbers of relations of the sentences `index` [B], [L] each, padded."""
    assert isinstance(model.task, ParsingTask)
    weights = next(model.parameters())
    mask = torch.arange(int(lengths[index].max())) < lengths[index][:, None]  # [B, L]
    batch = {name: tensor.to(weights.device) for name, tensor in (columns.batch(index) | {"mask": mask}).items()}
    with torch.autocast(weights.device.type, torch.bfloat16, enabled=half):
        hidden = model(batch).states[-1]
    prediction = model.task.read_out(hidden.to(weights.dtype), batch)
    heads, relations = model.task.decode(prediction, batch["mask"])
    return heads.tolist(), relations.tolist()


def _side_by_side(work: Callable[[Tensor], Any], plan: Sequence[Tensor]) -> list[Any]:
    """What `work` makes of each batch, several at once, each with one of torch's threads.

    A batch is many small operations; threads that share each of them wait for each other ten thousand times a second,
    for milliseconds where another program wants the core as well.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, plan))
    finally:
        torch.set_num_threads(threads)


def fast_bf16() -> bool:
    """Whether the CPU multiplies bf16 in instructions of its own; without them it is slower than fp32.

    Only x86 is asked; of others, and of a torch that cannot tell, the answer is no.
    """
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(answer() for answer in asked if answer is not None)
