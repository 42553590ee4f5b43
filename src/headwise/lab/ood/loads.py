"""How much each head carries, so that the heads which carry most can be told from the rest in every arm, routed or not.

    load_h = mean over real tokens, refinement steps and examples of || W_o^h g_h head_h ||

g_h the gate, head_h the head's output behind its output gate, W_o^h its columns of the output projection: the length of
what the head adds to the layer's output. A head that is off adds nothing.

Legend: B batch, L length, H heads, E head width, D width, N layers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from headwise.models.blocks import Block
from headwise.pretrained.contributions import observed
from headwise.pretrained.sites import Site
from headwise.routing.attention import RoutedAttention
from headwise.tasks.base import Source, TaskModel
from headwise.tasks.pretrained.stack import PretrainedStack
from headwise.training.scoring import score


def head_order(model: TaskModel, source: Source, batch_size: int) -> Tensor:
    """The heads of each layer, those with the largest load on a source first, int64 [N, H]."""
    return head_loads(model, source, batch_size).sort(dim=1, descending=True, stable=True).indices


def head_loads(model: TaskModel, source: Source, batch_size: int) -> Tensor:
    """The load of each head of each layer on a source, float64 [N, H]; `batch_size` examples at once, at most."""
    if isinstance(model.backbone, PretrainedStack):
        return _pretrained_loads(model, model.backbone.retrofitted.sites, source, batch_size)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    skipping = [block.attention.skipping for block in blocks]
    measured = [_Measured(block) for block in blocks]
    handles = [block.register_forward_hook(one) for block, one in zip(blocks, measured, strict=True)]
    try:
        for block in blocks:
            block.attention.skipping = "never"  # what is skipped cannot be looked at
        score(model, source, batch_size)
    finally:
        for handle in handles:
            handle.remove()
        for block, before in zip(blocks, skipping, strict=True):
            block.attention.skipping = before
    return torch.stack([one.total / max(one.tokens, 1) for one in measured])


def _pretrained_loads(model: TaskModel, sites: Sequence[Site], source: Source, batch_size: int) -> Tensor:
    """As `head_loads`, of the layers of a pretrained model; its blocks are not padded."""
    sums: list[list[Tensor]] = [[] for _ in sites]
    tokens: list[int] = []

    def see(layer: int, x: Tensor, lengths: Tensor) -> None:
        sums[layer].append(lengths.double().sum((0, 1)).cpu())
        if layer == 0:
            tokens.append(lengths[..., 0].numel())

    with observed(sites, see):  # behind the gates
        score(model, source, batch_size)
    return torch.stack([torch.stack(layer).sum(0) / sum(tokens) for layer in sums])


class _Measured:
    """A hook that adds up what each head of one block adds to its output."""

    def __init__(self, block: Block) -> None:
        self.total, self.tokens = torch.zeros(block.attention.shape.heads, dtype=torch.float64), 0
        self.gram = _gram(block.attention)

    def __call__(self, block: Block, args: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, mask, *_, forced = args
        _, gates, memory, _ = output
        heads = memory.heads  # [B, L, H, E]
        if block.attention.output_gate is not None:
            heads = heads * block.attention.output_gate(block.read(x))
        weight = forced if gates is None else gates.weight
        gram = self.gram.to(heads)
        lengths = torch.einsum("blhe,hef,blhf->blh", heads, gram, heads).clamp_min(0).sqrt()
        lengths = lengths if weight is None else lengths * weight.abs()
        real = torch.ones_like(x[..., 0], dtype=torch.bool) if mask.padding is None else mask.padding
        self.total += (lengths * real.unsqueeze(-1)).sum((0, 1)).double().cpu()
        self.tokens += int(real.sum())


def _gram(attention: RoutedAttention) -> Tensor:
    """W^T W of each head's part W of the output projection, [H, E, E]; that of a mixture is the same for all."""
    H, E = attention.shape.heads, attention.shape.head_width
    weight = attention.output.weight.detach().view(attention.width, -1, E)  # [D, H|1, E]
    weight = weight / (H // weight.shape[1])  # a mixture takes the mean over heads
    return torch.einsum("dhe,dhf->hef", weight, weight).expand(H, -1, -1)
