"""What the model as it was published loses on some blocks: with every head, and with those that add most.

Legend: N blocks, L tokens in a block.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from headwise.files import make_folder, writing
from headwise.models.arm import Arm
from headwise.pretrained.choices import calibrate, oracle, ruled
from headwise.pretrained.retrofit import retrofit
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.tasks.pretrained.language_model import logits_of, nats, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 4
"""Blocks that the model reads at once."""
_KNOWN: dict[str, Tensor] = {}
"""What this process has computed, by the name of its file."""


class Reference(ABC):
    """Nats per token that the model loses on each of some blocks, computed once.

    Args:
        config: names the model.
        weights: digest of the model's weights.
        tokens: int64 [N, L].
        cache: a directory where they are kept, or None.
    """

    prefix: ClassVar[str]

    def __init__(self, config: PretrainedConfig, weights: str, tokens: Tensor, cache: Path | None) -> None:
        self.config, self.tokens = config, tokens
        self.name = f"{self.prefix}-{weights}-{fingerprint(tokens)}.npy"
        self.folder = None if cache is None else cache / "pretrained"

    def __call__(self) -> Tensor:
        """[N], float32."""
        if self.name not in _KNOWN:
            kept = self._kept()
            _KNOWN[self.name] = self._computed() if kept is None else kept
            if kept is None:
                self._keep(_KNOWN[self.name])
        return _KNOWN[self.name]

    @abstractmethod
    def changed(self, model: Any) -> AbstractContextManager[Any]:
        """Inside the block the model, of transformers, is as it is scored."""

    @torch.no_grad()
    def _computed(self) -> Tensor:
        model, _ = opened(self.config.model)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        parts = []
        with torch.autocast(device.type, enabled=False):
            model.to(device)
            with self.changed(model):
                for part in torch.split(self.tokens, AT_ONCE):
                    tokens = part.to(device)
                    parts.append(nats(logits_of(model, tokens), tokens))
            model.to("cpu")
        return torch.cat(parts).mean(1).float().cpu()

    def _kept(self) -> Tensor | None:
        if self.folder is None or not (self.folder / self.name).is_file():
            return None
        try:
            values = np.load(self.folder / self.name, allow_pickle=False)
        except (OSError, ValueError):  # half written, or of something else: it is computed again
            return None
        right = values.dtype == np.float32 and values.shape == (len(self.tokens),)
        return torch.from_numpy(values) if right else None

    def _keep(self, values: Tensor) -> None:
        if self.folder is None:
            return
        make_folder(self.folder)
        with writing(self.folder / self.name) as out:
            np.save(out, values.numpy(), allow_pickle=False)


class Untouched(Reference):
    """The model with every head."""

    prefix = "untouched"

    def changed(self, model: Any) -> AbstractContextManager[Any]:
        return nullcontext()


class OracleChoice(Reference):
    """The model with the share of its heads that `keep` says, of each layer or `over` the model: at each token those
    that add most to their layer's output, which nothing knows before they are computed. No bound: what adds most may
    do harm.

    Args:
        calibration: blocks [1, L] that the threshold over the model is taken from.
    """

    prefix = "oracle"

    def __init__(
        self,
        config: PretrainedConfig,
        weights: str,
        tokens: Tensor,
        cache: Path | None,
        calibration: Sequence[Tensor],
    ) -> None:
        super().__init__(config, weights, tokens, cache)
        self.calibration = calibration
        choice = f"{config.keep:g}-{config.over}-{fingerprint(torch.cat(list(calibration)))}"
        self.name = self.name.replace(self.prefix, f"{self.prefix}-{choice}", 1)

    @contextmanager
    def changed(self, model: Any) -> Iterator[None]:
        assert self.config.keep is not None
        retrofitted = retrofit(model.base_model, Arm())
        try:
            over_model = self.config.over == "model"
            keep = None if over_model else round(self.config.keep * retrofitted.sites[0].heads)
            found = calibrate(retrofitted, self.calibration)
            with ruled(retrofitted, oracle(found, keep, self.config.keep if over_model else None)):
                yield
        finally:
            retrofitted.remove()


def fingerprint(tokens: Tensor) -> str:
    """Digest of blocks of tokens [N, L]."""
    seen = hashlib.sha256(f"{tuple(tokens.shape)}".encode())
    seen.update(tokens.contiguous().numpy().data)
    return seen.hexdigest()[:16]
