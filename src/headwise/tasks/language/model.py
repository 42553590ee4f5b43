"""Language: the two ends of the model. Tokens and their positions in; a score for every next token out.

Legend: B batch, L length, V tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.language import metrics
from headwise.tasks.language.config import RECORDS, LanguageConfig
from headwise.tasks.language.tokens import TextTokenizer
from headwise.tasks.scenes import Example, Scene

SCALE = 0.02
"""Standard deviation of embedding and read-out at the start, GPT-2's: the first loss is ln V."""


class Tokens(nn.Module):
    """token -> embedding + learned embedding of its absolute position, one for each of the context, or none."""

    role = "backbone"

    def __init__(self, vocabulary: int, context: int | None, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = None if context is None else nn.Embedding(context, width)
        for embedding in (self.token, self.position):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=SCALE)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Tokens [B, L], of which the first stands at position `start`, to [B, L, D]."""
        embedded: Tensor = self.token(tokens)
        return embedded if self.position is None else embedded + self.position.weight[start : start + tokens.shape[1]]


class NextToken(nn.Module):
    """Scores of all V tokens: hidden @ W^T. The backbone's last norm may have a bias, so there is none here."""

    role = "readout"

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, width))
        nn.init.normal_(self.weight, std=SCALE)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] to scores [..., V]."""
        return F.linear(hidden, self.weight)


class LanguageTask(Task):
    """Predict the next token. A prediction is the scores [B, L, V] of what follows each token."""

    name: ClassVar[str] = "language"
    metric: ClassVar[str] = "loss"
    metric_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    higher_is_better: ClassVar[bool] = False
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss", "bits_per_character"))
    causal: ClassVar[bool] = True

    config: LanguageConfig

    def __init__(self, config: LanguageConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.tokens = Tokens(facts["vocabulary"], facts["context"] if config.positions == "absolute" else None, width)
        self.next_token = None if config.tied else NextToken(facts["vocabulary"], width)
        self.tokenizer = TextTokenizer.from_json(facts["kind"], facts["tokenizer"])

    @classmethod
    def shifts(cls, config: LanguageConfig) -> dict[str, Shift]:
        """Text of another corpus, which the user names, and of running text windows of another length."""
        other = {"held_out": None, "pretraining": None, "pretraining_epochs": 0}
        found = {"corpus": Shift("where the text is from", config.corpus, lambda corpus: other | {"corpus": corpus})}
        if config.corpus not in RECORDS:
            contexts = (max(config.context // 2, 2), 2 * config.context)
            found["context"] = Shift.of("tokens seen at once", config, "context", contexts, drawn=False)
        return found

    @property
    def context(self) -> int:
        """Most tokens the model sees at once."""
        return int(self.facts["context"])

    @property
    def end(self) -> int | None:
        """The token that ends a record; None for a model of running text."""
        end: int | None = self.facts["end"]
        return end

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, L, D], and the mask of batches that are padded."""
        return self.tokens(batch["tokens"]), batch.get("mask")

    def scores(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] to scores [..., V]."""
        if self.next_token is None:
            return F.linear(hidden, self.tokens.token.weight)
        scores: Tensor = self.next_token(hidden)
        return scores

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Scores [B, L, V]."""
        return self.scores(hidden)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats summed over the real targets of each example, [B]."""
        return metrics.nats(prediction, batch).sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """Real targets, [B]."""
        return metrics.real(batch).sum(1)

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Loss, bits per character, accuracy and recall of answers; see `metrics.measure`."""
        return metrics.measure(prediction, batch)

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `language.scene`."""
        from headwise.tasks.language.scene import scene

        return scene(self, example, predictions)

    def from_text(self, text: str) -> Example:
        """See `language.scene`."""
        from headwise.tasks.language.scene import typed

        return typed(self, text)
