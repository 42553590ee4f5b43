"""Weights as safetensors beside a JSON of the configuration: no pickle, and each file appears whole or not at all."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor, nn

from headwise.errors import InputError, in_a_line
from headwise.files import open_regular, read_mapping, write_json, writing
from headwise.provenance import check_format

WEIGHTS, CONFIG = "model.safetensors", "model.json"
FORMAT = 1
"""Number of the format of both files; rises when an earlier headwise would read them wrongly. The first had none."""


def save(folder: Path, module: nn.Module, config: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with writing(folder / WEIGHTS) as out:
        out.write(serialized(weights))
    write_json(folder / CONFIG, dict(config) | {"format": FORMAT, "version": metadata.version("headwise")})


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a saved model.

    Raises:
        InputError: no such file, not JSON, or of a newer headwise.
    """
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder}: no {CONFIG} there; expected a run directory with a finished model")
    config = read_mapping(folder / CONFIG)
    check_format(config, folder / CONFIG, FORMAT, unnumbered=True)
    return config


def load_weights(folder: Path, module: nn.Module) -> None:
    """Fill `module` with the weights in `folder`.

    Raises:
        InputError: the file is missing, damaged, or holds the weights of another model.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise InputError(f"{path}: not found; expected the weights of a finished run")
    try:
        with open_regular(path):
            weights: dict[str, Tensor] = load_file(path)
    except InputError:
        raise
    except Exception as error:  # damage that safetensors sees, and damage that it passes on to torch
        raise InputError(f"{path}: damaged or no safetensors file ({in_a_line(error)})") from None
    own = module.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        if name not in weights or name not in own:
            raise InputError(
                f"{path}: {name} is {'missing from' if name in own else 'only in'} the file; "
                "it holds the weights of another model"
            )
        if own[name].shape != weights[name].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(weights[name].shape)}, the model {tuple(own[name].shape)}"
            )
    module.load_state_dict(weights)
