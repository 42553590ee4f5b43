"""Arms, tasks and what their gates did, in words for a reader who did not run the comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from headwise.lab.formatting import format_count, format_percent, format_quantity, join_words
from headwise.lab.records import number
from headwise.models.arm import Arm
from headwise.reasoning.recursion import SingleStream
from headwise.reasoning.refinement import RefinementConfig
from headwise.schema import build
from headwise.tasks import TASKS

Plain = Mapping[str, Any]

# Standard deviation of gates (1 is plain attention) that is too small to matter: 5 % of a head's output.
STILL = 0.05
ONE_HEAD = 1.5  # effective heads below which nearly everything goes through one: 90 % of the weight, were there two
CONCENTRATED = 0.6  # effective heads, as a share of the active ones, below which the others hardly count
SHARED = 2.0  # times what equal gates would give them: shared heads beside which the routed ones hardly count
ABBREVIATIONS = {"uas", "las", "clas", "ucm", "lcm"}  # attachment scores and complete matches, of parsers
COLLAPSED = 1.2  # refinement steps below which learned halting has given refinement up


def describe_arm(arm: Plain, model: Plain) -> str:
    """One line: shape, loop, controller, router and gates, halting, each as it describes itself.

    Raises:
        InputError: a router, gate function, controller or halting policy that is not registered.
    """
    built = build(Arm, arm, "arm")
    parts = [_shape(model), _loop(arm["refinement"])]
    if built.controller.steers:
        parts.append(built.controller.describe())
    gates = f", {built.gate.describe()} gates" if built.router.scores else ""
    parts.append(built.router.describe() + gates)
    if built.halting.halts:
        parts.append(built.halting.describe())
    if arm["combine"] != "mask_concat":
        parts.append(f"heads combined as {arm['combine']}")
    if built.composition_rank:
        parts.append(f"heads lend each other attention at rank {built.composition_rank}")
    if built.output_gate != "none":
        parts.append(f"{built.output_gate} output gates")
    return "; ".join(parts)


def describe_task(name: str, summary: str, config: Plain) -> str:
    """What the task is, and with which settings it was run."""
    about = TASKS[name].about if name in TASKS else ""
    text = " ".join((about or summary).split())
    settings = ", ".join(f"{spaced(key)} {_short(value)}" for key, value in config.items() if value not in (None, 0))
    return f"{text.rstrip('.')}. Settings: {settings}." if settings else f"{text.rstrip('.')}."


def diagnose(label: str, arm: Plain, routing: Plain, spread: Plain) -> list[str]:
    """What is remarkable in the routing of a trained arm; nothing if all looks as it should.

    Args:
        label: the arm's name.
        arm: its plain configuration.
        routing: the last line of its routing diagnostics.
        spread: `Run.gate_spread()`.
    """
    said = []
    router = build(Arm, arm, "arm").router
    chooses = router.learned and router.granularity != "layer"
    by_input, by_step = number(spread.get("inputs")), number(spread.get("steps"))
    if spread and max(map(float, spread.values())) < STILL:
        said.append(
            f"{label} hardly routes: its gates differ from head to head, step to step and input to input by less than "
            f"{STILL:.2f}, so it computes nearly what the same model without a router would."
        )
    elif chooses and by_input is not None and by_input < STILL:
        said.append(
            f"{label} gives every input nearly the same gates (they vary by {by_input:.3f} over tokens and examples): "
            "a fixed weighting of its heads rather than a choice."
        )
    elif chooses and by_step is not None and by_step < STILL:
        said.append(f"{label} uses its heads alike at every refinement step (gates vary by {by_step:.3f} over steps).")
    said += _concentration(label, routing)
    if dead := number(routing.get("dead_heads")):
        used = "it" if round(dead) == 1 else "them"
        said.append(
            f"{label} has {format_quantity(round(dead), 'dead head')}: no token of the test examples used {used}."
        )
    steps, allowed = number(routing.get("refinement_steps_mean")), arm["refinement"]["steps"]
    if steps is not None and allowed > 1 and steps < COLLAPSED:
        said.append(f"{label} stops after {steps:.2f} of {allowed} steps: learned halting has collapsed.")
    return said


def _concentration(label: str, routing: Plain) -> list[str]:
    """Whether few heads carry nearly all weight among those that are on."""
    effective, active = number(routing.get("effective_heads_mean")), number(routing.get("heads_active_mean"))
    shared, weight = number(routing.get("shared_heads")), number(routing.get("shared_weight"))
    if effective is None or active is None or active <= 1:
        return []
    if shared and weight is not None and weight > SHARED * shared / active:
        return [
            f"{label} gives {format_percent(weight)} of its weight to the {format_quantity(round(shared), 'head')} "
            f"that every token shares, where equal gates would give {format_percent(shared / active)}: its routed "
            "heads, and so its choice, hardly count."
        ]
    if effective < ONE_HEAD:
        return [
            f"{label} sends nearly everything through one head: of {active:.2f} that are on, {effective:.2f} count."
        ]
    if effective < CONCENTRATED * active:
        return [f"{label} has {active:.2f} heads on, but weighs them so unequally that {effective:.2f} count."]
    return []


def unequal_cost(arms: Mapping[str, Plain]) -> str | None:
    """The cost in which the arms differ although they are matched, FLOPs or parameters, in a sentence; else None."""
    remedies = {
        "flops_ratio": (
            "FLOPs",
            "a deeper or looped arm without a router, or parity=flops, shows what compute alone buys",
        ),
        "parameter_ratio": ("parameters", "parity=parameters matches these instead"),
    }
    for key, (what, remedy) in remedies.items():
        most = max(arms, key=lambda label: arms[label][key])
        least = min(arms, key=lambda label: arms[label][key])
        ratio = arms[most][key] / arms[least][key]
        if ratio > 1.05:
            return f"{most} has {ratio:.1f} times the {what} of {least}: {remedy}."
    return None


def unequal_examples(arms: Mapping[str, Plain]) -> str | None:
    """Whether arms of more segments saw fewer examples in their updates, in a sentence; None if all saw as many."""
    seen = {label: count for label, arm in arms.items() if (count := number(arm.get("examples"))) is not None}
    if len(set(seen.values())) < 2:
        return None
    counts = join_words([f"{label} {format_count(count)}" for label, count in seen.items()])
    return f"An arm of several segments takes as many updates on each batch, so it saw fewer examples: {counts}."


def spaced(name: str) -> str:
    """A name from the code as words; abbreviations of the field in capitals."""
    return " ".join(word.upper() if word in ABBREVIATIONS else word for word in name.split("_"))


def no_reference_reached(references: Mapping[str, float], arms: Sequence[Plain], higher_is_better: bool) -> list[str]:
    """The simple predictors that lie beyond the interval of every arm (beyond the mean where there is no interval)."""
    sign = 1 if higher_is_better else -1
    ends = [arm["interval"] or [arm["mean"]] for arm in arms if number(arm["mean"]) is not None]
    best = max((sign * end for bounds in ends for end in bounds), default=None)
    return [spaced(name) for name, value in references.items() if best is not None and sign * value > best]


def _shape(model: Plain) -> str:
    blocks = format_quantity(model["depth"], "block")
    along, radius = model.get("structural_heads", 0), model.get("relative", 0)
    if isinstance(along, Mapping):
        near = join_words([f"{count} along {spaced(name)}" for name, count in along.items() if count])
    else:
        near = f"{along} along relations of the tokens" if along else ""
    heads = f"{model['heads']} heads" + (f" ({near})" if near else "")
    bias = f", bias by position up to {radius} away" if radius else ""
    ffn = f"FFN {model['ffn']}" if model["ffn"] else "no FFN"
    return f"{blocks} of width {model['width']}, {heads}, {ffn}{bias}{_kind(model)}"


def _kind(model: Plain) -> str:
    """What is not as by default in the blocks; runs of earlier versions do not say."""
    activations = {"relu": "ReLU", "swiglu": "SwiGLU"}
    norms = {"rms": "RMS norms", "rms_unscaled": "RMS norms without weights"}
    said = [
        activations.get(model.get("activation", "")),
        norms.get(model.get("norm", "")),
        "norm last" if model.get("norm_placement") == "post" else None,
        None if model.get("bias", True) else "no biases",
        "rotary positions" if model.get("rotary") else None,
        "truncated normal at the start" if model.get("init") == "truncated_normal" else None,
    ]
    return "".join(f", {part}" for part in said if part)


def _loop(loop: Plain) -> str:
    segments = loop.get("segments", 1)
    if loop["steps"] * segments == 1:
        return "applied once"
    text = f"applied {format_quantity(loop['steps'], 'time')}"
    text += f" in each of {segments} segments, from the state of the one before" if segments > 1 else ""
    text += ", the embedding added again each time" if loop["injection"] == "input" else ""
    refined = build(RefinementConfig, loop, "arm.refinement")
    text += f", in which {refined.recursion.describe()}" if refined.recursion != SingleStream() else ""
    text += "" if refined.initial_state.embeds else f", from a {refined.initial_state.describe()}"
    text += f", noise {refined.noise:g} on the path" if refined.noise else ""
    which = f"the last {loop['supervised']} steps" if loop.get("supervised") else "every step"
    text += {"last": "", "uniform": f", {which} supervised", "ramp": f", {which} supervised, later ones more"}[
        loop["supervision"]
    ]
    if loop["gradient"] != "full":
        text += f", gradient {loop['gradient']}" + (f" {loop['window']}" if loop["gradient"] == "truncated" else "")
    return text + (f", {spaced(loop['reuse'])} reused" if loop["reuse"] != "none" else "")


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        own = ", ".join(f"{spaced(key)} {_short(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')} ({own})".strip() if own else str(value.get("name", ""))
    return format_count(value) if isinstance(value, int) and not isinstance(value, bool) else spaced(str(value))
