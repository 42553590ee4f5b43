"""Writing on: greedy or sampled, with a memory of what was read or, as the plain twin, without.

Legend: B sequences written side by side, L tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.generation import Past, extend, reread
from headwise.tasks.base import TaskModel
from headwise.tasks.language.model import LanguageTask


@dataclass(frozen=True)
class GenerationConfig:
    """How text is written.

    Args:
        tokens: at most so many new ones; a record may end before.
        temperature: of the softmax over tokens; 0 (default) is greedy: always the most probable token.
        top_p: samples among the fewest tokens that together have this probability; default 1, all.
        seed: of the sampling; the same seed gives the same text.
        samples: texts written for the prompt.
        cache: keep keys and values of what was read (default); off computes everything again for each token.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    samples: int = 1
    cache: bool = True

    def __post_init__(self) -> None:
        for key in ("tokens", "samples"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: choose 1 or more")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: choose 0 or more")
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature}: choose 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: choose a number above 0, up to 1")
        if self.temperature == 0 and (self.top_p < 1 or self.samples > 1):
            key = "top_p" if self.top_p < 1 else "samples"
            raise ValueError(f"{key}={getattr(self, key)}: has no effect on greedy text; choose temperature=1, say")


@dataclass(frozen=True)
class Completion:
    """What was written after a prompt: text, token ids, and whether the model ended it itself."""

    text: str
    tokens: list[int]
    ended: bool


def generate(model: TaskModel, prompt: str, config: GenerationConfig | None = None) -> list[Completion]:
    """Continue `prompt`.

    Args:
        model: of the task `language`.
        prompt: text; its words or characters must be known to the model.
        config: default greedy.

    Returns:
        `config.samples` completions, without the prompt.

    Raises:
        InputError: an empty prompt, one of unknown words, or one longer than the context.
    """
    config = config or GenerationConfig()
    task = cast(LanguageTask, model.task)
    ids = prompt_tokens(task, prompt)
    device = next(model.parameters()).device
    tokens = torch.tensor([ids], device=device).expand(config.samples, -1)
    return [_completion(task, row) for row in continuation(model, tokens, config).tolist()]


def prompt_tokens(task: LanguageTask, prompt: str) -> list[int]:
    """The token ids of a prompt.

    Raises:
        InputError: as for `generate`.
    """
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("prompt: not valid Unicode") from None
    ids = task.tokenizer.encode(prompt, "prompt").ids
    if not ids:
        raise InputError("prompt: empty; write at least one token for the model to continue")
    if len(ids) > task.context:
        raise InputError(f"prompt: {len(ids)} tokens, but the model sees at most {task.context}; shorten it")
    return ids


@torch.no_grad()
def continuation(model: TaskModel, tokens: Tensor, config: GenerationConfig) -> Tensor:
    """The new tokens, int64 [B, up to config.tokens]: fewer when every sequence has ended.

    When the context is full the older half of it is forgotten and the rest read again from position 0.

    Args:
        model: of the task `language`; evaluated, then left in the mode in which it came.
        tokens: int64 [B, L], at most as long as the context.
        config: sampling and cache.
    """
    task, training = cast(LanguageTask, model.task), model.training
    drawn = uniform(config, tokens)
    look_every = _look_every(tokens.device)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    written: list[Tensor] = []
    past: Past | None = None
    model.eval()
    try:
        while len(written) < config.tokens:
            if task.end is not None and len(written) % look_every == 0 and ended.all():
                break
            if tokens.shape[1] > task.context:
                tokens, past = tokens[:, -max(1, task.context // 2) :], None
            if config.cache:
                read = past.length if past else 0
                hidden, past = extend(model.backbone, task.tokens(tokens[:, read:], start=read), past)
            else:
                hidden = reread(model.backbone, task.tokens(tokens))
            new = choose(task.scores(hidden[:, -1]), config, drawn[len(written)])  # [B]
            tokens = torch.cat([tokens, new[:, None]], dim=1)
            written.append(new)
            if task.end is not None:
                ended = ended | (new == task.end)
    finally:
        model.train(training)
    new = torch.stack(written, dim=1)
    if look_every == 1 or task.end is None:
        return new
    unfinished = (new == task.end).cumsum(1).eq(0).any(0).sum()  # tokens up to that which ends the last text
    return new[:, : int(unfinished) + 1]


def uniform(config: GenerationConfig, tokens: Tensor) -> Tensor:
    """The random numbers of a whole text, [tokens, B] in [0, 1): from the CPU's generator, so that a seed means the
    same on every device, and brought there at once."""
    generator = torch.Generator().manual_seed(config.seed)
    drawn = torch.rand(config.tokens, len(tokens), generator=generator, dtype=torch.float64, device="cpu")
    return drawn.to(tokens.device, _precise(tokens.device))


def choose(scores: Tensor, config: GenerationConfig, drawn: Tensor) -> Tensor:
    """One token for each row of scores [B, V], int64 [B], where the random number `drawn` [B] in [0, 1) falls among the
    cumulative probabilities, the most probable token first. Nothing is brought to the host."""
    if config.temperature == 0:
        return scores.argmax(-1)
    scores = scores.to(_precise(scores.device))
    # The largest at 0: at a temperature near 0 it stays there, and the others go to -infinity.
    probs = ((scores - scores.amax(-1, keepdim=True)) / config.temperature).softmax(-1)
    probs, order = probs.sort(dim=-1, descending=True)
    # A token stays while those before it have not yet reached top_p, so at least one does.
    probs = torch.where(probs.cumsum(-1) - probs < config.top_p, probs, 0.0)
    reached, last = probs.cumsum(-1), (probs > 0).sum(-1, keepdim=True) - 1
    picked = (reached <= drawn[:, None] * reached[:, -1:]).sum(-1, keepdim=True)  # [B, 1]
    chosen: Tensor = order.gather(1, torch.minimum(picked, last))[:, 0]  # rounding must not pass the last one
    return chosen


def _look_every(device: torch.device) -> int:
    """Tokens written between two looks at whether all texts have ended, for which the host waits for an accelerator."""
    return 1 if device.type == "cpu" else 16


def _precise(device: torch.device) -> torch.dtype:
    """float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _completion(task: LanguageTask, row: list[int]) -> Completion:
    ended = task.end in row
    ids = row[: row.index(task.end)] if task.end is not None and ended else row
    return Completion(task.tokenizer.decode(ids), ids, ended)
