"""Records of runs, each with one defect planted: lines as `headwise train` writes them, and the rule that names it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headwise.lab.doctor.recorded import Recorded
from headwise.lab.records import Run
from headwise.training.configuration import load
from headwise.training.schedules import learning_rate_factor

UPDATES, EVERY = 120, 10
HEADS = 4
SHAPE = ["task=sorting", "model.width=16", "model.heads=4", "model.depth=1", f"training.updates={UPDATES}"]
ROLES = ("backbone", "controller", "readout")

Plant = Callable[[Path], Recorded]
PLANTED: dict[str, tuple[str, Plant]] = {}
"""What was planted -> the rule that must name it, and what makes the records in a directory."""


def planted(rule: str) -> Callable[[Plant], Plant]:
    """The decorated function plants a defect that this rule must name."""

    def registered(make: Plant) -> Plant:
        PLANTED[make.__name__] = (rule, make)
        return make

    return registered


def sound(folder: Path, *words: str, train: Any = None, routing: Any = None, **summary: Any) -> Recorded:
    """A run whose loss falls and whose gates move, under settings `words`.

    Args:
        train: (share of the run) -> values that a training line has instead.
        routing: the same for a line about the gates at a validation.
    """
    config = load([*SHAPE, *words])
    training, metrics, lines = config.training, [], []
    for update in range(EVERY, UPDATES + 1, EVERY):
        done = update / UPDATES
        factor = learning_rate_factor(update - 1, training.updates, training.warmup, training.schedule)
        line: dict[str, Any] = {"task_loss": 3.0 - 2 * done, "loss": 3.0 - 2 * done}
        for role in ROLES:
            line |= {f"grad_norm/{role}": 2.0 - done, f"update_ratio/{role}": 0.002}
            line |= {f"lr/{role}": training.preset.learning_rates()[role] * factor}
        metrics.append({"update": update, "split": "train"} | line | (train(done) if train else {}))
        metrics.append({"update": update, "split": "validation", "task_loss": 3.1 - 2 * done})
        lines.append({"update": update, "split": "validation", **gates(), **(routing(done) if routing else {})})
    values = np.random.default_rng(0).normal(0.5, 0.1, 200).astype(np.float32)
    facts = {"metric": "rank_tau", "value": 0.5, "floor": 0.0, "ceiling": 0.52, "higher_is_better": True, **summary}
    return Recorded(Run(folder, facts, metrics, lines, values), config)


def gates(**changes: Any) -> dict[str, Any]:
    """What a line says of a layer whose router has moved and uses all heads."""
    layer = {"predictor_norms": {"heads": 0.4}, "load": [0.9, 0.6, 0.3, 0.2], "entropy_mean": 0.8} | changes
    line = {"heads_active_mean": sum(layer["load"]), "refinement_steps_mean": 4.0, "slow_updates": 2.0}
    return line | {"layers": [layer], "gates": [[[1.2, 0.9, 1.1, 0.8]]]}


@planted("loss is not finite")
def an_error_that_says_so(folder: Path) -> Recorded:
    (folder / "error.txt").write_text("TrainingDiverged: update 31: loss nan, gradients blew up in controller")
    return sound(folder)


@planted("loss is not finite")
def a_loss_that_is_null(folder: Path) -> Recorded:
    return sound(folder, train=lambda done: {"task_loss": None if done > 0.5 else 2.0})


@planted("loss is not finite")
def a_loss_that_rises(folder: Path) -> Recorded:
    return sound(folder, train=lambda done: {"task_loss": 1.0 + 5 * done})


@planted("learning rate is 0")
def a_controller_without_a_rate(folder: Path) -> Recorded:
    return sound(folder, train=lambda done: {"lr/controller": 0.0})


@planted("rates by role out of proportion")
def a_controller_a_thousand_times_as_fast(folder: Path) -> Recorded:
    return sound(folder, "training=gradual", "training.preset={name: stable, lr: 0.001, controller_lr: 1.0}")


@planted("rates by role out of proportion")
def weights_replaced_at_every_update(folder: Path) -> Recorded:
    return sound(folder, train=lambda done: {"update_ratio/controller": 0.7})


@planted("rates by role out of proportion")
def weights_that_hardly_move(folder: Path) -> Recorded:
    return sound(folder, train=lambda done: {"update_ratio/backbone": 1e-8})


@planted("gradient norm explodes")
def a_norm_that_grows_a_hundredfold(folder: Path) -> Recorded:
    return sound(folder, train=lambda done: {"grad_norm/backbone": 0.5 * 1000**done})


@planted("routing loss dominates")
def a_ponder_cost_five_hundred_times_too_strong(folder: Path) -> Recorded:
    return sound(folder, "arm=hrm", "training.losses.ponder=5", train=lambda done: {"ponder": 3.0})


@planted("router at its start")
def a_router_that_is_still_zero(folder: Path) -> Recorded:
    return sound(folder, "arm=linear", routing=lambda done: gates(predictor_norms={"heads": 0.0}))


@planted("router saturated")
def a_router_without_entropy(folder: Path) -> Recorded:
    return sound(folder, "arm=linear", routing=lambda done: gates(entropy_mean=0.8 if done < 0.3 else 0.001))


@planted("heads collapsed")
def the_same_two_heads_for_every_token(folder: Path) -> Recorded:
    return sound(folder, "arm=pointer", routing=lambda done: gates(load=[1.0, 0.0, 1.0, 0.0]))


@planted("dead heads")
def a_layer_without_a_head(folder: Path) -> Recorded:
    return sound(folder, "arm=relu", "arm.balance.target=1", routing=lambda done: gates(load=[0.0] * HEADS))


@planted("budget never met")
def three_heads_too_many_throughout(folder: Path) -> Recorded:
    words = ["arm=relu", "arm.balance.target=1"]
    return sound(folder, *words, routing=lambda done: gates(load=[1.0] * HEADS))


@planted("halting collapsed")
def one_step_of_six(folder: Path) -> Recorded:
    words = ["arm=hrm", "arm.halting=ponder"]
    return sound(folder, *words, routing=lambda done: {"refinement_steps_mean": 6.0 - 5 * min(1, 2 * done)})


@planted("slow module never fires")
def a_pace_learned_to_be_none(folder: Path) -> Recorded:
    return sound(folder, "arm=hrm_act", routing=lambda done: {"slow_updates": 3 * max(0.0, 0.5 - done)})


@planted("better than possible")
def a_value_above_its_ceiling(folder: Path) -> Recorded:
    return sound(folder, value=0.6)


@planted("better than possible")
def a_loss_below_what_the_data_allow(folder: Path) -> Recorded:
    return sound(folder, value=0.1, floor=2.0, ceiling=0.5, metric="loss", higher_is_better=False)


POSSIBLE = {
    "no better than the floor": lambda folder: sound(folder, value=-0.01),
    "training examples are learned by heart": lambda folder: by_heart(folder),
    "dead heads": lambda folder: sound(folder, "arm=pointer", routing=lambda done: gates(load=[1, 0.4, 0.6, 0])),
    "router at its start": lambda folder: sound(folder, "arm=linear", routing=lambda done: even()),
    "budget never met": lambda folder: sound(
        folder, "arm=relu", "arm.balance.target=1", routing=lambda done: gates(load=[1 - done / 4] * HEADS)
    ),
}
"""What sound runs show, too: a finding that is only possible."""


def by_heart(folder: Path) -> Recorded:
    """The validation loss rises again after a third of the run."""
    found = sound(folder)
    lines = [
        line | {"task_loss": 2.5 + abs(line["update"] / UPDATES - 0.3) * 4} if line["split"] == "validation" else line
        for line in found.run.metrics
    ]
    return replace(found, run=replace(found.run, metrics=lines))


def even() -> dict[str, Any]:
    """Gates that do not differ from 1, of a router that is not zero."""
    return gates() | {"gates": [[[1.0001, 0.9999, 1.0, 1.0]]]}
