"""Text in blocks of tokens, and what is known of them without training.

Legend: N blocks, L tokens in a block.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.pretrained.opening import blocks as cut
from headwise.tasks.base import SPLITS, Batch, Source, TaskData
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.tasks.pretrained.language_model import digest, opened
from headwise.tasks.pretrained.references import OracleChoice, Untouched, fingerprint
from headwise.tasks.pretrained.starting import calibrating
from headwise.tasks.pretrained.texts import texts_of


class Blocks(Source):
    """The blocks of a split; those that are scored come with the untouched model's loss.

    Args:
        tokens: int64 [N, L].
        untouched: what the untouched model loses on each, [N], computed when it is first asked for; None: not given.
    """

    def __init__(self, tokens: Tensor, untouched: Untouched | None = None) -> None:
        self.tokens, self.untouched = tokens, untouched

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, index: Tensor) -> Batch:
        batch = {"tokens": self.tokens[index]}
        return batch if self.untouched is None else batch | {"untouched": self.untouched()[index]}

    def fingerprint(self) -> str:
        """Digest of the tokens alone: the last digit of a loss may differ from machine to machine."""
        return fingerprint(self.tokens)


class PretrainedData(TaskData):
    """The text of the task in blocks.

    Raises:
        InputError: a model or text that is not to be had, a model without tokenizer, a text shorter than its splits, a
            context longer than the model's.
    """

    config: PretrainedConfig

    def __init__(self, config: PretrainedConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        model, _ = opened(config.model)
        longest = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "n_positions", None)
        if isinstance(longest, int) and config.context > longest:
            raise InputError(
                f"task.context={config.context}: {config.model} reads {longest} tokens; choose that or less"
            )
        self.facts = {
            "architecture": type(model).__name__,
            "vocabulary": int(model.get_input_embeddings().weight.shape[0]),
            "weights": digest(config.model),
        }
        self.notes = {"synthetic": config.data == "synthetic"}
        self._tokens = dict(zip(SPLITS, split_tokens(config), strict=True))
        highest = max(int(part.max()) for part in self._tokens.values())
        if highest >= self.facts["vocabulary"]:
            raise InputError(f"model={config.model}: its tokenizer has token {highest}, the model no vector for it")
        self._sources = {name: self._source(name, tokens) for name, tokens in self._tokens.items()}

    def _source(self, name: str, tokens: Tensor) -> Blocks:
        scored = name != "train"
        return Blocks(tokens, Untouched(self.config, self.facts["weights"], tokens, self.cache) if scored else None)

    def split(self, name: str) -> Blocks:
        return self._sources[name]

    def other(self) -> Blocks | None:
        """Blocks of the other text, as many as are tested on at most; None without one."""
        if self.config.other is None:
            return None
        (tokens,) = other_tokens(self.config)
        return Blocks(tokens, Untouched(self.config, self.facts["weights"], tokens, self.cache))

    def references(self, source: Source) -> dict[str, Tensor]:
        """In nats per token: `floor`, a unigram of the blocks trained on; `untouched`, the model as it was; where
        `keep` leaves heads out, `oracle`, that model with as many heads, those that add most at each token."""
        assert isinstance(source, Blocks)
        known = (self.config, self.facts["weights"], source.tokens, self.cache)
        found = {"floor": self._unigram()[source.tokens[:, 1:]].mean(1), "untouched": Untouched(*known)()}
        if self.config.keep is None or self.config.keep == 1:
            return found
        return found | {"oracle": OracleChoice(*known, calibration=calibrating(self._tokens["train"]))()}

    def _unigram(self) -> Tensor:
        """Nats of each token by how often it is in the blocks trained on, plus one."""
        counts = torch.bincount(self._tokens["train"].flatten(), minlength=self.facts["vocabulary"]).double() + 1
        return -(counts / counts.sum()).log().float()


@lru_cache(maxsize=8)
def split_tokens(config: PretrainedConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Blocks [N, L] that are trained on, validated on and tested on; what is not read of the settings is ignored."""
    plain = PretrainedConfig()
    ignored = ("train", "rank", "keep", "over", "start", "other")
    if any(getattr(config, key) != getattr(plain, key) for key in ignored):
        return split_tokens(replace(config, **{key: getattr(plain, key) for key in ignored}))
    most = {"train": config.train_blocks, "validation": config.validation_blocks, "test": config.test_blocks}
    texts = texts_of(config.data, config.root, "data")
    if len(texts) == 3:
        parts = [blocks(config, text, number) for text, number in zip(texts, most.values(), strict=True)]
        return parts[0], parts[1], parts[2]
    held_out = config.validation_blocks + config.test_blocks
    whole = blocks(config, texts[0], None)
    if len(whole) <= held_out:
        raise InputError(
            f"task.data={config.data}: {len(whole)} blocks of {config.context} tokens, but validation and test take "
            f"{held_out} and training at least one; choose fewer blocks, a smaller context or a longer text"
        )
    train, held = whole[: len(whole) - held_out], whole[len(whole) - held_out :]
    return train[: config.train_blocks], held[: config.validation_blocks], held[config.validation_blocks :]


@lru_cache(maxsize=8)
def other_tokens(config: PretrainedConfig) -> tuple[Tensor]:
    """Blocks [N, L] of the end of the other text."""
    assert config.other is not None
    text = texts_of(config.other, config.root, "other")[-1]
    return (blocks(config, text, None, "other")[-config.test_blocks :],)


def blocks(config: PretrainedConfig, texts: list[str], at_most: int | None, key: str = "data") -> Tensor:
    """Texts in blocks of the context, [N, L].

    Raises:
        InputError: they are shorter than one block.
    """
    _, tokenizer = opened(config.model)
    try:
        return cut(texts, tokenizer, config.context, at_most)
    except InputError as error:
        raise InputError(f"task.{key}={getattr(config, key)}: {error}") from None


__all__ = ["Blocks", "PretrainedData", "other_tokens", "split_tokens"]
