"""The task's two ends, which are the model's own: embedded tokens in, scores of what follows each token out.

Legend: B batch, L length, D width, V tokens.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.arm import Arm, check
from headwise.models.sizes import ModelConfig
from headwise.pretrained.shape import shape_of
from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.pretrained.config import PretrainedConfig, keeping
from headwise.tasks.pretrained.data import split_tokens
from headwise.tasks.pretrained.language_model import NO_PEFT, built, check_ends, nats, scores
from headwise.tasks.pretrained.stack import PretrainedStack
from headwise.tasks.pretrained.starting import begin
from headwise.tasks.scenes import Example, Scene


class PretrainedTask(Task):
    """Predict the next token. A prediction is the scores [B, L, V] of what follows each token.

    The task has the model for a part, its stack the handle of the routers in it.
    """

    name: ClassVar[str] = "pretrained"
    metric: ClassVar[str] = "loss"
    metric_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    higher_is_better: ClassVar[bool] = False
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss", "added", "other_loss", "other_added"))
    causal: ClassVar[bool] = True
    brings_stack: ClassVar[bool] = True
    training_size: ClassVar[str | None] = "train_blocks"

    config: PretrainedConfig

    def __init__(self, config: PretrainedConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.language_model = built(config, facts["weights"])
        self._stack: list[PretrainedStack] = []  # not a part: the model is

    @classmethod
    def check(cls, config: PretrainedConfig, model: ModelConfig) -> None:
        """Adapters need their package."""
        if config.train == "lora" and importlib.util.find_spec("peft") is None:
            raise InputError(NO_PEFT)

    @classmethod
    def resolve(cls, config: PretrainedConfig, arm: Arm, model: ModelConfig) -> tuple[Arm, ModelConfig]:
        """The shape of the pretrained model, and the arm with as many heads as `keep` says."""
        shape = shape_of(config.model)
        if model not in (shape, ModelConfig()):
            key = next(f.name for f in fields(model) if getattr(model, f.name) != getattr(shape, f.name))
            raise InputError(
                f"model.{key}={getattr(model, key)}: task.model={config.model} has {getattr(shape, key)}; the shape of "
                "a pretrained model is its own, leave model.* out"
            )
        if config.keep is None:
            return arm, shape
        check(arm, cls.declared(config))  # what no share could make right comes first
        return keeping(arm, config.keep, shape.heads, config.over), shape

    @classmethod
    def shifts(cls, config: PretrainedConfig) -> dict[str, Shift]:
        """Text of another source, which the user names, and blocks of another length."""
        lengths = (max(config.context // 2, 2), 2 * config.context)
        return {
            "data": Shift("where the text is from", config.data, lambda data: {"data": data}),
            "context": Shift.of("tokens read at once", config, "context", lengths, drawn=False),
        }

    def stack(self, model: ModelConfig, arm: Arm) -> PretrainedStack:
        """The model's layers with routers in them.

        Raises:
            InputError: an architecture that is not understood.
        """
        if self.language_model.get_input_embeddings().weight.device.type != "meta":
            check_ends(self.config.model, self.language_model)
        try:
            stack = PretrainedStack(
                self.language_model, shape_of(self.config.model), arm, trains=self.config.train != "none"
            )
        except ValueError as error:
            raise InputError(f"task.model={self.config.model}: unknown architecture ({error})") from error
        self._stack = [stack]
        return stack

    def warm_start(self) -> None:
        """Give the routers of a new run the start that `task.start` asks for.

        Raises:
            InputError: it is not to be had.
        """
        stack = self._stack[0]
        if self.config.start == "zero" or not any(True for _ in stack.routers()):
            return
        train, _, _ = split_tokens(self.config)
        try:
            begin(stack.retrofitted, self.language_model, self.config, train)
        except ValueError as error:
            raise InputError(f"task.start={self.config.start}: {error}") from error

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, L, D]; blocks are not padded."""
        return self.language_model.get_input_embeddings()(batch["tokens"]), None

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Scores [B, L, V]."""
        return scores(self.language_model, hidden)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats summed over the tokens of each block, the first apart, [B]."""
        return nats(prediction, batch["tokens"]).sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """L - 1 for each block, [B]."""
        tokens = batch["tokens"]
        return torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss`, nats per token; `added`, those more than the untouched model's on the same block; `accuracy`, the
        share of tokens that are the likeliest."""
        tokens = batch["tokens"]
        loss = nats(prediction, tokens).mean(1)
        untouched = batch.get("untouched", torch.full_like(loss, math.nan))
        right = prediction[:, :-1].argmax(-1) == tokens[:, 1:]
        return {"loss": loss, "added": loss - untouched.to(loss), "accuracy": right.to(loss).mean(1)}

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `pretrained.scene`."""
        from headwise.tasks.pretrained.scene import scene

        return scene(self, example, predictions)

    def from_text(self, text: str) -> Example:
        """See `pretrained.scene`."""
        from headwise.tasks.pretrained.scene import typed

        return typed(self, text)
