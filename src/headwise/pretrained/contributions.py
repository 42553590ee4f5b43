"""What each head of a pretrained layer adds to the layer's output, token by token.

    n_ih = ||W_h o_ih||        W_h [D, E] the columns of the output projection that head h's output meets

Computed through the Gram matrix of these columns, n^2 = o^T (W_h^T W_h) o, which is D/E times less work.

Legend: B batch, L length, H heads, E width of a head's output, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headwise.pretrained.sites import Site, layer_input

See = Callable[[int, Tensor, Tensor], None]
"""Is called with the number of a layer, its input [B, L, D] and the norms [B, L, H]."""


def columns(site: Site) -> Tensor:
    """W_h of every head: [H, D, E]."""
    projection = site.projection
    stored = projection.weight
    assert isinstance(stored, Tensor)
    weight = stored.detach()  # [D, H·E], or of GPT-2's Conv1D [H·E, D]
    if type(projection).__name__ == "Conv1D":
        weight = weight.T
    return weight.reshape(-1, site.heads, site.head_width).transpose(0, 1).float()


@contextmanager
def observed(sites: Sequence[Site], see: See) -> Iterator[None]:
    """Within the block, every forward pass of a layer is reported; gates that are in the model count.

    Args:
        sites: the layers.
        see: what they are reported to.
    """
    handles: list[Any] = []
    inputs: dict[int, Tensor] = {}

    def watch(number: int, site: Site) -> None:
        gram = columns(site)
        gram = gram.transpose(1, 2) @ gram  # [H, E, E]

        def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs[number] = layer_input(args, kwargs).detach()

        def measure(module: nn.Module, args: tuple[Any, ...]) -> None:
            x = inputs.pop(number)
            heads = args[0].detach().float().reshape(*x.shape[:2], site.heads, site.head_width)
            squares = torch.einsum("blhe,hef,blhf->blh", heads, gram, heads)
            see(number, x, squares.clamp_min(0).sqrt())

        handles.append(site.attention.register_forward_pre_hook(read, with_kwargs=True))
        handles.append(site.projection.register_forward_pre_hook(measure))

    for number, site in enumerate(sites):
        watch(number, site)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
