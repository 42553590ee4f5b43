"""Text in blocks of tokens, and what a unigram and the untouched model reach on them.

Legend: N blocks, L tokens in a block.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import make_folder, writing
from headwise.pretrained.opening import blocks as cut
from headwise.tasks.base import SPLITS, Batch, Source, TaskData
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.tasks.pretrained.language_model import digest, logits_of, nats, opened
from headwise.tasks.pretrained.texts import texts_of

AT_ONCE = 4
"""Blocks that the untouched model reads at once."""
_KNOWN: dict[str, Tensor] = {}
"""Losses of untouched models that this process has computed, by the name of their file."""


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
        seen = hashlib.sha256(f"{tuple(self.tokens.shape)}".encode())
        seen.update(self.tokens.contiguous().numpy().data)
        return seen.hexdigest()[:16]


class Untouched:
    """Nats per token that the untouched model loses on each of some blocks, computed once.

    Args:
        config: names the model.
        weights: digest of the model's weights.
        tokens: int64 [N, L].
        cache: a directory where they are kept, or None.
    """

    def __init__(self, config: PretrainedConfig, weights: str, tokens: Tensor, cache: Path | None) -> None:
        self.config, self.tokens = config, tokens
        self.name = f"untouched-{weights}-{Blocks(tokens).fingerprint()}.npy"
        self.file = None if cache is None else cache / "pretrained" / self.name

    def __call__(self) -> Tensor:
        """[N], float32."""
        if self.name not in _KNOWN:
            kept = self._kept()
            _KNOWN[self.name] = self._computed() if kept is None else kept
            if kept is None:
                self._keep(_KNOWN[self.name])
        return _KNOWN[self.name]

    @torch.no_grad()
    def _computed(self) -> Tensor:
        model, _ = opened(self.config.model)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        parts = []
        with torch.autocast(device.type, enabled=False):
            model.to(device)
            for part in torch.split(self.tokens, AT_ONCE):
                tokens = part.to(device)
                parts.append(nats(logits_of(model, tokens), tokens))
            model.to("cpu")
        return torch.cat(parts).mean(1).float().cpu()

    def _kept(self) -> Tensor | None:
        if self.file is None or not self.file.is_file():
            return None
        try:
            values = np.load(self.file, allow_pickle=False)
        except (OSError, ValueError):  # half written, or of something else: it is computed again
            return None
        right = values.dtype == np.float32 and values.shape == (len(self.tokens),)
        return torch.from_numpy(values) if right else None

    def _keep(self, values: Tensor) -> None:
        if self.file is None:
            return
        make_folder(self.file.parent)
        with writing(self.file) as out:
            np.save(out, values.numpy(), allow_pickle=False)


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
        """`floor`, a unigram of the blocks trained on, and `untouched`, the model as it was, in nats per token."""
        assert isinstance(source, Blocks)
        untouched = Untouched(self.config, self.facts["weights"], source.tokens, self.cache)
        return {"floor": self._unigram()[source.tokens[:, 1:]].mean(1), "untouched": untouched()}

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
