"""Balance and budget: what keeps all heads in use, and the number of active ones where it is wanted.

Two means. Losses: named, unweighted, with gradient, returned by a router in training. Buffers of a router (the ranking
bias, the budget's multiplier): slow scalars that `steer` writes between updates, from how much each head was used.

Legend: B batch, L length, H heads, S shared heads, R = H - S routed heads, f_i the share of tokens that use head i.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from headwise.routing.gates import GateFunction, Gates
from headwise.routing.pooling import masked_mean, token_mean

BalanceLoss = Literal["load_balance", "router_z", "complexity", "sparsity"]


@dataclass(frozen=True)
class BalanceConfig:
    """What is added to a router's training; nothing by default.

    Args:
        losses: any of
            load_balance: R·sum_i P_i·f_i with P_i the mean probability of head i; even use gives the mean number of
                active routed heads, its least value (Switch Transformer, arXiv 2101.03961);
            router_z: mean of (ln sum_i exp z_i)^2, against ever larger logits (ST-MoE, arXiv 2202.08906);
            complexity: |mean expected number of active heads - mean head budget|, for the adaptive gate: neither is a
                count, so it is 0 only where threshold and budget agree;
            sparsity: mean expected number of active heads / H.
            Their weights are `training.losses.<name>`. Published for the adaptive router, as (load_balance,
            complexity, sparsity): 0.1, 0.1, 0.01, and earlier 0.01, 0.01, 0.001.
        bias_rate: gamma of the loss-free bias b_i += gamma·sign(mean load - load_i), which is added to the ranking
            score only (DeepSeek-V3, arXiv 2412.19437: 0.001); default 0, no bias.
        target: mean number of active heads per token and layer, shared ones included, to which routers are steered
            through the loss "budget"; null (default) steers nothing.
        over: layer (default): each layer meets the target; model: their mean does, and layers where heads say more may
            keep more. In a pretrained model that costs a third to a half as much (docs/findings_pretrained.md).
        target_rate: step of the budget's multiplier, per update and share of all heads off target; default 0.01.
        target_gain: how strongly the current batch's distance from the target adds to the multiplier; default 10. The
            multiplier only sums up what is past: alone, or with a gain of 1, it swung around the target by a head and
            more for hundreds of updates.
    """

    losses: tuple[BalanceLoss, ...] = ()
    bias_rate: float = 0.0
    target: float | None = None
    target_rate: float = 0.01
    target_gain: float = 10.0
    over: Literal["layer", "model"] = "layer"

    def __post_init__(self) -> None:
        for key in ("bias_rate", "target_gain"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key}={getattr(self, key)}: choose 0 or more")
        if not self.target_rate > 0:
            raise ValueError(f"target_rate={self.target_rate}: choose a number above 0")
        if self.target is not None and not self.target > 0:
            raise ValueError(f"target={self.target}: choose more than 0 heads, or null")
        if self.over == "model" and self.target is None:
            raise ValueError("over=model: has an effect only with a target; choose one, or over=layer")

    @property
    def steers(self) -> bool:
        """Whether a router has buffers for `steer` to write."""
        return bool(self.bias_rate) or self.target is not None

    def validate(self, gate: GateFunction, heads: int) -> None:
        """Raise a ValueError when the target lies outside of what `gate` can reach with so many heads."""
        if self.target is None:
            return
        shared = getattr(gate, "shared", 0)
        least = shared + getattr(gate, "minimum", 1 if gate.selects else 0)
        most = shared + (getattr(gate, "maximum", None) or heads - shared)
        if not least <= self.target <= most:
            parts = f"{shared} shared and {heads - shared} routed heads" if shared else f"{heads} heads"
            raise ValueError(
                f"target={self.target:g} active heads, but the gate keeps {least:g} to {most:g} of {parts} on; "
                f"choose {least:g}..{most:g} (arm.balance.target)"
            )


def head_loads(gates: Gates, mask: Tensor | None) -> Tensor:
    """Share of real tokens that use each head under the rule of evaluation: [H], detached."""
    return token_mean(gates.selected.to(gates.weight.dtype), mask).detach()


def load_balance_loss(gates: Gates, mask: Tensor | None) -> Tensor:
    """R·sum_i P_i·f_i over routed heads; the gradient flows through P."""
    routed = gates.probs.shape[-1]
    return routed * (token_mean(gates.probs, mask) * head_loads(gates, mask)[-routed:]).sum()


def router_z_loss(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over tokens of (ln sum_i exp z_i)^2, for head logits [B, L|1, R]."""
    return token_mean(logits.logsumexp(-1, keepdim=True).square(), mask).sum()


