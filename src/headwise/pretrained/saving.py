"""Pretrained models with routers as folders: written, read and shared.

A model with routers:

    config.json           model_type headwise_retrofitted, which transformers refuses where it would else load without
                          the routers; the settings stand under the key headwise
    routers.safetensors   the routers' weights
    base/                 the model, as it saves itself; not there where the settings name where it is to be had
    README.md             the model card
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor, nn

from headwise.errors import InputError, in_a_line
from headwise.files import new_folder, open_regular, read_mapping, typed, user_path, write_json, write_text, writing
from headwise.models.arm import Arm
from headwise.pretrained import card, smollm2
from headwise.pretrained.gating import CHILD
from headwise.pretrained.opening import SMOLLM2
from headwise.pretrained.pruned_configuration import beyond_configuration, plain_class
from headwise.pretrained.pruned_files import load_model, save_model, version
from headwise.pretrained.retrofit import Retrofitted
from headwise.provenance import check_format
from headwise.schema import build, short, to_plain

FORMAT = 1
"""Number of the settings' format; rises when a folder of an earlier headwise would be read wrongly."""
MODEL_TYPE, KEY, ROUTERS, BASE = "headwise_retrofitted", "headwise", "routers.safetensors", "base"
SAMPLE = 1024
"""Numbers of each weight that go into the fingerprint of a model that is named, not saved."""


def save_retrofitted(
    retrofitted: Retrofitted,
    folder: str | Path,
    base: str | None = None,
    tokenizer: Any = None,
    figures: Mapping[str, float | str] | None = None,
) -> Path:
    """Write a model with routers into a folder that `load_retrofitted` reads.

    Args:
        retrofitted: the model; heads may have been removed.
        folder: a new or empty one.
        base: where the model without routers is to be had, a folder, a name on the hub or `smollm2`, so that its
            weights are not written again; null (default) writes them. They must be what is there, which is checked
            when the folder is read.
        tokenizer: is written beside the model's weights.
        figures: name -> number, for the model card.

    Returns:
        The folder.

    Raises:
        InputError: the folder has something in it; the model has lost heads, and a `base` is named.
        StorageError: the place cannot be written.
    """
    model, sites = retrofitted.model, retrofitted.sites
    with _without_routers(retrofitted):
        pruned = beyond_configuration(model, sites)
        if base is not None and (pruned or any(added.kept is not None for added in retrofitted.heads)):
            raise InputError(f"base={base}: the model has lost heads, so that its weights are others; leave base out")
        print_of_base = fingerprint(model) if base is not None else None
    routers = retrofitted.routers
    arm = replace(retrofitted.arm, gate=routers[0].gate) if routers else retrofitted.arm
    layers = [
        {"name": added.name, "heads": added.heads}
        | (
            {"router_heads": added.router.heads, "kept": added.kept.tolist()}
            if added.router and added.kept is not None
            else {}
        )
        for added in retrofitted.heads
    ]
    settings = {
        "format": FORMAT,
        "version": version(),
        "arm": to_plain(arm),
        "losses": retrofitted.weights,
        "class": plain_class(model).__name__,
        "base": base,
        "fingerprint": print_of_base,
        "layers": layers,
    }
    with new_folder(folder) as place:
        if base is None:
            with _without_routers(retrofitted):
                save_model(model, place / BASE, pruned, tokenizer)
        weights = {
            f"{added.name}.{name}": value.detach().cpu().contiguous()
            for added in retrofitted.heads
            for name, value in added.state_dict().items()
        }
        with writing(place / ROUTERS) as out:
            out.write(serialized(weights))
        write_json(place / "config.json", {"model_type": MODEL_TYPE, KEY: settings})
        write_text(place / "README.md", card.of_retrofitted(settings, arm, figures or {}))
    return user_path(folder)


