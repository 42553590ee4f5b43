"""A search by Optuna over the swept keys: it proposes settings and says which to give up; runs are trained as ever.

Its storage is a SQLite file in the output. A trial is a setting; after each seed the mean validation score so far is
reported, and a setting that stands below the median of the others at the same seed is pruned: its other seeds are not
trained.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headwise.errors import InputError, in_a_line
from headwise.files import make_folder
from headwise.lab.sweep.space import Space, Values, as_text
from headwise.training.overrides import Interval, Several

FILE = "optuna.db"
UNDECIDED = 4
"""Settings that finish before any is given up, so that there is a median worth the name."""

Score = Callable[[Sequence[Values], int], Sequence[float | None]]
"""Trains settings with the seed in this place and returns their validation scores; None where there is none."""


def search(space: Space, number: int, seeds: int, beside: int, score: Score, output: Path) -> dict[Values, bool]:
    """The settings that were tried, those of earlier calls with this output first, and whether each was given up.

    Args:
        number: trials in all, those of earlier calls included.
        seeds: with which a setting is trained, one after the other.
        beside: settings that are tried at a time.
        output: directory of the storage.

    Raises:
        InputError: a storage of a search over other values, or one that cannot be used.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(space, output)
    # What an earlier call left in the middle goes first; its finished runs are there
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    distributions = {one.key: _distribution(one) for one in space.swept}
    while (missing := number - sum(_counts(trial) for trial in study.get_trials())) > 0:
        trials: dict[Any, list[float]] = {study.ask(distributions): [] for _ in range(min(beside, missing))}
        for place in range(seeds):
            scores = score([_values(space, trial.params) for trial in trials], place) if trials else []
            for trial, value in zip(list(trials), scores, strict=True):
                if value is None or not math.isfinite(value):
                    trial.set_user_attr("failed", True)
                    study.tell(trial, state=TrialState.FAIL)
                    del trials[trial]
                    continue
                trials[trial].append(value)
                trial.report(math.fsum(trials[trial]) / len(trials[trial]), step=place)
                if place + 1 < seeds and trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    del trials[trial]
        for trial, own in trials.items():
            study.tell(trial, math.fsum(own) / len(own))
    tried: dict[Values, bool] = {}
    for trial in filter(_counts, study.get_trials()):
        values = _values(space, trial.params)
        tried[values] = tried.get(values, True) and trial.state != TrialState.COMPLETE
    return tried


def _study(space: Space, output: Path) -> Any:
    """The study in this output, new or old."""
    import optuna

    make_folder(output)
    file, over = output / FILE, str(space.swept)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{file}",
            study_name="sweep",
            direction="maximize" if space.base.entry.task.higher_is_better else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNDECIDED, n_warmup_steps=0),
            load_if_exists=True,
        )
        before = study.user_attrs.get("over", over)
    except Exception as error:  # of optuna, of its storage's library, or of the file
        raise InputError(
            f"{file}: no storage that optuna can use ({in_a_line(error)}); choose another output"
        ) from None
    if before != over:
        raise InputError(f"output={output}: holds a search over other values; choose another output")
    study.set_user_attr("over", over)
    # Another seed each time that a search goes on: with the same one it would propose again what it began with
    seed = np.random.SeedSequence([space.base.seed, len(study.get_trials(deepcopy=False))])
    study.sampler = optuna.samplers.TPESampler(seed=int(seed.generate_state(1)[0]))
    return study


def _counts(trial: Any) -> bool:
    """Whether a trial came to an end of its own: a score, a pruning, or a run that failed."""
    return trial.state.name in ("COMPLETE", "PRUNED") or bool(trial.user_attrs.get("failed"))


def _distribution(one: Several) -> Any:
    from optuna import distributions

    if not isinstance(one.values, Interval):
        return distributions.CategoricalDistribution(one.values)
    low, high, log = one.values.low, one.values.high, one.values.log
    if one.values.whole:
        return distributions.IntDistribution(round(low), round(high), log=log)
    return distributions.FloatDistribution(low, high, log=log)


def _values(space: Space, params: dict[str, Any]) -> Values:
    """The parameters of a trial as words have them."""
    found = ((params[one.key], one.values) for one in space.swept)
    return tuple(as_text(value, values) if isinstance(values, Interval) else str(value) for value, values in found)
