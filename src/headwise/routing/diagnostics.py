"""What the gates did, as detached numbers. Never part of a loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from headwise.routing.gates import Gates
from headwise.routing.routers import Router, normalised_entropy


@torch.no_grad()
def gate_statistics(gates: Sequence[Gates], mask: Tensor | None = None) -> dict[str, float]:
    """Statistics of one layer at one step, or of several pooled together.

    Args:
        gates: each [B, L|1, H] with the same H.
        mask: [B, L], True for real tokens; padding is left out.

    Returns:
        What the gates are, after selection: heads_active_mean/min/max (heads whose gate is not 0, per token),
        effective_heads_mean/min/max (exp of the entropy of a token's shares, the absolute gates scaled to sum 1: as
        many heads with equal gates would be as concentrated), herfindahl (mean of the sum of squared shares: 1/H when
        even, 1 when one head has all), top1_share (mean of the largest share), dead_heads (heads that no token used),
        weight_mean; of a mixture with S shared heads, which come first, shared_heads (S) and shared_weight (mean of
        their shares together).
        What the router said before selection: entropy_mean and entropy_std (of `probs` scaled to sum 1 over the routed
        heads, as a share of its maximum, over tokens). For what the gate function predicts per token (threshold,
        complexity, budget, sharpness, shared_share) NAME_mean, NAME_min, NAME_max.
        Numbers of an empty list: {}.
    """
    if not gates:
        return {}
    probs = torch.cat([_real(gate.probs, mask) for gate in gates]).double()
    weights = torch.cat([_real(gate.weight, mask) for gate in gates]).double()
    entropy = normalised_entropy(_shares(probs))
    shares = _shares(weights)
    effective = torch.special.entr(shares).sum(-1).exp() * (weights != 0).any(-1)  # no head at all: 0, not e^0
    shared = weights.shape[-1] - probs.shape[-1]
    active = (weights != 0).sum(-1).double()
    predicted: dict[str, float] = {}
    if shared:
        predicted = {"shared_heads": float(shared), "shared_weight": shares[:, :shared].sum(-1).mean().item()}
    for name in gates[0].predicted:
        values = torch.cat([_real(gate.predicted[name].unsqueeze(-1), mask) for gate in gates]).double()
        predicted |= {f"{name}_{kind}": getattr(values, kind)().item() for kind in ("mean", "min", "max")}
    return {
        "entropy_mean": entropy.mean().item(),
        "entropy_std": entropy.std(correction=0).item(),
        "effective_heads_mean": effective.mean().item(),
        "effective_heads_min": effective.min().item(),
        "effective_heads_max": effective.max().item(),
        "herfindahl": shares.square().sum(-1).mean().item(),
        "top1_share": shares.amax(-1).mean().item(),
        "heads_active_mean": active.mean().item(),
        "heads_active_min": active.min().item(),
        "heads_active_max": active.max().item(),
        "dead_heads": float((weights == 0).all(0).sum().item()),
        "weight_mean": weights.mean().item(),
    } | predicted


@torch.no_grad()
def mean_gates(gate: Gates, mask: Tensor | None = None) -> list[float]:
    """Mean gate of each head over the real tokens of the batch: H numbers."""
    return _real(gate.weight, mask).double().mean(0).tolist()


@torch.no_grad()
def load(gate: Gates, mask: Tensor | None = None) -> list[float]:
    """Share of the real tokens of the batch that used each head: H numbers."""
    return _real(gate.weight != 0, mask).double().mean(0).tolist()


@torch.no_grad()
def router_state(router: Router) -> dict[str, Any]:
    """What a router is made of by now.

    Returns:
        predictor_norms ({name: norm of the weights behind it}, learned routers only), multiplier of the budget and
        ranking_bias (R numbers) where it has them.
    """
    state: dict[str, Any] = {}
    if norms := router.predictor_norms():
        state["predictor_norms"] = norms
    if router.multiplier is not None:
        state["multiplier"] = router.multiplier.item()
    if router.ranking_bias is not None:
        state["ranking_bias"] = router.ranking_bias.tolist()
    return state


def _shares(values: Tensor) -> Tensor:
    """Absolute values scaled to sum 1 over heads."""
    return values.abs() / values.abs().sum(-1, keepdim=True).clamp_min(1e-20)


def _real(values: Tensor, mask: Tensor | None) -> Tensor:
    """[B, L|1, H] to [tokens, H], padding left out; gates shared by all tokens count once per example.

    On the CPU: not every accelerator knows double precision, and one copy waits less than a dozen numbers read singly.
    """
    real = values[mask] if mask is not None and values.shape[1] > 1 else values.flatten(0, 1)
    return real.cpu()