def load_retrofitted(folder: str | Path) -> Retrofitted:
    """A model with routers from the folder that `save_retrofitted` wrote; in evaluation mode.

    No code of the folder is run. What the settings name as the base is read by its name, on the hub if need be.

    Raises:
        InputError: no such folder, one of another kind or of a newer headwise, a damaged file, or a base that is no
            longer what the routers were made for.
    """
    place = user_path(folder)
    settings = read_settings(place)
    where = place / "config.json"
    arm = build(Arm, settings.get("arm"), f"{where}: arm")
    base = settings.get("base")
    name = typed(settings, "class", str, where)
    model = load_model(str(place / BASE) if base is None else str(base), name)
    if base is not None and fingerprint(model) != settings.get("fingerprint"):
        raise InputError(
            f"{place}: the weights of its base, {base}, are no longer those that the routers were made for"
        )
    kept = {}
    for layer in typed(settings, "layers", list, where):
        if layer.get("kept") is not None:
            kept[typed(layer, "name", str, where)] = (typed(layer, "router_heads", int, where), layer["kept"])
    try:
        retrofitted = Retrofitted(model, arm, settings.get("losses"), kept)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    _fill(retrofitted, place / ROUTERS)
    model.eval()
    return retrofitted


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer that was saved with the model, or its base's.

    Raises:
        InputError: as `load_retrofitted`, or there is none.
    """
    place = user_path(folder)
    base = read_settings(place).get("base")
    if base == SMOLLM2:
        return smollm2.tokenizer()
    where = str(place / BASE) if base is None else str(base)
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(where)
    except Exception as error:
        raise InputError(f"{where}: no tokenizer ({in_a_line(error)}); save the model with tokenizer=") from error


def read_settings(folder: Path) -> dict[str, Any]:
    """What `save_retrofitted` wrote under the key `headwise` of config.json.

    Raises:
        InputError: it is no such folder, or of a format that this headwise does not read.
    """
    where = folder / "config.json"
    if not where.exists():
        raise InputError(f"{folder}: no config.json there; expected a folder that headwise.save_retrofitted wrote")
    content = read_mapping(where)
    if not isinstance(content.get(KEY), dict):
        said = f"model_type {short(content.get('model_type', 'missing'))}"
        raise InputError(
            f"{where}: {said}, without a key {KEY}; expected a folder that headwise.save_retrofitted wrote"
        )
    settings: dict[str, Any] = content[KEY]
    check_format(settings, where, FORMAT)
    return settings


def _fill(retrofitted: Retrofitted, path: Path) -> None:
    """The routers' weights."""
    try:
        with open_regular(path):
            weights: dict[str, Tensor] = load_file(path)
    except InputError:
        raise
    except Exception as error:  # damage that safetensors sees, and damage that it passes on to torch
        raise InputError(f"{path}: damaged or no safetensors file ({in_a_line(error)})") from None
    own = {f"{added.name}.{name}": value for added in retrofitted.heads for name, value in added.state_dict().items()}
    for name in sorted(own.keys() | weights.keys()):
        there, wanted = (list(each[name].shape) if name in each else "missing" for each in (weights, own))
        if there != wanted:
            raise InputError(f"{path}: {name} is {there}, the model's {wanted}; these are the routers of another model")
    for added in retrofitted.heads:
        prefix = f"{added.name}."
        mine = {
            key.removeprefix(prefix): value for key, value in weights.items() if key in own and key.startswith(prefix)
        }
        names = added.state_dict().keys()
        device = next((value.device for value in added.state_dict().values()), torch.device("cpu"))
        added.load_state_dict({name: mine[name].to(device) for name in names}, assign=True)


@contextmanager
def _without_routers(retrofitted: Retrofitted) -> Iterator[None]:
    """Within the block the model's names are its own; it is not to be run."""
    for site in retrofitted.sites:
        del site.attention._modules[CHILD]
    try:
        yield
    finally:
        for site, added in zip(retrofitted.sites, retrofitted.heads, strict=True):
            site.attention._modules[CHILD] = added


def fingerprint(model: nn.Module) -> str:
    """sha256 over names, shapes and the first numbers of every weight; another training changes nearly all of them."""
    found = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        first = parameter.detach().flatten()[:SAMPLE].cpu().float()
        found.update(f"{name} {list(parameter.shape)}".encode() + first.numpy().tobytes())
    return found.hexdigest()
