"""The rules about any model with roles: what a few passes over a few batches show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from headwise.lab.doctor.case import Case, Metric, repeatable, rows_of, total
from headwise.lab.doctor.findings import Rules, Seen, listed
from headwise.lab.doctor.gate_reach import NOTHING, gate_reach
from headwise.lab.doctor.recorded import RATES
from headwise.lab.formatting import format_percent
from headwise.lab.ladder.gate_order import disorder, disorder_of
from headwise.routing.routers import Scored
from headwise.tasks.base import TaskModel
from headwise.training.optim import OptimizerMismatchError, check_optimizer

SAME = 1e-5  # relative difference of two losses that rounding may make, in whatever order products are summed
DOMINANT = 10.0  # times the task's term: the gradient is then that of the other terms
TINY = 1e-9  # a learning rate below the spacing of float32 around weights of usual size, 0.05
STEPS_APART = 100.0  # between output norms of first and last step; a residual stream grows about as their number
GRADIENTS_APART = 1e4  # between the gradients there; a loop that has learned to converge forgets its first steps
WORSE = 1.25  # by which the loss must grow before a model counts as degraded
NOISES = ((1.0, 1), (1.0, 2), (1.0, 3), (3.0, 1), (3.0, 2))  # of a parameter's own size, with the seed
SHARED = 0.05  # of the validation examples that may be in training, too, as few possible examples make happen

rules = Rules("a model and a few batches")


@rules(
    "optimiser of another model",
    symptom="not one parameter of the model changes, or some never do",
    diagnosis="the optimiser holds other parameters than the model has: one optimiser for two models, "
    "or made before parts were replaced",
    remedy="make one for each model, after it is built: headwise.optimizer_for(model, preset)",
    command="headwise doctor {target}",
)
def optimiser_of_another(case: Case) -> Iterator[Seen]:
    if case.optimizer is None:
        return
    try:
        check_optimizer(case.optimizer, case.model)
    except OptimizerMismatchError as error:
        yield Seen("optimiser", str(error).partition("; make one")[0], "sure")


@rules(
    "parameter group without a learning rate",
    symptom="the loss stands still",
    diagnosis="the rate of a group is 0, or so small that float32 weights do not change: a schedule that starts at 0 "
    "and is not stepped, or a warm-up that does not end",
    remedy="step the schedule after the optimiser, start the warm-up at 1/warm-up of the rate",
    command="headwise doctor {target}",
)
def group_without_rate(case: Case) -> Iterator[Seen]:
    if case.optimizer is None:
        return
    for number, group in enumerate(case.optimizer.param_groups):
        if float(group["lr"]) < TINY:
            scheduled = "initial_lr" in group
            evidence = f"learning rate {float(group['lr']):.2g}"
            evidence += f", {group['initial_lr']:.2g} before its schedule" if scheduled else ""
            # A schedule that starts at 0 wastes one step; one that is still there after steps is never stepped
            at_start = scheduled and not case.optimizer.state
            yield Seen(str(group.get("name", f"group {number}")), evidence, "possible" if at_start else "sure")


@rules(
    "rates by role far apart",
    symptom="one part of a model of your own learns, another never settles",
    diagnosis="the optimiser's learning rates of two roles lie a factor of a hundred apart",
    remedy="begin with headwise.optimizer_for(model, 'uniform'): under Adam one rate suits all roles",
    command="headwise doctor {target}",
)
def rates_far_apart(case: Case) -> Iterator[Seen]:
    names = {id(parameter): name for name, parameter in case.model.named_parameters()}
    rates: dict[str, float] = {}
    for group in case.optimizer.param_groups if case.optimizer else ():
        for parameter in group["params"]:
            if role := case.roles.get(names.get(id(parameter), ""), ""):
                rates[role] = max(rates.get(role, 0.0), float(group["lr"]))
    if rates and max(rates.values()) > RATES * min(rates.values()) > 0:
        yield Seen(" and ".join(rates), ", ".join(f"{role} {rate:.2g}" for role, rate in rates.items()))


@rules(
    "frozen parameters",
    symptom="a part of the model stays as it was",
    diagnosis="requires_grad is off, and the role is not pretrained",
    remedy="requires_grad_(True), or role = 'pretrained' for what is frozen on purpose",
    command="headwise doctor {target}",
)
def frozen(case: Case) -> Iterator[Seen]:
    off = [name for name, p in case.model.named_parameters() if not p.requires_grad]
    names = [name for name in off if case.roles.get(name) != "pretrained" and name not in case.frozen]
    if names:
        evidence = f"{len(names)} of {len(case.roles)} parameters need no gradient"
        yield Seen(listed(names), evidence, "likely" if any(case.roles.values()) else "possible")


@rules(
    "evaluation mode in training",
    symptom="dropout has no effect, routers return no losses, or validation differs from training",
    diagnosis="some modules, or all, are in evaluation mode where the model is trained, or are left there by the loss",
    remedy="call model.train() after each validation; leave modes alone in forward and in the loss",
    command="headwise doctor {target}",
)
def evaluating(case: Case) -> Iterator[Seen]:
    kept = [name for name, module in case.model.named_modules() if getattr(module, "role", None) == "pretrained"]
    modules = {
        name: module
        for name, module in case.model.named_modules()
        if not any(name == one or name.startswith(f"{one}.") for one in kept)  # those may stay in evaluation mode
    }
    off = [name or type(case.model).__name__ for name, module in modules.items() if not module.training]
    if case.as_trained and off:
        whole = len(off) == len(modules)
        yield Seen("the whole model" if whole else listed(off), f"{len(off)} of {len(modules)} modules evaluate")
    elif case.first.evaluating:
        named = listed([name or type(case.model).__name__ for name in case.first.evaluating])
        yield Seen(named, "in training mode before the loss is computed, in evaluation mode after it", "sure")


@rules(
    "loss of a batch is not finite",
    symptom="loss nan at once",
    diagnosis="a number overflows, a logarithm or a division meets 0, or a row of attention is masked altogether",
    remedy="look at the module named, with its inputs; clamp logarithms, keep one key unmasked",
    command="headwise doctor {target}",
)
def loss_not_finite(case: Case) -> Iterator[Seen]:
    if not math.isfinite(case.first.loss):
        yield Seen(case.first.not_finite or "the loss itself", f"loss {case.first.loss:g} of the first batch", "sure")


@rules(
    "no gradient",
    symptom="a part of the model never changes, whatever the rate",
    diagnosis="the loss does not depend on these parameters, or a detach, a no_grad or a hard choice cuts the way",
    remedy="look for a detach, .item(), torch.no_grad and argmax on the way, and for an output that nothing uses",
    command="headwise doctor {target}",
)
def no_gradient(case: Case) -> Iterator[Seen]:
    missing = [name for name in case.trainable if not case.gradients[name] > 0]
    if not missing:
        return
    if len(missing) == len(case.trainable):
        cause = "is exactly 0: its outputs are saturated, or the loss is that of another model than the one it is given"
        evidence = f"the gradient {cause}" if case.first.has_gradient else "the loss is detached from it"
        yield Seen("the whole model", evidence, "sure")
        return
    by_role: dict[str, list[str]] = {}
    for name in missing:
        by_role.setdefault(case.roles.get(name, ""), []).append(name)
    for role, names in by_role.items():
        where = f"{role}: {listed(names)}" if role else listed(names)
        evidence = f"{len(names)} parameters without a gradient in {len(case.passed)} batches"
        yield Seen(where, evidence, "sure")


@rules(
    "update does not arrive",
    symptom="gradients are there, the weights stay",
    diagnosis="a step of the optimiser leaves parameters where they are, though they have a gradient",
    remedy="see which group holds them and at what rate; do not set gradients to None before the step",
    command="headwise doctor {target}",
)
def update_does_not_arrive(case: Case) -> Iterator[Seen]:
    if case.optimizer is not None and (still := case.unmoved):
        yield Seen(listed(still), f"{len(still)} of {len(case.trainable)} parameters did not move in one step", "sure")


@rules(
    "gates do not reach the output",
    symptom="routing changes nothing, or learns nothing, or the gradient norm is ten times the usual",
    diagnosis="the loss depends on what a controller or router gives and the backward pass does not, or neither does",
    remedy="look at what stands between the gates and the output: a backward of your own that ignores them, a detach, "
    "an argument in the wrong place",
    command="headwise doctor {target}",
)
def gates_do_not_reach(case: Case) -> Iterator[Seen]:
    for reach in gate_reach(case):
        size = NOTHING * max(1.0, abs(case.first.loss))
        if reach.measured > 100 * size and reach.claimed < size:
            evidence = f"the loss changes with its output by {reach.measured:.2g}, the gradient is {reach.claimed:.2g}"
            yield Seen(reach.module, evidence, "sure")
        elif reach.measured < size and reach.claimed < size:
            yield Seen(reach.module, "the loss does not change with its output", "likely")


@rules(
    "inverted gates",
    symptom="the more a router prefers a head, the less it is used",
    diagnosis="a head with a larger score gets the smaller gate",
    remedy="look at the sign of the gate function's threshold: sigmoid((threshold - what ranks before)·s)",
    command="headwise doctor {target}",
)
def inverted_gates(case: Case) -> Iterator[Seen]:
    if isinstance(case.model, TaskModel):
        found = {"": disorder(deepcopy(case.model), case.batches[0])}
    else:
        generator = torch.Generator().manual_seed(0)
        routers = {name: part for name, part in case.model.named_modules() if isinstance(part, Scored)}
        found = {
            name: disorder_of(router, torch.randn(1, 200, sum(router.columns.values()), generator=generator))
            for name, router in routers.items()
        }
    for name, shares in found.items():
        modes = [mode for mode, share in shares.items() if share]
        if modes:
            tokens = format_percent(max(shares.values()))
            evidence = f"for {tokens} of the tokens a better head has a smaller gate ({', '.join(modes)})"
            yield Seen(name or "routers", evidence, "sure")


@rules(
    "detached loss term",
    symptom="a regulariser has no effect, whatever its weight",
    diagnosis="a term of the loss has no gradient: it was detached, or turned into a float",
    remedy="add tensors, not .item() or float(); compute the term outside torch.no_grad",
    command="headwise doctor {target}",
)
def detached_term(case: Case) -> Iterator[Seen]:
    for name, (value, has_gradient) in case.first.terms.items():
        if not has_gradient:
            yield Seen(name, f"value {value:.3g}, without a gradient", "sure")


@rules(
    "side loss dominates",
    symptom="what the side loss asks for is done, and the task is not learned",
    diagnosis="the other terms of the loss outweigh the first, the task's, by ten times",
    remedy="lower their weights; raise them from 0 over the first part of training",
    command="headwise doctor {target}",
)
def side_loss_dominates(case: Case) -> Iterator[Seen]:
    (main, (task, _)), *others = [*case.first.terms.items()] or [("", (0.0, False))]
    sizes = {name: abs(value) for name, (value, _) in others if name != "budget"}  # which finds its own strength
    if sizes and sum(sizes.values()) > DOMINANT * abs(task):
        largest = max(sizes, key=lambda name: sizes[name])
        yield Seen(largest, f"{sizes[largest]:.3g} beside {task:.3g} of {main}")


@rules(
    "norms explode or vanish over steps",
    symptom="more refinement steps make it worse; the first steps get no gradient, or all of it",
    diagnosis="the hidden state, or the gradient that reaches it, changes many times over the steps",
    remedy="pre-norm and a residual around what is iterated, injection of the input, fewer steps, gradient=truncated",
    command="headwise doctor {target}",
)
def norms_over_steps(case: Case) -> Iterator[Seen]:
    outermost = _outermost(list(case.first.norms))
    for name in outermost:
        for what, values in zip(("output", "gradient"), zip(*case.first.norms[name], strict=True), strict=True):
            first, last = values[0], values[-1]
            most = STEPS_APART if what == "output" else GRADIENTS_APART
            if max(first, last) > most * min(first, last) > 0:
                evidence = f"norm of the {what} {first:.3g} at the first of {len(values)} steps, {last:.3g} at the last"
                # With learned halting the last steps count for less, and so do their gradients
                weighed = what == "gradient" and first > last
                yield Seen(name, evidence, "possible" if weighed else "likely")


@rules(
    "state kept between batches",
    symptom="results depend on the order of the examples, or training fails in its second update",
    diagnosis="a module keeps something of a batch that the next one sees: a hidden state, a cache, a list of losses",
    remedy="pass state in and out as arguments; return losses, do not append them",
    command="headwise doctor {target}",
)
def state_between_batches(case: Case) -> Iterator[Seen]:
    if (failure := case.second_pass()) is not None:
        yield Seen("the second update", failure, "sure")
        return
    first, again, later = case.repeated()
    other = later if len(case.passed) > 1 else again
    largest = max(abs(again - first), abs(other - first))
    if largest > SAME * max(1.0, abs(first)):
        evidence = f"loss {first:.6g} of a batch, {again:.6g} the second time, {later:.6g} after another batch"
        yield Seen("evaluation mode, the same random numbers", evidence, "sure")


@rules(
    "validation batches seen in training",
    symptom="validation is as good as training, new data is not",
    diagnosis="examples of the validation batches are in the training batches, too",
    remedy="split before anything is drawn or augmented; take duplicates out first",
    command="headwise doctor {target}",
)
def validation_seen(case: Case) -> Iterator[Seen]:
    if isinstance(case.model, TaskModel):  # whose splits are looked at as a whole
        return
    seen = {row for batch in case.batches for row in rows_of(batch)}
    rows = [row for batch in case.validation for row in rows_of(batch)]
    both = sum(row in seen for row in rows)
    if rows and both > SHARED * len(rows):
        yield Seen("validation", f"{both} of {len(rows)} examples are in the training batches", "sure")


@rules(
    "metric ranks models backwards",
    symptom="the loss falls and the metric gets worse; a worse model wins",
    diagnosis="whatever noise is put on the weights, the loss grows and the metric improves",
    remedy="try the metric on perfect and on shuffled predictions; look at its sign and at what is sorted by what",
    command="headwise doctor {target}",
)
def metric_backwards(case: Case) -> Iterator[Seen]:
    if case.metric is None:
        return
    loss, value = _scores(case, case.model, case.metric)
    losses, values = zip(*(_scores(case, _noisy(case.model, *noise), case.metric) for noise in NOISES), strict=True)
    sign = 1 if case.higher_is_better else -1
    if loss > 0 and min(losses) > WORSE * loss and all(sign * (other - value) > 0 for other in values):
        worse = f"{min(values):.4g} to {max(values):.4g}"
        share = format_percent(min(losses) / loss - 1)
        yield Seen(
            "metric", f"{value:.4g} as the model is, {worse} with noise that raises the loss by {share} and more"
        )


@torch.no_grad()
def _scores(case: Case, model: nn.Module, metric: Metric) -> tuple[float, float]:
    """Mean loss and metric over the validation batches, or over those of training where there are none."""
    twin = deepcopy(model).eval()
    batches = case.validation or case.passed
    with repeatable():
        losses = [total(case.loss(twin, batch)).item() for batch in batches]
        values = [torch.as_tensor(metric(twin, batch), dtype=torch.float64).nanmean().item() for batch in batches]
    return sum(losses) / len(losses), sum(values) / len(values)


@torch.no_grad()
def _noisy(model: nn.Module, size: float, seed: int) -> nn.Module:
    """A copy with noise on its weights, in proportion to their own size."""
    twin = deepcopy(model)
    with repeatable(seed):
        for parameter in twin.parameters():
            parameter.add_(size * parameter.norm() / math.sqrt(max(parameter.numel(), 1)) * torch.randn_like(parameter))
    return twin


def _outermost(names: list[str]) -> list[str]:
    """Those that lie in none of the others."""
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names if other != name)]
