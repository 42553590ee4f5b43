"""Training: the loop, objective, optimisation by role, runs, and an adapter for Lightning's Trainer.

Names are loaded when they are first asked for, so that nobody imports what is not used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwise.training.config import RunConfig, TrainingConfig
    from headwise.training.data import TrainingBatches
    from headwise.training.divergence import TrainingDiverged
    from headwise.training.evaluation import evaluate, load
    from headwise.training.module import HeadwiseModule
    from headwise.training.objective import Objective, objective
    from headwise.training.optim import Differentiated, Stable, Uniform, check_optimizer, clip_by_role, optimizer_for
    from headwise.training.run import train
    from headwise.training.scoring import Score, score
    from headwise.training.start import build
from headwise.training.interruption import TrainingInterrupted

_HOMES = {
    "config": ("RunConfig", "TrainingConfig"),
    "data": ("TrainingBatches",),
    "module": ("HeadwiseModule",),
    "objective": ("Objective", "objective"),
    "optim": ("Differentiated", "Stable", "Uniform", "check_optimizer", "clip_by_role", "optimizer_for"),
    "evaluation": ("evaluate", "load"),
    "run": ("train",),
    "start": ("build",),
    "scoring": ("Score", "score"),
    "divergence": ("TrainingDiverged",),
    "interruption": ("TrainingInterrupted",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Differentiated",
    "HeadwiseModule",
    "Objective",
    "RunConfig",
    "Score",
    "Stable",
    "TrainingBatches",
    "TrainingConfig",
    "TrainingDiverged",
    "TrainingInterrupted",
    "Uniform",
    "build",
    "check_optimizer",
    "clip_by_role",
    "evaluate",
    "load",
    "objective",
    "optimizer_for",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
