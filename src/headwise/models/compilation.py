"""Compiling a backbone with `torch.compile`."""

from collections.abc import Callable
from typing import Any

from headwise.models.backbone import Backbone


def compile_backbone(model: Backbone, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the whole backbone, in place: the loop over steps and layers is one graph. Weights keep their names.

    The first batch is compiled at its own shape, and once more for any shape when a second one comes: the last batch of
    an epoch, or sentences of another length. Compiling takes longer with every step, since the loop is unrolled, but
    the graph is faster than compiled blocks, whose calls cost as much as compiling saves.
    """
    model.compile(backend=backend)
