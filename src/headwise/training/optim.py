"""Optimisation by role: presets, one fused AdamW with named groups, clipping.

A role (`pretrained`, `backbone`, `controller`, `readout`) is declared by module classes; nothing here reads the name
of a parameter.
"""

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from headwise.models.roles import parameters_by_role


class Preset(Protocol):
    """Learning rates and clipping by role; a frozen dataclass whose fields are its configuration."""

    @property
    def betas(self) -> tuple[float, ...]:
        """Two decay rates of AdamW's moments."""

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW."""

    def learning_rates(self) -> dict[str, float]:
        """Role -> learning rate."""

    def clip(self) -> float | dict[str, float]:
        """The largest gradient norm: one number for all parameters together, or one per role."""


@dataclass(frozen=True)
class Uniform:
    """one learning rate for all roles, one global norm: the control

    Args:
        lr: default 1e-3, at which small models train in a minute.
        clip_norm: default 1.0.
        betas, weight_decay: of AdamW; defaults (0.9, 0.98) and 0.01, the same in every preset so that presets differ in
            what they are about.
    """

    lr: float = 1e-3
    clip_norm: float = 1.0
    betas: tuple[float, ...] = (0.9, 0.98)
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _check(self)

    def learning_rates(self) -> dict[str, float]:
        return dict.fromkeys(("pretrained", "backbone", "controller", "readout"), self.lr)

    def clip(self) -> float:
        return self.clip_norm


@dataclass(frozen=True)
class Differentiated:
    """pretrained lr, backbone and read-out 2 lr, controller 20 lr; one global norm

    Args:
        lr: default 5e-5, published for a pretrained encoder. The published claim that it cures a model that does not
            train had another cause (one optimiser for two models); compare before believing.
        clip_norm, betas, weight_decay: as in `uniform`.
    """

    lr: float = 5e-5
    clip_norm: float = 1.0
    betas: tuple[float, ...] = (0.9, 0.98)
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _check(self)

    def learning_rates(self) -> dict[str, float]:
        return {
            "pretrained": self.lr,
            "backbone": 2 * self.lr,
            "controller": 20 * self.lr,
            "readout": 2 * self.lr,
        }

    def clip(self) -> float:
        return self.clip_norm


@dataclass(frozen=True)
class Stable:
    """a slower controller (1e-4 beside 3e-4), clipped by role

    Args:
        lr: of backbone, embedder and pretrained parts; default 3e-4.
        controller_lr: default 1e-4.
        readout_lr: default 3e-4.
        clip_norm: of backbone (with pretrained) and of read-out, each on its own; default 1.0.
        controller_clip_norm: default 0.5.
        betas, weight_decay: as in `uniform`.
    """

    lr: float = 3e-4
    controller_lr: float = 1e-4
    readout_lr: float = 3e-4
    clip_norm: float = 1.0
    controller_clip_norm: float = 0.5
    betas: tuple[float, ...] = (0.9, 0.98)
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _check(self)

    def learning_rates(self) -> dict[str, float]:
        return {
            "pretrained": self.lr,
            "backbone": self.lr,
            "controller": self.controller_lr,
            "readout": self.readout_lr,
        }

    def clip(self) -> dict[str, float]:
        return {
            "pretrained": self.clip_norm,
            "backbone": self.clip_norm,
            "controller": self.controller_clip_norm,
            "readout": self.clip_norm,
        }


@dataclass(frozen=True)
class FineTuning:
    """a pretrained encoder slowly, everything that starts from nothing ten times as fast; one global norm

    Args:
        lr: of backbone, controller and read-out; default 1e-3.
        pretrained_lr: default 1e-4, which suits encoders of this library's size.
        clip_norm: default 5: early gradients of a fresh scorer would otherwise hold the encoder back.
        betas, weight_decay: as in `uniform`.
    """

    lr: float = 1e-3
    pretrained_lr: float = 1e-4
    clip_norm: float = 5.0
    betas: tuple[float, ...] = (0.9, 0.98)
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _check(self)

    def learning_rates(self) -> dict[str, float]:
        return dict.fromkeys(("backbone", "controller", "readout"), self.lr) | {"pretrained": self.pretrained_lr}

    def clip(self) -> float:
        return self.clip_norm


PRESETS: dict[str, type] = {
    "stable": Stable,
    "differentiated": Differentiated,
    "uniform": Uniform,
    "fine_tuning": FineTuning,
}


def preset_of(preset: Preset | str) -> Preset:
    """A preset by name, with its defaults, or the preset itself.

    Raises:
        ValueError: the name is unknown.
    """
    if not isinstance(preset, str):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"preset={preset}: unknown; choose one of {', '.join(PRESETS)}")
    made: Preset = PRESETS[preset]()
    return made


class OptimizerMismatchError(ValueError):
    """An optimiser that does not hold exactly the trainable parameters of the model it is to train."""


def optimizer_for(model: nn.Module, preset: Preset | str = "uniform") -> torch.optim.AdamW:
    """A new fused AdamW over every trainable parameter of `model`, in groups named by role.

    One optimiser with groups takes the same steps as one optimiser per role, in one kernel. It is made anew at each
    call and belongs to this model alone: an optimiser cached from another model would leave this one as it was.

    Args:
        model: modules whose classes declare `role`; each parameter takes that of its nearest declaring ancestor.
        preset: a name among `PRESETS`, or an instance such as `Stable(controller_lr=3e-4)`.

    Raises:
        ValueError: a parameter has no declaring ancestor, or nothing is trainable, or the preset's name is unknown.
    """
    chosen = preset_of(preset)
    groups = _groups(model, chosen)
    if not groups:
        raise ValueError("the model has no parameter that requires a gradient; there is nothing to optimise")
    beta1, beta2 = chosen.betas
    return AdamW(groups, betas=(beta1, beta2), fused=True)


class AdamW(torch.optim.AdamW):
    """torch's AdamW without the guards that keep a compiler out of its methods.

    At their first call they import torch._dynamo, which takes as long as importing torch itself; nothing here compiles
    an optimiser.
    """

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)


def check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimiser made for another model, or one that misses parameters of this one.

    Raises:
        OptimizerMismatchError: names the parameters that it would leave untrained, or counts the foreign ones.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    wanted = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    missing = [name for key, name in wanted.items() if key not in held]
    foreign = sum(key not in wanted for key in held)
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        cause = f"; {foreign} of its parameters belong to another model" if foreign else ""
        raise OptimizerMismatchError(
            f"the optimiser would leave {len(missing)} of {len(wanted)} parameters untrained ({shown}){cause}; "
            "make one for this model with optimizer_for(model, preset)"
        )
    if foreign:
        raise OptimizerMismatchError(f"the optimiser also holds {foreign} parameters that are not of this model")


@record_function("headwise: clip")
def clip_by_role(optimizer: torch.optim.Optimizer, clip: float | Mapping[str, float]) -> dict[str, Tensor]:
    """Clip the gradients of an optimiser made by `optimizer_for`, in place.

    Args:
        optimizer: its groups carry `role`.
        clip: a number scales all gradients together when their common norm exceeds it; a mapping does so for each role
            on its own norm (`preset.clip()` gives either).

    Returns:
        Role -> gradient norm before clipping (scalar tensors). Roles without any gradient, frozen ones say, are absent.
    """
    parameters = parameters_with_gradient(optimizer)
    norms = {role: total_norm(_gradients(of_role)) for role, of_role in parameters.items()}
    if isinstance(clip, Mapping):
        for role, of_role in parameters.items():
            nn.utils.clip_grads_with_norm_(of_role, clip[role], norms[role])
    elif norms:
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        nn.utils.clip_grads_with_norm_([p for of_role in parameters.values() for p in of_role], clip, total)
    return norms


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of all entries together, a scalar; of tensors that are sharded over processes, of the whole."""
    norm = nn.utils.get_total_norm(tensors)
    # Asked for by name: importing DTensor takes as long as half of torch.
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def drop_gradients(optimizer: torch.optim.Optimizer, role: str) -> None:
    """Forget the gradients of a role before an optimiser step.

    AdamW then leaves its parameters, their weight decay and their moments alone. `requires_grad` would do the same but
    would undo a user's own freeze afterwards, and a compiled model would be compiled again.
    """
    for group in optimizer.param_groups:
        if group["role"] == role:
            for parameter in group["params"]:
                parameter.grad = None


