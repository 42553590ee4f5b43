"""The shapes of attention layers that have lost heads, as plain data, put into a model that was built with all of them.

This file is copied into the folders of pruned models that no configuration describes, so it imports torch only.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn


def shape_attention(model: nn.Module, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Give attention layers the shapes that their weights have, before the weights are loaded.

    Args:
        model: as its configuration builds it.
        layers: by the layer's name: `maps`, name of a linear map -> [inputs, outputs]; `attributes`, name of a part of
            the layer ("" itself) -> what is set on it.
    """
    for name, cut in layers.items():
        layer = model.get_submodule(name)
        for part, values in cut["attributes"].items():
            for key, value in values.items():
                setattr(layer.get_submodule(part), key, value)
        for place, (inputs, outputs) in cut["maps"].items():
            parent, _, child = place.rpartition(".")
            old = layer.get_submodule(place)
            if type(old).__name__ == "Conv1D":  # GPT-2's, which takes the outputs first
                new = type(old)(outputs, inputs)
            else:
                new = nn.Linear(inputs, outputs, bias=old.bias is not None)
            setattr(layer.get_submodule(parent), child, new)
