"""Weights as safetensors beside a JSON of the configuration: no pickle, and each file appears whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from headwise.errors import InputError

WEIGHTS, CONFIG = "model.safetensors", "model.json"


def save(folder: Path, module: nn.Module, config: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    temporary = folder / (WEIGHTS + ".tmp")
    save_file(weights, temporary)
    os.replace(temporary, folder / WEIGHTS)
    write_json(folder / CONFIG, config)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a saved model.

    Raises:
        InputError: no such file, or not JSON.
    """
    path = folder / CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise InputError(f"{folder}: no {CONFIG} there; expected a run directory with a finished model") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from error


def load_weights(folder: Path, module: nn.Module) -> None:
    """Fill `module` with the weights in `folder`.

    Raises:
        InputError: the file is missing, damaged, or holds the weights of another model.
    """
    path = folder / WEIGHTS
    try:
        weights: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; expected the weights of a finished run") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged or no safetensors file ({error})") from error
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


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name, then rename, so that a reader never sees half a file."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