def parameters_with_gradient(optimizer: torch.optim.Optimizer) -> dict[str, list[nn.Parameter]]:
    """Role -> the parameters that have a gradient at the moment."""
    found: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        having = [parameter for parameter in group["params"] if parameter.grad is not None]
        if having:
            found.setdefault(group["role"], []).extend(having)
    return found


def _groups(model: nn.Module, preset: Preset) -> list[dict[str, Any]]:
    """One group per role, two where weight decay is on; parameters that need no gradient are left out."""
    rates, decay = preset.learning_rates(), preset.weight_decay
    groups: list[dict[str, Any]] = []
    for role, items in parameters_by_role(model).items():
        trainable = [parameter for _, parameter in items if parameter.requires_grad]
        # Biases and the gains of norms (one axis) are not decayed: pulling a gain to 0 pulls its layer to 0.
        matrices = [p for p in trainable if p.ndim > 1 or decay == 0]
        vectors = [p for p in trainable if p.ndim <= 1 and decay != 0]
        for suffix, parameters, own_decay in (("", matrices, decay), ("/no_decay", vectors, 0.0)):
            if parameters:
                named = {"name": role + suffix, "role": role, "lr": rates[role], "initial_lr": rates[role]}
                groups.append({"params": parameters, "weight_decay": own_decay, **named})
    return groups


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _check(preset: Any) -> None:
    for key, value in vars(preset).items():
        if key.endswith(("lr", "clip_norm")) and not 0 < value < math.inf:
            raise ValueError(f"{key}={value}; choose a number above 0")
    if preset.weight_decay < 0:
        raise ValueError(f"weight_decay={preset.weight_decay}; choose 0 or more")
    if len(preset.betas) != 2 or not all(0 <= beta < 1 for beta in preset.betas):
        raise ValueError(f"betas={list(preset.betas)}; choose two numbers in 0 <= beta < 1")
