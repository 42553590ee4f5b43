"""What a run wrote down, and the rules about it: learning rates, losses, gates, heads, halting, budget.

Nothing is computed again here, so these rules cost nothing and see a run that failed, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from headwise.lab.doctor.findings import Confidence, Rules, Seen, listed
from headwise.lab.formatting import format_metric, format_percent
from headwise.lab.records import Run, number, readable_text
from headwise.reasoning.controllers import HRMActConfig
from headwise.training.config import RunConfig
from headwise.training.divergence import TrainingDiverged
from headwise.training.files import FAILURE
from headwise.training.schedules import learning_rate_factor, loss_weights
from headwise.training.scoring import COLLAPSED

RISE = 1.5  # of the training loss over its first line: noise of a batch stays below, a run that falls apart does not
UNREACHED = 0.01  # share of its rate that a role never came to, where the schedule has at least five times that
EVEN = 1e-3  # gates this near to 1 choose nothing: a rounding of the head outputs
SATURATED = 0.02  # normalised entropy: one of eight heads has 99.6 %, and the softmax passes on next to no gradient
CONSTANT = 0.01  # share of tokens that may differ where the same heads are chosen for all
OFF_TARGET = 0.25  # of the target, and at least one head: steering swings by less once it has settled
DOMINANT = 1.0  # routing losses as large as the task's decide where the gradient points
RATES = 100.0  # between learning rates of roles; the largest published is 20
REPLACED = 0.3  # update-to-weight ratio: weights are made new every three updates; 0.001 is usual
UNCHANGED = 1e-6  # update-to-weight ratio: a million updates to change them, near what float32 can hold at all
GROWTH = 30.0  # of a gradient norm over the run; a sound one falls, or grows by a few times as it learns
BEYOND = 4.0  # standard errors of the test examples by which a value may lie above its ceiling
ENOUGH = 4  # lines from which a trend can be read

rules = Rules("what a run wrote down")


@dataclass(frozen=True)
class Recorded:
    """A run directory, read back.

    Attributes:
        run: its records.
        config: its settings.
    """

    run: Run
    config: RunConfig

    def train(self, key: str) -> tuple[list[float], list[float]]:
        """Updates and values of a number of the training lines."""
        return self.run.curve(key, "train")

    @cached_property
    def routing(self) -> list[dict[str, Any]]:
        """What the gates did at each validation, oldest first."""
        return [line for line in self.run.routing if line.get("split") == "validation"]

    @cached_property
    def layers(self) -> list[dict[str, Any]]:
        """What they did in each layer, at the last."""
        return self.routing[-1].get("layers", []) if self.routing else []

    @property
    def frozen(self) -> bool:
        """Whether the schedule leaves the routers at their start up to the end."""
        training = self.config.training
        return round(training.freeze_controller * training.updates) >= training.updates

    @property
    def shared(self) -> int:
        """Heads that are always on."""
        return int(getattr(self.config.arm.gate, "shared", 0))

    def last(self, key: str) -> float | None:
        """A number of the last validation's routing."""
        return number(self.routing[-1].get(key)) if self.routing else None


@rules(
    "loss is not finite",
    symptom="loss nan, or it rises",
    diagnosis="training diverged: a number overflowed, or every update makes the loss larger",
    remedy="lower training.preset.lr, lengthen training.warmup, clip lower; the role named is where it began",
    command="headwise report {target}",
)
def diverged(recorded: Recorded) -> Iterator[Seen]:
    said = readable_text(recorded.run.directory / FAILURE)
    lines = [line for line in recorded.run.metrics if "task_loss" in line and number(line["task_loss"]) is None]
    if TrainingDiverged.__name__ in said:
        yield Seen("training", " ".join(said.split())[:200], "sure")
    elif lines:
        yield Seen(str(lines[0].get("split")), f"update {lines[0]['update']}: the loss is no number", "sure")
    updates, losses = recorded.train("task_loss")
    if len(losses) >= ENOUGH and 0 < RISE * losses[0] < (end := median(_end(losses))):
        yield Seen(
            "training", f"loss {format_metric(losses[0])} at update {updates[0]:g}, {format_metric(end)} later on"
        )


