"""The shape of a pretrained model, known before its weights are read."""

from collections.abc import Mapping
from typing import Any

from headwise.errors import InputError, in_a_line
from headwise.files import read_mapping, user_path
from headwise.models.sizes import ModelConfig
from headwise.pretrained import smollm2, tiny
from headwise.pretrained.library import transformers_for

NAMES = {
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "depth": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
}
"""What configurations of transformers call it; the first that a configuration has counts."""


def shape_of(name: str) -> ModelConfig:
    """The shape of the model that `opening.open_model` finds under this name; nothing but its configuration is read.

    Raises:
        InputError: there is no such model, or its configuration does not say.
    """
    known = {"smollm2": smollm2.SHAPE, "tiny": tiny.SHAPE}
    return known[name] if name in known else _read(name, _configuration(name))


def _configuration(name: str) -> Mapping[str, Any]:
    folder = user_path(name)
    if folder.is_dir() or name.startswith(("/", ".", "~")):
        file = folder / "config.json"
        if not folder.is_dir():
            raise InputError(f"model={name}: no such folder; give one, a name on the hub, or smollm2")
        try:
            return read_mapping(file)
        except (InputError, OSError) as error:
            raise InputError(f"model={name}: no model of transformers there ({in_a_line(error)})") from None
    transformers = transformers_for(f"model={name}")
    try:
        return dict(transformers.AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict())
    except Exception as error:  # code of two hundred models runs in there, and each fails in its own way
        raise InputError(
            f"model={name}: neither a folder nor a model that the hub gave ({in_a_line(error)}); give a folder, a name "
            "with network, or smollm2"
        ) from error


def _read(name: str, configuration: Mapping[str, Any]) -> ModelConfig:
    inner = configuration.get("text_config")
    stated = inner if isinstance(inner, Mapping) else configuration
    found = {key: next((v for n in names if isinstance(v := stated.get(n), int)), None) for key, names in NAMES.items()}
    width, heads, depth = found["width"], found["heads"], found["depth"]
    if not (width and heads and depth):
        lacking = next(key for key in ("width", "heads", "depth") if not found[key])
        raise InputError(f"model={name}: unknown architecture, its configuration has no {' or '.join(NAMES[lacking])}")
    if width % heads:  # the heads are as wide as they like
        width = heads * (stated.get("head_dim") or -(-width // heads))
    kv_heads = found["kv_heads"] if found["kv_heads"] != heads else None
    return ModelConfig(width=width, heads=heads, ffn=found["ffn"] or 4 * width, depth=depth, kv_heads=kv_heads)
