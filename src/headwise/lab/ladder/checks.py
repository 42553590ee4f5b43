"""What the ladder asks of a rung, from causes to symptoms: the first check that fails is the one to look at.

Every check gives a number or a few words, what is allowed, and, where it fails, a sentence that says what is wrong and
where to look.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from headwise.lab.formatting import format_metric, format_percent
from headwise.lab.ladder.finite_differences import disagreement
from headwise.lab.ladder.gate_order import disorder
from headwise.lab.ladder.gradients import gradient_norms, segment_objectives, unmoved
from headwise.lab.records import Run, number
from headwise.models.roles import parameters_by_role
from headwise.routing.fixed_routers import StaticRouter
from headwise.routing.routers import NoRouter, Router
from headwise.tasks.base import Batch, Sample, Source, TaskModel
from headwise.training.config import RunConfig
from headwise.training.optim import OptimizerMismatchError

RELATIVE_ERROR = 0.01  # a right backward pass stays below 1e-6, at a kink 1e-3; a wrong one is off by a tenth
HARMLESS = 1.0  # a gradient norm that no preset's defaults clip; a multiple of a tiny norm would be noise
BATCHES, EXAMPLES = 4, 4  # batches in which a parameter may get its gradient; examples for finite differences


@dataclass(frozen=True)
class Check:
    """One question to a rung.

    Attributes:
        value: what was found; a number, or words.
        allowed: what passes; None where nothing is asked.
        says: what is wrong and where to look; empty where the check passed.
        note: what else there is to know.
    """

    name: str
    passed: bool
    value: float | str | None
    allowed: float | str | None
    says: str = ""
    note: str = ""


@dataclass(frozen=True)
class Limits:
    """What a rung may do.

    Args:
        tolerance: how far a rung may fall back behind the one before, as a share of that one's gain over the
            floor; default 0.25: a new part costs some updates, a broken one most of the gain.
        gradient_norm: the largest gradient norm (all roles together, before clipping, median over the second half of
            the rung); None (default): `growth` times that of the first rung, or 1 if that is less.
        growth: default 2.5; the published defect gave ten times the norm of the first rung.
    """

    tolerance: float = 0.25
    gradient_norm: float | None = None
    growth: float = 2.5

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance={self.tolerance}: choose a share from 0 to 1")
        for key in ("gradient_norm", "growth"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"{key}={value}: choose a number above 0")


@dataclass(frozen=True)
class Rung:
    """A rung as the checks see it.

    Attributes:
        config: of its run.
        fresh: the model before training.
        model: the model after its last update; `fresh` where training failed before there was one.
        train, test: the splits.
        run: what is on disk.
        failure: why training failed, in one line, or None.
        before: value and gradient norm of the rungs before, in order.
    """

    config: RunConfig
    fresh: TaskModel
    model: TaskModel
    train: Source
    test: Source
    run: Run
    failure: str | None = None
    before: Sequence[tuple[float | None, float | None]] = field(default_factory=tuple)

    @property
    def batch(self) -> Batch:
        """A few training examples."""
        return self.train.batch(self.train.plan(EXAMPLES, self.config.seed, 0, shuffle=True)[0])

    @property
    def gradient_norm(self) -> float | None:
        """Gradient norm of all roles together, before clipping: median over the second half of what was recorded."""
        records = [record for record in self.run.metrics if record.get("split") == "train"]
        norms = [
            math.hypot(*(number(value) or 0.0 for key, value in record.items() if key.startswith("grad_norm/")))
            for record in records[len(records) // 2 :]
        ]
        return median(norms) if norms else None

    @property
    def value(self) -> float | None:
        """The primary metric on the test split."""
        return number(self.run.summary.get("value"))


def check_rung(rung: Rung, limits: Limits) -> list[Check]:
    """All checks that can be made, causes first; where training failed, none of its result."""
    checks = [_optimiser(rung), *_gradients(rung), _order(rung), _gradient_of_every_role(rung)]
    if rung.failure is not None:
        return [*checks, _training(rung)] if checks[0].passed else checks
    checks += [_moved(rung), _training(rung), _active_heads(rung), _gradient_norm(rung, limits)]
    return [*checks, _floor(rung), _previous(rung, limits), *_sample(rung)]


def _optimiser(rung: Rung) -> Check:
    """Whether the optimiser held the parameters of this model."""
    name, allowed = "optimiser", "this model's"
    if rung.failure is not None and rung.failure.startswith(OptimizerMismatchError.__name__):
        says = "the optimiser is not this model's (one optimiser shared by two models?): "
        return Check(name, False, "another's", allowed, says + rung.failure.partition(": ")[2])
    trainable = [name for name, parameter in rung.model.named_parameters() if parameter.requires_grad]
    if (
        rung.failure is None
        and trainable
        and len(set(unmoved(rung.fresh, rung.model)) & set(trainable)) == len(trainable)
    ):
        says = (
            "not one parameter moved: the optimiser holds the parameters of another model (one optimiser shared by two "
            "models?), or all learning rates are 0; make one for each model with optimizer_for(model, preset)"
        )
        return Check(name, False, "another's", allowed, says)
    return Check(name, True, allowed, allowed)


def _gradients(rung: Rung) -> Iterator[Check]:
    """Autograd against central differences, for gates and for head outputs."""
    errors = disagreement(rung.model, rung.batch, rung.config.seed)
    advice = {
        "gates": "the backward pass ignores the gates, or uses others than the forward pass; look at what is between "
        "the router and the output projection (RoutedAttention.combine, a custom backward, a detach)",
        "head outputs": "the backward pass does not weigh the heads as the forward pass does: it ignores the gates; "
        "look at RoutedAttention.combine or a custom backward",
    }
    for what, found in (("gates", errors.gates), ("head outputs", errors.heads)):
        found = [error if math.isfinite(error) else math.inf for error in found]  # NaN is no agreement
        error = max(found, default=0.0)
        passed, layer = error <= RELATIVE_ERROR, found.index(error) if found else 0
        says = (
            f"the gradient with respect to {what} does not agree with finite differences (relative error {error:.2g} "
            f"in layer {layer}, allowed {RELATIVE_ERROR:g}): {advice[what]}"
        )
        if isinstance(rung.config.arm.router, NoRouter):
            says += "; this arm's own gates are all 1, so its training need not show it, but arms with gates will"
        yield Check(f"gradient of {what}", passed, error, RELATIVE_ERROR, "" if passed else says)


def _order(rung: Rung) -> Check:
    """A larger ranking score never gets a smaller gate."""
    found = disorder(rung.model, rung.batch, rung.config.seed)
    if not found:
        return Check("order of gates", True, None, None, note="nothing ranks the heads")
    share, modes = max(found.values()), [mode for mode, share in found.items() if share]
    says = (
        f"the order of gates is broken: for {format_percent(share)} of the tokens a head with a larger score has a "
        f"smaller gate ({', '.join(modes)}); the gate function suppresses the best heads and opens the worst: look at "
        "the sign of its threshold, sigmoid((threshold - what ranks before)·s)"
    )
    return Check("order of gates", not modes, share, 0.0, says if modes else "")


def _gradient_of_every_role(rung: Rung) -> Check:
    """On a few batches every parameter gets a gradient that is not 0, from the objective as it is at the end."""
    model, config = rung.model.train(), rung.config.training
    plan = rung.train.plan(config.batch_size, rung.config.seed, 0, shuffle=True)
    batches = (segment_objectives(model, rung.train.batch(index), rung.config) for index in plan[:BATCHES])
    with torch.random.fork_rng(devices=[]):
        norms = gradient_norms(model, ((out.loss for out in segments) for segments in batches))
    by_role = _roles(model)
    without = [name for names in by_role.values() for name in names if not norms[name] > 0]
    of_role = {role: math.hypot(*(norms[name] for name in names)) for role, names in by_role.items()}
    note = ", ".join(f"{role} {norm:.2g}" for role, norm in of_role.items())
    silent = [role for role, norm in of_role.items() if not norm > 0]
    where = f"no gradient reaches the role {', '.join(silent)}" if silent else "some parameters have no gradient"
    says = f"{_frozen_router(model, without)}{where}: {_listed(without)}{_switched_off(model, without)}; " + (
        "look for requires_grad=False, a detach, or a part whose output nothing uses"
    )
    return Check("gradient of every role", not without, float(len(without)), 0.0, says if without else "", note)


def _moved(rung: Rung) -> Check:
    """Every parameter differs from its start, except those that the schedule keeps frozen to the end."""
    training = rung.config.training
    whole = round(training.freeze_controller * training.updates) >= training.updates
    excepted = set(_roles(rung.model).get("controller", [])) if whole else set()
    mine = {name for names in _roles(rung.model).values() for name in names}
    still = [name for name in unmoved(rung.fresh, rung.model) if name in mine and name not in excepted]
    says = (
        f"{_frozen_router(rung.model, still)}these parameters did not move in {training.updates} updates: "
        f"{_listed(still)}{_switched_off(rung.model, still)}; look at what the optimiser holds (optimizer_for), at "
        "learning rates by role and at what sets gradients to None"
    )
    note = f"frozen by training.freeze_controller: {_listed(sorted(excepted))}" if excepted else ""
    return Check("parameters moved", not still, float(len(still)), 0.0, says if still else "", note)


def _training(rung: Rung) -> Check:
    says = f"training failed: {rung.failure}" if rung.failure is not None else ""
    return Check("training", not says, rung.failure or "finished", "finished", says)


def _active_heads(rung: Rung) -> Check:
    """Heads whose gate is not 0, at evaluation: every token within what the gate function may do."""
    least, most = active_range(rung.config)
    records = [record for record in rung.run.routing if record.get("split") == "test"]
    record = records[-1] if records else {}
    low, mean, high = (number(record.get(f"heads_active_{key}")) for key in ("min", "mean", "max"))
    allowed = f"{least} to {most}"
    if low is None or mean is None or high is None:
        return Check("active heads", False, None, allowed, "routing.jsonl does not say how many heads were active")
    passed = least <= low and high <= most and mean >= min(1, most)
    says = (
        f"{mean:.2f} heads are active on average, {low:g} to {high:g} per token, but this arm allows {allowed}, and at "
        "least 1 on average; look at the gate function's selection and at arm.balance"
    )
    target = rung.config.arm.balance.target
    note = f"{low:g} to {high:g} per token" + (f", target {target:g}" if target is not None else "")
    return Check("active heads", passed, mean, allowed, "" if passed else says, note)


def active_range(config: RunConfig) -> tuple[int, int]:
    """The fewest and the most heads that a token may have active at evaluation."""
    arm, heads = config.arm, config.model.heads
    if isinstance(arm.router, NoRouter):
        return heads, heads
    if isinstance(arm.router, StaticRouter):
        return arm.router.k, arm.router.k
    if arm.router.follows_route:  # the heads of one relation or none, beside those that see everything
        return heads - config.model.n_structural, heads
    gate, shared = arm.gate, int(getattr(arm.gate, "shared", 0))
    if not gate.varies:
        on = shared + int(getattr(gate, "k", None) or heads)
        return on, on
    if not gate.selects:  # each head on its own
        return 0, heads
    most = getattr(gate, "maximum", None)
    return shared + 1, heads if most is None else shared + math.ceil(most - 0.5)


def _gradient_norm(rung: Rung, limits: Limits) -> Check:
    norm, allowed = rung.gradient_norm, limits.gradient_norm
    first = next((norm for _, norm in rung.before), None)
    if allowed is None and first is not None:
        allowed = max(limits.growth * first, HARMLESS)
    if norm is None or allowed is None:
        return Check("gradient norm", True, norm, None)
    says = (
        f"the gradient norm is {norm:.3g}, allowed {allowed:.3g}"
        + (f" ({limits.growth:g} times the first rung's {first:.3g})" if limits.gradient_norm is None else "")
        + "; look at the scale of the gates and of the routing losses (training.losses), then at the learning rate"
    )
    return Check("gradient norm", norm <= allowed, norm, allowed, "" if norm <= allowed else says)


def _floor(rung: Rung) -> Check:
    """The primary metric is better than that of the trivial predictor."""
    task, value, floor = rung.model.task, rung.value, number(rung.run.summary.get("floor"))
    name = f"{task.metric} against floor"
    if value is None:
        return Check(name, False, None, floor, f"{task.metric} of the test examples is not a number")
    if floor is None:
        return Check(name, True, value, None, note="no floor is known")
    passed = value > floor if task.higher_is_better else value < floor
    says = (
        f"{task.metric} is {format_metric(value)}, no better than the {format_metric(floor)} of a trivial predictor: "
        "it learned nothing; look at the learning rate, the number of updates and the data"
    )
    return Check(name, passed, value, floor, "" if passed else says)


def _previous(rung: Rung, limits: Limits) -> Check:
    """The primary metric is not much worse than on the rung before."""
    task, value, floor = rung.model.task, rung.value, number(rung.run.summary.get("floor"))
    name = f"{task.metric} against the rung before"
    before = rung.before[-1][0] if rung.before else None
    if value is None or before is None:
        return Check(name, True, value, None, note="" if rung.before else "the first rung")
    gain = abs(before) if floor is None else abs(before - floor)
    allowed = before - limits.tolerance * gain if task.higher_is_better else before + limits.tolerance * gain
    passed = value >= allowed if task.higher_is_better else value <= allowed
    says = (
        f"{task.metric} is {format_metric(value)}, that of the rung before {format_metric(before)}, allowed "
        f"{format_metric(allowed)} (tolerance {format_percent(limits.tolerance)} of its gain over the floor): the new "
        "part costs more than it should; look at the gates (routing.jsonl of the run) and give it more updates"
    )
    return Check(name, passed, value, allowed, "" if passed else says, f"{format_metric(before)} before")


def _sample(rung: Rung) -> Iterator[Check]:
    """What the model writes, for tasks that can."""
    path = rung.config.entry.sample
    if path is None:
        return
    module, _, function = path.rpartition(".")
    found: Sample = getattr(importlib.import_module(module), function)(rung.model.eval(), rung.test)
    says = f"it writes nothing after {found.given!r}; look at the loss of the last tokens of an example"
    passed = bool(found.written.strip())
    note = f"after {found.given!r}; expected {found.expected!r}, {format_percent(found.agreement)} of it from the start"
    yield Check("sample", passed, found.written, "some text", "" if passed else says, note)


def _roles(model: TaskModel) -> dict[str, list[str]]:
    """Role -> names of its parameters; pretrained ones may be frozen on purpose and count where they are not."""
    return {
        role: names
        for role, items in parameters_by_role(model).items()
        if (names := [name for name, item in items if role != "pretrained" or item.requires_grad])
    }


def _frozen_router(model: TaskModel, names: Sequence[str]) -> str:
    """Says so where the parameters are those of routers."""
    routers = {id(p) for module in model.modules() if isinstance(module, Router) for p in module.parameters()}
    of_routers = [id(parameter) in routers for name, parameter in model.named_parameters() if name in set(names)]
    return "the router is frozen: " if of_routers and all(of_routers) else ""


def _switched_off(model: TaskModel, names: Sequence[str]) -> str:
    off = [name for name, parameter in model.named_parameters() if name in set(names) and not parameter.requires_grad]
    return " (requires_grad is off)" if off else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
