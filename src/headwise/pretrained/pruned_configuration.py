"""What the configuration of a pruned model can say of its attention layers, and what it cannot, as plain data.

A configuration of transformers has one number of heads for all layers, and for some architectures a width of heads that
follows from it. So the same number in every layer can be said by Llama's, and not by BERT's; a model is built from the
configuration, without memory for weights, to see.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from headwise.pretrained.gating import CHILD
from headwise.pretrained.projections import output_width
from headwise.pretrained.pruned_shape import shape_attention
from headwise.pretrained.sites import COUNTS, Site, input_width

GROUP_COUNTS = ("num_kv_heads", "num_key_value_heads")
WIDTHS_OF_ALL = ("all_head_size", "split_size")
"""Attributes of attention layers with the width of all heads together."""


def counted(layer: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """What in an attention layer depends on how many heads it has: name of a part, the part, an attribute of it."""
    parts = {"": layer} | {
        name: part for name, part in layer.named_children() if type(part).__name__.endswith("Attention")
    }
    for place, part in parts.items():
        for name in (*COUNTS, *GROUP_COUNTS, *WIDTHS_OF_ALL, "num_key_value_groups"):
            if isinstance(getattr(part, name, None), int):
                yield place, part, name


def tell_configuration(model: nn.Module, sites: Sequence[Site]) -> None:
    """Write the number of heads into the model's configuration where every layer has the same and it can be said."""
    config, numbers = getattr(model, "config", None), {(site.heads, site.groups, site.head_width) for site in sites}
    if config is None or not hasattr(config, "to_dict") or len(numbers) > 1:
        return
    ((heads, groups, width),) = numbers
    values = {"num_attention_heads": heads, "head_dim": width}
    if hasattr(config, "num_key_value_heads"):
        values["num_key_value_heads"] = groups
    if all(getattr(config, name, None) == value for name, value in values.items()):
        return
    changed = copy.deepcopy(config)
    try:
        for name, value in values.items():
            setattr(changed, name, value)
        twin = _built(model, changed)
    except Exception:  # each configuration checks in its own way whether its numbers go together
        return
    if _shapes(twin) == _shapes(model) and _numbers(twin, sites) == _numbers(model, sites):
        for name, value in values.items():
            setattr(config, name, value)


def beyond_configuration(model: nn.Module, sites: Sequence[Site]) -> dict[str, Any]:
    """What of the attention layers does not follow from the model's configuration, for `shape_attention`; {} for none.

    Raises:
        ValueError: another part of the model differs from what its configuration says.
    """
    twin, layers = _built(model, model.config), {}
    for site in sites:
        other = twin.get_submodule(site.name)
        maps = {
            name: [input_width(module), output_width(module)]
            for name, module in site.attention.named_modules()
            if not name.startswith(CHILD) and input_width(module) is not None and hasattr(module, "weight")
            if module.weight.shape != other.get_submodule(name).weight.shape
        }
        attributes: dict[str, dict[str, int]] = {}
        for place, part, name in counted(site.attention):
            if (value := getattr(part, name)) != getattr(other.get_submodule(place), name):
                attributes.setdefault(place, {})[name] = value
        if maps or attributes:
            layers[site.name] = {"maps": maps, "attributes": attributes}
    with torch.device("meta"):
        shape_attention(twin, layers)
    own, built = _shapes(model), _shapes(twin)
    for name in sorted(own.keys() | built.keys()):
        if own.get(name) != built.get(name):
            raise ValueError(
                f"{type(model).__name__}: {name} is not what its configuration says; it cannot be saved so"
            )
    return layers


def plain_class(model: nn.Module) -> type[Any]:
    """The class of transformers that the model is of, or is derived from.

    Raises:
        ValueError: there is none.
    """
    for cls in type(model).__mro__:
        if cls.__module__.startswith("transformers.models."):
            return cls
    raise ValueError(f"{type(model).__name__} is no model of transformers, or one whose code came along with it")


def _built(model: nn.Module, config: Any) -> nn.Module:
    """The model that this configuration, written and read again, describes; on the device without memory."""
    again = type(config).from_dict(config.to_dict())
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        built: nn.Module = plain_class(model)(again)
    return built


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of weights and buffers, among them the frequencies of rotations, which follow from a head's width."""
    every = (*model.named_parameters(), *model.named_buffers())
    return {name: tuple(value.shape) for name, value in every if f".{CHILD}." not in name}


def _numbers(model: nn.Module, sites: Sequence[Site]) -> list[dict[str, Any]]:
    """Whatever numbers the attention layers go by."""
    found = []
    for site in sites:
        for part in model.get_submodule(site.name).modules():
            if CHILD not in type(part).__module__:
                own = {key: value for key, value in vars(part).items() if key != "training" and key[0] != "_"}
                found.append({key: value for key, value in own.items() if isinstance(value, (int, float))})
    return found