def complexity_loss(gates: Gates, mask: Tensor | None) -> Tensor:
    """|mean expected number of active heads - mean head budget|."""
    assert gates.expected is not None
    assert gates.budget is not None, "only a gate that predicts its budget has this loss"
    return (masked_mean(gates.expected, mask) - masked_mean(gates.budget, mask)).abs()


def sparsity_loss(gates: Gates, mask: Tensor | None) -> Tensor:
    """Mean expected number of active heads / H."""
    assert gates.expected is not None, "only a gate whose number of heads varies has this loss"
    return masked_mean(gates.expected, mask) / gates.weight.shape[-1]


def balance_losses(config: BalanceConfig, gates: Gates, logits: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """The losses that `config` names, for gates made of head logits [B, L|1, R]."""
    losses: dict[str, Tensor] = {}
    for name in config.losses:
        if name == "router_z":
            losses[name] = router_z_loss(logits, mask)
        else:
            losses[name] = _OF_GATES[name](gates, mask)
    return losses


_OF_GATES = {"load_balance": load_balance_loss, "complexity": complexity_loss, "sparsity": sparsity_loss}


def budget_loss(
    config: BalanceConfig, multiplier: Tensor, gates: Gates, mask: Tensor | None, off_target: Tensor | None = None
) -> Tensor:
    """(multiplier + gain·e)·expected / H, whose gradient moves the number of active heads toward the target.

    e is the distance from the target of the heads that are really active in this batch, as a share of H (over the
    model: `off_target`, that of all layers in the batch before): an augmented Lagrangian whose constraint is the hard
    count and whose gradient is the soft one. With a ReLU gate, whose `expected` is an L1 norm, this is an adaptive L1
    weight. Differs from ReMoE, which multiplies the weight by 1.2 or 1/1.2 per update: over a few hundred updates that
    switched whole layers off before it turned round.
    """
    off = _off_target(config, head_loads(gates, mask)) if off_target is None else off_target
    # A sum is a new tensor: `steer` may write the buffers in place before the backward pass.
    return (multiplier + config.target_gain * off) * sparsity_loss(gates, mask)


class Steered(Protocol):
    """What `steer` writes: the buffers of one layer's router, where it has them."""

    ranking_bias: Tensor | None
    multiplier: Tensor | None
    off_target: Tensor | None


@torch.no_grad()
def steer(routers: Iterable[Steered], loads: Iterable[Tensor], config: BalanceConfig) -> None:
    """Write the routers' buffers after an update; never called in a forward pass.

    Args:
        routers: of the layers, first to last.
        loads: [H] of each layer, share of tokens that used each head (`Trace.loads`).
        config: of the arm.
    """
    pairs = list(zip(routers, loads, strict=True))
    for router, load in pairs:
        if router.ranking_bias is not None:
            routed = load[-len(router.ranking_bias) :]
            step = config.bias_rate * (routed.mean() - routed).sign()
            router.ranking_bias.add_(step.to(router.ranking_bias))
    if config.target is None:
        return
    off = [_off_target(config, load) for _, load in pairs]
    together = torch.stack(off).mean()
    for (router, _), alone in zip(pairs, off, strict=True):
        if router.multiplier is not None:
            distance = alone if router.off_target is None else together
            router.multiplier.add_((config.target_rate * distance).to(router.multiplier))
        if router.off_target is not None:
            router.off_target.copy_(together)


def _off_target(config: BalanceConfig, load: Tensor) -> Tensor:
    """(active heads - target) / H, from the loads [H]."""
    assert config.target is not None
    return (load.sum() - config.target) / len(load)
