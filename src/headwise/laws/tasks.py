"""Laws of tasks: data is a function of settings, seed and index; an example's loss is its own; all of it trains; where
the distribution shifts, so do the test examples; and what it draws is plain data."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.laws.arms import SHAPE
from headwise.models.arm import Arm, check
from headwise.schema import build, to_plain
from headwise.tasks import TASKS
from headwise.tasks.base import Batch, Source, TaskData, TaskEntry, TaskModel
from headwise.tasks.scenes import COMMON, KINDS, Example, token_scene

SPLITS = ("train", "validation", "test")
EXAMPLES = 5


def of_task(name: str) -> list[str]:
    """What of a registered task breaks any of these laws, on the small instance that its entry gives."""
    entry = TASKS[name]
    config = build(entry.config, dict(entry.example), "task")
    data, again = entry.data(config, 0), entry.data(config, 0)
    return [
        *declarations(name, entry),
        *of_data(data, again),
        *of_model(entry, config, data),
        *of_shifts(entry, config),
        *of_scenes(entry, config, data),
    ]


def declarations(name: str, entry: TaskEntry) -> list[str]:
    """What its entry and its class say differently."""
    task = entry.task
    rules = {
        f"registered as {name}, its entry says {entry.name} and its class {task.name}": name == entry.name == task.name,
        "no summary": bool(entry.summary),
        "the direction of the primary metric is said twice, differently": (task.metric in task.lower_is_better)
        != task.higher_is_better,
    }
    return [text for text, holds in rules.items() if not holds]


def of_data(data: TaskData, again: TaskData) -> list[str]:
    """Splits that are empty, differ from seed to the same seed, or change with the batch; facts that are not plain."""
    broken = [] if json.loads(json.dumps(data.facts)) == data.facts else ["facts are not plain JSON"]
    for split in SPLITS:
        source = data.split(split)
        if not len(source):
            broken.append(f"{split} has no examples")
        elif source.fingerprint() != again.split(split).fingerprint():
            broken.append(f"{split}: the same seed gives other examples")
    source = data.split("test")
    for who, values in data.references(source).items():
        if values.shape != (len(source),):
            broken.append(f"reference {who}: {list(values.shape)} values for {len(source)} examples")
    return broken


def of_shifts(entry: TaskEntry, config: Any) -> list[str]:
    """Values of its axes that are no settings of its own, or leave the test examples as they are, and a number of
    training examples that it does not have. What it refuses in a line is no mistake."""
    own, plain = entry.data(config, 0).split("test").fingerprint(), to_plain(config)
    size = entry.task.training_size
    broken = [] if size is None or size in plain else [f"training_size={size}: no key of its configuration"]
    for axis, shift in entry.task.shifts(config).items():
        for value in shift.values:
            if value == shift.trained:
                continue
            settings = dict(shift.settings(value))
            if unknown := settings.keys() - plain.keys():
                broken.append(f"axis {axis}: {', '.join(sorted(unknown))} is no key of its configuration")
                continue
            try:
                shifted = entry.data(build(entry.config, plain | settings, "task"), 0).split("test")
            except InputError:
                continue
            if shifted.fingerprint() == own:
                broken.append(f"axis {axis}: {value} leaves the test examples as they are")
    return broken


def of_model(entry: TaskEntry, config: Any, data: TaskData) -> list[str]:
    """Losses that depend on other examples, metrics that are missing, parameters without a gradient."""
    torch.manual_seed(0)
    shape = replace(SHAPE, depth=1)
    check(Arm(), replace(entry.task.declared(config), targets=0), shape)
    task = entry.task(config, data.facts, shape.width)
    model = TaskModel(task, task.stack(shape, Arm())).double()
    source = data.split("test")
    index = torch.arange(min(EXAMPLES, len(source)))
    model.eval()
    together, alone = together_and_alone(model, source, index)
    with torch.no_grad():
        metrics = _metrics(model, source.batch(index))
    broken = []
    if together.shape != (len(index),) or not torch.allclose(together, alone, rtol=1e-7, atol=1e-7, equal_nan=True):
        broken.append("the loss of an example depends on its batch")
    if entry.task.metric not in metrics:
        broken.append(f"metrics: no {entry.task.metric}, which is the primary one")
    if (exact := entry.task.exact) is not None:
        values = metrics.get(exact)
        if values is None or not ((values == 0) | (values == 1)).all():
            broken.append(f"exact={exact}: not a metric that is 0 or 1 of every example")
    broken += [f"metric {name}: not one value an example" for name, v in metrics.items() if v.shape != (len(index),)]
    return broken + [f"no gradient reaches {name}" for name in _unreached(model, data.split("train"))]


@torch.no_grad()
def of_scenes(entry: TaskEntry, config: Any, data: TaskData) -> list[str]:
    """Scenes, that of the task and the one that every task has, of no known kind, not plain, without an answer for each
    prediction or a name for each token, or that draw the same prediction in two ways."""
    torch.manual_seed(0)
    task = entry.task(config, data.facts, SHAPE.width)
    model = TaskModel(task, task.stack(replace(SHAPE, depth=1), Arm())).eval()
    source = data.split("test")
    example = Example(source.batch(torch.tensor([0])), source.names(0))
    x, _ = model.embed(example.batch)
    prediction = task.read_out(model(example.batch).states[-1], example.batch)
    broken = []
    for whose, draw in (("scene", task.scene), ("plain scene", partial(token_scene, task))):
        scene = draw(example, [prediction, prediction])
        plain = [dict(answer) for answer in scene.answers]
        rules = {
            f"kind {scene.kind}; there are {', '.join(KINDS)}": scene.kind in KINDS,
            "question or answers are not plain JSON": _is_plain(dict(scene.question)) and _is_plain(plain),
            f"{len(plain)} answers to two predictions": len(plain) == 2,
            "the same prediction is drawn in two ways": len(plain) == 2 and plain[0] == plain[1],
            f"an answer without {' and '.join(COMMON)}": all({*COMMON} <= answer.keys() for answer in plain),
            f"{len(scene.tokens)} names for {x.shape[1]} tokens": len(scene.tokens) == x.shape[1],
            "asked tokens that there are not": {*scene.asked} <= {*range(x.shape[1])},
        }
        broken += [f"{whose}: {text}" for text, holds in rules.items() if not holds]
    return broken


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


@torch.no_grad()
def together_and_alone(model: TaskModel, source: Source, index: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [B] of the examples at `index` in one batch, and of each in a batch of its own, which is not padded."""
    alone = [_losses(model, source.batch(index[i : i + 1])) for i in range(len(index))]
    return _losses(model, source.batch(index)), torch.cat(alone)


def _losses(model: TaskModel, batch: Batch) -> Tensor:
    return model.task.loss(model.task.read_out(model(batch).states[-1], batch), batch)


def _metrics(model: TaskModel, batch: Batch) -> dict[str, Tensor]:
    return model.task.metrics(model.task.read_out(model(batch).states[-1], batch), batch)


def _unreached(model: TaskModel, source: Source) -> list[str]:
    model.train()
    (first, *_) = source.plan(32, 0, 0, shuffle=True)
    torch.autograd.backward(_losses(model, source.batch(first)).sum())
    return [n for n, p in model.task.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
