"""Routing put into a pretrained transformer: `retrofit(model, arm)`.

The model stays what it is, an object of its own class that trains, generates and saves as before. A router that starts
at zero, with a gate function whose gates are then 1, leaves every output bit for bit as it was.

Legend: B batch, L length, H heads, D width.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from headwise.models.arm import Arm
from headwise.pretrained.gating import GatedHeads, Pass
from headwise.pretrained.removal import By, Keep, masks, remove_heads
from headwise.pretrained.sites import Site, find_sites
from headwise.reasoning.controllers import NoController
from headwise.reasoning.halting import FixedHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.balance import steer
from headwise.routing.gates import Gates, Sigmoid
from headwise.routing.mixtures import ReLU
from headwise.routing.routers import Learned, Router
from headwise.routing.unit_gates import Unit

if TYPE_CHECKING:
    from headwise.pretrained.warm_start import Fit


def retrofit(model: nn.Module, arm: Arm, losses: Mapping[str, float] | None = None) -> "Retrofitted":
    """Put a router into every attention layer of `model`, which is changed in place.

    Args:
        model: a transformer of Hugging Face's or of the same structure (`headwise.pretrained.sites`).
        arm: its router, gate function and balance; a pretrained stack is not iterated, so it has no controller,
            halting or refinement.
        losses: weights of the routing losses, by name, that the model adds to the loss it returns in training
            (`output.loss`), so that a `Trainer` needs to know nothing of them; null (default) adds none, and
            `Retrofitted.losses` hands them back.

    Returns:
        The handle; `Retrofitted.model` is `model`.

    Raises:
        ValueError: an attention layer that is not understood; an arm that a pretrained model cannot follow; a model
            that has routers already; a router per sequence in a model that must not see ahead; `losses` that are not
            those of the arm.
    """
    return Retrofitted(model, arm, losses)


class Retrofitted:
    """A pretrained model with routers in its attention layers.

    Attributes:
        model: the model.
        arm: what was put into it.
        sites: its attention layers, in order.
        heads: the modules that were added, one for each site; their `router` is None where the arm has none.
        shared: what the layers share about the last forward pass.
        weights: of the routing losses, by name.

    Args:
        model, arm, losses: as for `retrofit`.
        kept: by a layer's name, where heads were removed behind its router: how many heads the router has, and the
            numbers of those that are left.
    """

    def __init__(
        self,
        model: nn.Module,
        arm: Arm,
        losses: Mapping[str, float] | None = None,
        kept: Mapping[str, tuple[int, Sequence[int]]] | None = None,
    ) -> None:
        _check(model, arm, losses or {})
        kept = kept or {}
        self.model, self.arm, self.weights = model, arm, dict(losses or {})
        self.sites, self.shared = find_sites(model), Pass()
        self._arguments = list(inspect.signature(model.forward).parameters)
        both = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
        counts = [kept[site.name][0] if site.name in kept else site.heads for site in self.sites]
        routers = [self._router(site, number, counts[number]) for number, site in enumerate(self.sites)]
        self.heads = [
            GatedHeads(
                *(site, number, router, self.shared, both and "decoder" in site.name.split(".")),
                kept=kept[site.name][1] if site.name in kept else None,
            )
            for number, (site, router) in enumerate(zip(self.sites, routers, strict=True))
        ]
        for site, added in zip(self.sites, self.heads, strict=True):
            added.train(model.training)
            added.attach(site)
        self._handles = [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end),
        ]

    def _router(self, site: Site, number: int, heads: int) -> Router | None:
        arm = self.arm
        if arm.router.granularity == "sequence" and not site.sees_ahead:
            raise ValueError(
                f"arm.router.granularity=sequence: {site.name} must not see ahead, and such a router reads all tokens; "
                "choose token or layer"
            )
        arm.router.validate(heads)
        with torch.device(next(site.projection.parameters()).device):
            return arm.router.build(arm.gate, site.width, heads, 0, number, arm.balance)

    @property
    def routers(self) -> list[Router]:
        """One for each layer; [] where the arm has none."""
        return [added.router for added in self.heads if added.router is not None]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the routers."""
        for added in self.heads:
            yield from added.parameters()

    def losses(self) -> dict[str, Tensor]:
        """Routing losses of the last forward pass, by name: means over layers, unweighted, with gradient.

        Raises:
            ValueError: the model was trained under reentrant gradient checkpointing, which computes the forward pass
                without gradients, so that there are none.
        """
        found: dict[str, list[Tensor]] = {}
        for layer in self.shared.losses.values():
            for name, value in layer.items():
                found.setdefault(name, []).append(value)
        expected = self.arm.balance.losses or self.arm.balance.target is not None
        if self.model.training and torch.is_grad_enabled() and expected and self.shared.losses and not found:
            raise ValueError(
                "gradient checkpointing with use_reentrant=True hands back no routing losses; "
                'choose gradient_checkpointing_enable({"use_reentrant": False})'
            )
        return {name: torch.stack(values).mean() for name, values in found.items()}

    def gates(self) -> list[Gates]:
        """Gates of the last forward pass, detached, layer by layer."""
        return [self.shared.gates[number] for number in sorted(self.shared.gates)]

    def loads(self) -> list[Tensor]:
        """Share of real tokens of the last forward pass that used each head, [H] for each layer."""
        return [self.shared.load(number) for number in sorted(self.shared.padding)]

    def steer(self) -> None:
        """Write the routers' slow scalars (ranking bias, multiplier of the budget) after an update."""
        steer(self.routers, self.loads(), self.arm.balance)

    def set_temperature(self, temperature: float) -> None:
        """Temperature of every router's softmax or sigmoid; write it between updates."""
        for router in self.routers:
            router.temperature.fill_(temperature)

    def set_k(self, k: int | None) -> None:
        """Heads that a gate function with a fixed number keeps on, from now on: for schedules from H down. None: those
        above the threshold of the gate `unit`.

        Raises:
            ValueError: the gate function has no k, or a layer has fewer heads.
        """
        if not hasattr(self.arm.gate, "k"):
            raise ValueError(f"arm.gate={self.arm.gate.describe()}: keeps no fixed number of heads; choose top_k")
        chosen: Any = self.arm.gate
        gate = replace(chosen, k=k)
        for router in self.routers:
            gate.validate(router.heads)
        for router in self.routers:
            router.gate = gate

    @contextmanager
    def forced(self, gates: Sequence[Tensor | None]) -> Iterator[None]:
        """Within the block, gates from outside in place of the routers'.

        Args:
            gates: for each layer [H], [L, H] or [B, L|1, H], or None where the layer makes its own.

        Raises:
            ValueError: not one for each layer, or a wrong number of heads.
        """
        if len(gates) != len(self.sites):
            raise ValueError(f"forced gates of {len(gates)} layers; {type(self.model).__name__} has {len(self.sites)}")
        found: dict[int, Tensor] = {}
        for number, (given, site) in enumerate(zip(gates, self.sites, strict=True)):
            if given is None:
                continue
            if given.shape[-1] != site.heads or not 1 <= given.dim() <= 3:
                raise ValueError(
                    f"forced gates of {site.name}: {tuple(given.shape)}; choose [B, L, {site.heads}] or less of it"
                )
            found[number] = given.reshape((1,) * (3 - given.dim()) + tuple(given.shape))
        before, self.shared.forced = self.shared.forced, found
        try:
            yield
        finally:
            self.shared.forced = before

    @contextmanager
    def all_on(self) -> Iterator[None]:
        """Within the block, every head on at 1: the model as it was."""
        with self.forced([torch.ones(site.heads) for site in self.sites]):
            yield

    def warm_start(
        self,
        batches: Iterable[Mapping[str, Tensor] | Tensor],
        keep: int | None = None,
        share: float | None = None,
    ) -> "list[Fit]":
        """Fit every router in closed form to what heads contribute; see `headwise.pretrained.warm_start`."""
        from headwise.pretrained.warm_start import warm_start

        return warm_start(self, batches, keep, share)

    def prune(self, keep: Keep, by: By = "groups") -> None:
        """Remove heads for good (`headwise.pretrained.removal.prune`); the routers of the others gate on as they did.

        A router whose gates know nothing of each other (ReLU, sigmoid, unit gates above a threshold) loses the rows of
        removed heads. Any other keeps all: a softmax over fewer heads would have another scale, and the k best of fewer
        would be others. Where such a router still chooses a removed head, that choice has no effect.

        Args:
            keep: for each layer bool [H], true for heads that stay, or None for all; `used_heads` finds it.
            by: groups (default) or heads.

        Raises:
            ValueError: as `headwise.pretrained.removal.prune`.
        """
        before, chosen = self.sites, masks(self.sites, keep)
        self.sites = remove_heads(self.model, keep, by)
        for number, (old, new, added, mask) in enumerate(zip(before, self.sites, self.heads, chosen, strict=True)):
            if mask.all():
                continue
            index = mask.nonzero().flatten()
            added.heads = new.heads
            if added.router is None:
                continue
            fewer = self._with_rows(added.router, new, number, index) if added.kept is None else None
            if fewer is not None:
                added.router = fewer
            else:
                before_it = range(old.heads) if added.kept is None else added.kept.tolist()
                added.keep_only([before_it[head] for head in index.tolist()])
                added.to(next(new.projection.parameters()).device)

    def _with_rows(self, router: Router, site: Site, number: int, index: Tensor) -> Router | None:
        """The router with the rows in `index` only; None where it is of a kind that cannot do without the others."""
        gate = router.gate
        apart = isinstance(gate, (ReLU, Sigmoid)) or (isinstance(gate, Unit) and gate.k is None)
        if not (apart and isinstance(router, Learned)):
            return None
        try:
            fewer = self._router(site, number, site.heads)
        except ValueError:  # a target of more heads than are left
            return None
        assert fewer is not None
        rows = {
            name: value[index.to(value.device)] if value.dim() and value.shape[0] == router.heads else value
            for name, value in router.state_dict().items()
        }
        fewer.to(router.temperature.dtype).load_state_dict(rows)
        fewer.gate, fewer.reports_entropy = gate, router.reports_entropy
        for new, old in zip(fewer.parameters(), router.parameters(), strict=True):
            new.requires_grad_(old.requires_grad)
        return fewer.train(router.training)

    def remove(self) -> nn.Module:
        """Give the model back as it was; the handle is of no use afterwards."""
        for handle in self._handles:
            handle.remove()
        for site, added in zip(self.sites, self.heads, strict=True):
            added.detach_from(site)
        return self.model

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for site in self.sites:
            if not site.intact:
                raise ValueError(
                    f"{site.name}.{site.projection_name} was replaced after the retrofit, so that its new part would "
                    "pass the gates by; put adapters in first, then retrofit"
                )
        given = dict(zip(self._arguments, args, strict=False)) | kwargs
        masks = {False: _real(given.get("attention_mask")), True: _real(given.get("decoder_attention_mask"))}
        self.shared.begin(masks)

    def _end(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        for site, added in zip(self.sites, self.heads, strict=True):
            if added.weight is not None:
                added.weight = None
                raise ValueError(
                    f"{site.name} made its output without calling {site.projection_name}: nothing was gated"
                )
        if self.weights and model.training:
            if isinstance(output, tuple):
                raise ValueError("losses=: the model returns a tuple, whose loss has no name; choose return_dict=True")
            if getattr(output, "loss", None) is not None:
                for name, value in self.losses().items():
                    output.loss = output.loss + self.weights[name] * value
        return output


def _real(mask: Any) -> Tensor | None:
    """A padding mask as bool [B, L]; masks of attention, which have more dimensions, say nothing of single tokens."""
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None


def _check(model: nn.Module, arm: Arm, losses: Mapping[str, float]) -> None:
    made = [*arm.balance.losses, *(["budget"] if arm.balance.target is not None else [])]
    if losses and sorted(losses) != sorted(made):
        raise ValueError(
            f"losses={', '.join(losses)}: the arm's routers make {', '.join(made) or 'none'}; give each a weight"
        )
    if any(isinstance(module, GatedHeads) for module in model.modules()):
        raise ValueError(f"{type(model).__name__} has routers already; take them out first (Retrofitted.remove)")
    for key, plain in (("controller", NoController()), ("halting", FixedHalting()), ("refinement", RefinementConfig())):
        if getattr(arm, key) != plain:
            raise ValueError(f"arm.{key}: a pretrained stack is applied once; choose an arm without one")
    if arm.combine != "mask_concat" or arm.output_gate != "none" or arm.composition_rank or arm.router.follows_route:
        raise ValueError(
            "arm: a pretrained layer keeps its own attention; choose combine=mask_concat, output_gate=none, "
            "composition_rank=0 and a router other than oracle"
        )