@rules(
    "learning rate is 0",
    symptom="the loss stands still from the first update on",
    diagnosis="the rate of a role never comes near the one that was asked for",
    remedy="look at what writes the optimiser's rates; a warm-up must not start at 0 and has to end",
    command="grep -o '\"lr/[a-z]*\": [^,]*' {target}/metrics.jsonl",
)
def rate_never_reached(recorded: Recorded) -> Iterator[Seen]:
    training = recorded.config.training
    for role, rate in training.preset.learning_rates().items():
        updates, rates = recorded.train(f"lr/{role}")
        planned = [
            rate * learning_rate_factor(int(update) - 1, training.updates, training.warmup, training.schedule)
            for update in updates
        ]
        if rates and max(rates) < UNREACHED * rate and max(planned) > 5 * UNREACHED * rate:
            evidence = f"at most {max(rates):.2g} at {len(rates)} lines, asked for {rate:.2g}"
            yield Seen(role, evidence, "sure")


@rules(
    "rates by role out of proportion",
    symptom="one part learns, another stands still or never settles",
    diagnosis="learning rates of two roles lie a factor of a hundred apart, or an update replaces a third of a role's "
    "weights, or next to nothing of them",
    remedy="compare with training.preset=uniform: under Adam one rate suits all roles",
    command="grep -o '\"update_ratio/[a-z]*\": [^,]*' {target}/metrics.jsonl",
)
def rates_out_of_proportion(recorded: Recorded) -> Iterator[Seen]:
    rates = recorded.config.training.preset.learning_rates()
    trained = {role: rate for role, rate in rates.items() if recorded.train(f"grad_norm/{role}")[1]}
    if trained and max(trained.values()) > RATES * min(trained.values()):
        fast, slow = max(trained, key=lambda role: trained[role]), min(trained, key=lambda role: trained[role])
        yield Seen(f"{fast} and {slow}", f"learning rates {trained[fast]:.2g} and {trained[slow]:.2g}")
    for role in trained:
        ratios = recorded.train(f"update_ratio/{role}")[1]
        if len(ratios) < ENOUGH:
            continue
        half = len(ratios) // 2
        if (ratio := median(ratios[half:])) > REPLACED:
            yield Seen(role, f"an update changes its weights by {format_percent(ratio)} of their norm")
        elif (ratio := median(ratios[:half])) < UNCHANGED:  # later on the schedule makes updates small
            yield Seen(role, f"an update changes its weights by {ratio:.1g} of their norm")


