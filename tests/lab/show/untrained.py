"""A model of each task that nobody trained, at work on an example: what a page makes of it does not depend on skill."""

from typing import Any

import torch

from headwise.lab.show.shown import Shown, ended
from headwise.lab.show.watch import watch
from headwise.models.arm import Arm
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.tasks import TASKS
from headwise.tasks.base import TaskModel
from headwise.tasks.scenes import Example

LOOPED = {
    "router": {"name": "learned", "granularity": "token"},
    "gate": {"name": "top_k", "k": 2},
    "refinement": {"steps": 3, "injection": "input"},
}
PLAIN = {"router": {"name": "learned", "granularity": "token"}}
SHAPE = ModelConfig(width=16, heads=4, ffn=16, depth=2)


def model_of(name: str, arm: dict[str, Any] | None = None, **settings: Any) -> tuple[TaskModel, Example]:
    """A model of a registered task, its routers away from zero, and the first example of its test set."""
    entry = TASKS[name]
    config = build(entry.config, dict(entry.example) | settings, "task")
    data = entry.data(config, 0)
    brings = entry.task.brings_stack
    chosen = build(Arm, (PLAIN if brings else LOOPED) if arm is None else arm, "arm")
    shape = ModelConfig() if brings else SHAPE
    torch.manual_seed(0)
    resolved, shape = entry.task.resolve(config, chosen, shape)
    task = entry.task(config, data.facts, shape.width)
    model = TaskModel(task, task.stack(shape, resolved)).eval()
    with torch.no_grad():
        for router in model.backbone.routers():
            for parameter in router.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    source = data.split("test")
    return model, Example(source.batch(torch.tensor([0])), source.names(0))


def shown_of(name: str, arm: dict[str, Any] | None = None, **settings: Any) -> Shown:
    """The same, watched."""
    model, example = model_of(name, arm, **settings)
    watched = watch(model, example)
    metric = model.task.exact or model.task.metric
    return Shown(f"{name}, untrained", watched, ended(watched, metric), metric)