@rules(
    "gradient norm explodes",
    symptom="a gradient norm that grows throughout, updates that are all clipped",
    diagnosis="the scale of what is back-propagated grows: gates, routing losses or the loop over refinement steps",
    remedy="look at the scale of the gates and of training.losses, then at the learning rate; run the ladder",
    command="headwise report {target}",
)
def gradients_explode(recorded: Recorded) -> Iterator[Seen]:
    for role in recorded.config.training.preset.learning_rates():
        norms = recorded.train(f"grad_norm/{role}")[1]
        if len(norms) < 2 * ENOUGH:
            continue
        before, after = median(norms[: len(norms) // 2]), median(_end(norms))
        if after > 1 and after > GROWTH * before:  # a norm below 1 is clipped by no preset
            yield Seen(role, f"gradient norm {after:.3g} in the last quarter, {before:.3g} in the first half")


@rules(
    "routing loss dominates",
    symptom="heads are balanced, or halting is early, and the task is not learned",
    diagnosis="the weighted routing losses (not the budget's, which finds its own strength, nor that of halting by "
    "judgement, which costs nothing) outweigh the task's",
    remedy="lower that weight in training.losses, or training.entropy.weight; raise training.ramp",
    command='grep \'"split": "train"\' {target}/metrics.jsonl | tail -1',
)
def routing_loss_dominates(recorded: Recorded) -> Iterator[Seen]:
    training = recorded.config.training
    weights = loss_weights(training, training.updates) | {"budget": 0.0, "halting": 0.0}
    task = recorded.train("task_loss")[1]
    second = len(task) // 2
    parts = {
        name: abs(weight * median(values[second:]))
        for name, weight in weights.items()
        if weight and len(values := recorded.train(name)[1]) == len(task) and values
    }
    # A task that is solved has a loss near 0; what is small beside its start harms nothing
    if parts and sum(parts.values()) > DOMINANT * max(median(task[second:]), 0.1 * task[0]):
        largest = max(parts, key=lambda name: parts[name])
        evidence = f"{format_metric(parts[largest])} beside a task loss of {format_metric(median(task[second:]))}"
        yield Seen(f"training.losses.{largest}", evidence)


@rules(
    "router at its start",
    symptom="a routed arm does what plain attention does; all gates are 1",
    diagnosis="the router's weights are the zeros that it began with, or hardly others",
    remedy="see that the optimiser holds the router and that a gradient reaches it (headwise ladder); train for longer",
    command="headwise report {target}",
)
def router_at_start(recorded: Recorded) -> Iterator[Seen]:
    norms = [number(layer.get("predictor_norms", {}).get("heads")) for layer in recorded.layers]
    if norms and not any(norms) and None not in norms and not recorded.frozen:
        yield Seen("routers", f"the norm of its weights is 0 in all {len(norms)} layers", "sure")
        return
    gates = recorded.run.gates
    if norms and gates is not None and not recorded.config.arm.gate.selects and abs(gates - 1).max() < EVEN:
        yield Seen("routers", f"no mean gate differs from 1 by more than {abs(gates - 1).max():.1g}", "possible")


@rules(
    "router saturated",
    symptom="the gates stopped changing early, one head has all",
    diagnosis="the softmax over heads is at an end where its gradient vanishes",
    remedy="raise the temperature (training.temperature), slow the router down, reward spread gates "
    "(training.entropy.direction=diverse)",
    command="headwise report {target}",
)
def router_saturated(recorded: Recorded) -> Iterator[Seen]:
    if not (recorded.config.arm.gate.softmax and recorded.config.arm.router.learned):
        return
    entropies = [number(layer.get("entropy_mean")) for layer in recorded.layers]
    found = [layer for layer, entropy in enumerate(entropies) if entropy is not None and entropy < SATURATED]
    if found:
        lowest = min(entropies[layer] or 0.0 for layer in found)
        yield Seen(_layers(found), f"entropy of the router is {format_percent(lowest)} of its maximum")


@rules(
    "heads collapsed",
    symptom="the mixture is as good as fewer heads without a router",
    diagnosis="the same heads are chosen for every token, whatever it is",
    remedy="add load_balance to arm.balance.losses, or arm.balance.bias_rate=0.001; compare with arm=static",
    command="headwise report {target}",
)
def heads_collapsed(recorded: Recorded) -> Iterator[Seen]:
    router = recorded.config.arm.router
    if not (recorded.config.arm.gate.selects and router.learned) or router.granularity == "layer":
        return
    found = [layer for layer, loads in enumerate(_loads(recorded)) if _constant(loads)]
    if found:
        before = _loads(recorded, -2)
        settled = len(found) == len(recorded.layers) and before and all(map(_constant, before))
        loads = ", ".join(f"{load:.2g}" for load in _loads(recorded)[found[0]])
        yield Seen(_layers(found), f"shares of tokens by head: {loads}", "likely" if settled else "possible")


@rules(
    "dead heads",
    symptom="some heads never get a gradient",
    diagnosis="no token of the validation examples uses them",
    remedy="add load_balance to arm.balance.losses, or fewer heads; a head that no one chooses cannot learn",
    command="headwise report {target}",
)
def dead_heads(recorded: Recorded) -> Iterator[Seen]:
    if not recorded.config.arm.router.learned:
        return
    for layer, loads in enumerate(_loads(recorded)):
        dead = [head for head, load in enumerate(loads, recorded.shared) if load == 0]
        if len(dead) == len(loads) and dead:
            yield Seen(f"layer {layer}", "no routed head is used by any token", "sure")
        elif dead and not _constant(loads):
            evidence = f"{len(dead)} of {len(loads)} routed heads unused: {listed(list(map(str, dead)))}"
            yield Seen(f"layer {layer}", evidence, "possible")


@rules(
    "budget never met",
    symptom="more or fewer heads are on than arm.balance.target says",
    diagnosis="the steering does not reach its target, or has no effect on the router",
    remedy="train for longer, raise arm.balance.target_rate; see that training.losses.budget is not 0",
    command="headwise report {target}",
)
def budget_never_met(recorded: Recorded) -> Iterator[Seen]:
    target = recorded.config.arm.balance.target
    active = recorded.run.routing_curve("heads_active_mean")[1]
    if target is None or len(active) < ENOUGH:
        return
    gaps = [abs(value - target) for value in active]
    if min(_end(gaps)) > max(1.0, OFF_TARGET * target):
        confidence: Confidence = "possible" if gaps[-1] < 0.8 * max(gaps[: len(gaps) // 2]) else "likely"
        yield Seen("all layers", f"{active[-1]:.2f} heads active on average, target {target:g}", confidence)


@rules(
    "halting collapsed",
    symptom="refinement stops at the first step",
    diagnosis="the cost of a step decided before the task loss had a gradient worth following",
    remedy="lower training.losses.ponder, raise training.ramp, start deeper (arm.halting.bias)",
    command="headwise evaluate {target}",
)
def halting_collapsed(recorded: Recorded) -> Iterator[Seen]:
    steps, most = recorded.last("refinement_steps_mean"), recorded.config.arm.refinement.steps_in_all
    if recorded.config.arm.halting.halts and steps is not None and most > 1 and steps < COLLAPSED:
        yield Seen("halting", f"{steps:.2f} of {most} refinement steps are taken on average", "sure")


@rules(
    "slow module never fires",
    symptom="a two-time-scale arm does what its fast module does",
    diagnosis="the slow module of the controller is not run at all, or for few examples",
    remedy="lower training.losses.slow_updates; see arm.controller.period, or use arm.controller=hrm",
    command="headwise report {target}",
)
def slow_module_silent(recorded: Recorded) -> Iterator[Seen]:
    controller, updates = recorded.config.arm.controller, recorded.last("slow_updates")
    has_slow = controller.slow_period is not None or isinstance(controller, HRMActConfig)
    if has_slow and updates is not None and updates < 0.5:
        evidence = f"{updates:.2g} updates an example in {recorded.config.arm.refinement.steps_in_all} steps"
        yield Seen("controller", evidence, "likely" if updates else "sure")


@rules(
    "better than possible",
    symptom="a result that is too good",
    diagnosis="the value lies beyond what the best possible predictor reaches on the same examples: a leak of the "
    "answer, or of later inputs in a causal model",
    remedy="look at what the model reads, at the attention mask and at the splits; doubt the metric",
    command="headwise evaluate {target}",
)
def better_than_possible(recorded: Recorded) -> Iterator[Seen]:
    summary = recorded.run.summary
    value, floor, ceiling = (number(summary.get(key)) for key in ("value", "floor", "ceiling"))
    values = recorded.run.test_values
    if value is None or floor is None or ceiling is None or values is None or ceiling == floor:
        return
    beyond = (value - ceiling) * math.copysign(1, ceiling - floor)
    error = float(values.std()) / math.sqrt(len(values))
    if beyond > BEYOND * error + 0.02 * abs(ceiling - floor):  # references may be taken on fewer examples
        evidence = f"{summary.get('metric')} {format_metric(value)}, ceiling {format_metric(ceiling)}"
        yield Seen("test", evidence, "likely")


@rules(
    "no better than the floor",
    symptom="the metric stays at that of a trivial predictor",
    diagnosis="nothing was learned yet that the simplest predictor does not know; the other rules say why, if one does",
    remedy="more updates, another learning rate; then the ladder, which goes from simple arms to rich ones",
    command="headwise evaluate {target}",
)
def at_the_floor(recorded: Recorded) -> Iterator[Seen]:
    summary = recorded.run.summary
    value, floor, ceiling = (number(summary.get(key)) for key in ("value", "floor", "ceiling"))
    if value is None or floor is None:
        return
    up = summary.get("higher_is_better", True) if ceiling is None else ceiling > floor
    if (value <= floor) if up else (value >= floor):
        evidence = f"{summary.get('metric')} {format_metric(value)}, floor {format_metric(floor)}"
        yield Seen("test", evidence, "possible")


@rules(
    "training examples are learned by heart",
    symptom="the training loss falls, the validation loss rises",
    diagnosis="the model repeats its training examples; beyond the best validation every update costs",
    remedy="more examples, model.dropout, fewer updates or training.patience; the best weights are kept either way",
    command="headwise report {target}",
)
def learned_by_heart(recorded: Recorded) -> Iterator[Seen]:
    losses, own = recorded.run.curve("task_loss")[1], recorded.train("task_loss")[1]
    if len(losses) >= ENOUGH and 0 < RISE * min(losses) < losses[-1] and own and own[-1] < min(losses):
        evidence = f"validation loss {format_metric(losses[-1])}, at best {format_metric(min(losses))}"
        yield Seen("validation", evidence, "possible")


def _end(values: Sequence[float]) -> Sequence[float]:
    """The last quarter."""
    return values[-max(1, len(values) // 4) :]


def _loads(recorded: Recorded, line: int = -1) -> list[list[float]]:
    """Share of tokens that use each routed head, by layer, at one of the validations; without what never varies."""
    if len(recorded.routing) < -line:
        return []
    layers = recorded.routing[line].get("layers", [])
    return [layer["load"][recorded.shared :] for layer in layers if layer.get("load")]


def _constant(loads: Sequence[float]) -> bool:
    """Whether some heads are off and each is off, or on, for all tokens."""
    return min(loads) <= CONSTANT and all(load <= CONSTANT or load >= 1 - CONSTANT for load in loads)


def _layers(numbers: Sequence[int]) -> str:
    return f"layer {numbers[0]}" if len(numbers) == 1 else f"layers {', '.join(map(str, numbers))}"
