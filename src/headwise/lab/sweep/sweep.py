"""A sweep: every setting of some keys with several seeds, and the best of them once more on fresh ones.

output/sweep.json, sweep.csv, search/ (plan.json, data.json, runs/<setting>/seed<k>/), confirmation/ (a comparison)
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_mapping, write_json, write_text
from headwise.lab.comparison.clusters import installed
from headwise.lab.comparison.compare import carry_out, circumstances, default_train
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.launching import Launcher
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import keep_plan
from headwise.lab.comparison.rules import ONCE, Rule
from headwise.lab.comparison.runs import Train
from headwise.lab.comparison.train import train_runs
from headwise.lab.outputs import SEARCH, SWEEP, SWEEP_TABLE
from headwise.lab.records import read_run
from headwise.lab.sweep.conclusion import concluded
from headwise.lab.sweep.plan import Sweep, prepare
from headwise.lab.sweep.results import best_setting, search_results, table, validation_value
from headwise.lab.sweep.search import search
from headwise.lab.sweep.space import Space, Values


def sweep(
    space: Space,
    chosen: Sequence[Values],
    seeds: int | Sequence[int] = 3,
    confirm: int | None = None,
    parity: Mode = "none",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
    rule: Rule = ONCE,
) -> dict[str, Any]:
    """Train every setting with every seed, choose the best on validation, and compare it with the base on fresh seeds.

    A sweep that was stopped goes on where it was when called again with the same output; more seeds or values may be
    added the same way. The page, report.html, is not written here but by `headwise sweep` and `headwise report`.

    Args:
        space: the swept keys (`headwise.lab.sweep.space.read_space`).
        chosen: the combinations that are tried (`headwise.lab.sweep.plan.choose`).
        seeds: how many, counted from the base's own seed, or which.
        confirm: fresh seeds for the best setting and the base; default as many as `seeds`, 0 for none.
        parity: what is made equal; default none, as a setting is what its keys say. Sizes are reported.
        output: directory of the sweep; default a new one in `runs/`.
        jobs, train, launcher, rule: as for `headwise.lab.comparison.compare.compare`.

    Returns:
        the content of sweep.json.

    Raises:
        InputError: as `headwise.lab.sweep.plan.prepare`, or an output that holds runs of other settings. Nothing has
            been trained then.
        Stopped, StorageError, WorkerLostError: as `headwise.lab.comparison.train.train_runs`; finished runs are kept.
    """
    return carry_out_sweep(prepare(space, chosen, seeds, confirm, parity, output), jobs, train, launcher, rule)


def search_and_sweep(
    space: Space,
    number: int,
    seeds: int | Sequence[int] = 3,
    confirm: int | None = None,
    parity: Mode = "none",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
    rule: Rule = ONCE,
) -> dict[str, Any]:
    """A sweep whose settings Optuna proposes, `number` of them; the rest as for `sweep`.

    Settings that do badly on validation are not trained with all seeds, and cannot become the best.

    Raises:
        InputError: as `sweep`, or optuna is not installed.
    """
    installed("optuna", "optuna", "sampler")
    train = train or default_train()
    planned = prepare(space, [], seeds, confirm, parity, output)
    launcher.check(planned.base)
    side_by_side, threads = launcher.share(jobs, max(number, 1), planned.base)

    def score(chosen: Sequence[Values], place: int) -> list[float | None]:
        possible = [one for one in dict.fromkeys(chosen) if _possible(space, one)]
        batch = prepare(space, possible, seeds, confirm, parity, planned.output).settled(threads)
        keep_plan(batch.output / SEARCH, batch.arms, batch.data)
        labels = {one: space.label(one) for one in possible}
        runs = [run for run in batch.runs if run.seed == batch.seeds[place] and run.label in labels.values()]
        train_runs(runs, train, launcher, side_by_side, threads, batch.output)
        metric, higher = batch.base.entry.task.metric, batch.base.entry.task.higher_is_better
        values = {run.label: validation_value(read_run(run.directory), metric, higher) for run in runs}
        return [values[labels[one]] if one in labels else None for one in chosen]

    tried = search(space, number, len(planned.seeds), side_by_side, score, planned.output / SEARCH)
    possible = [one for one in tried if _possible(space, one)]
    final = prepare(space, possible, seeds, confirm, parity, planned.output)
    given_up = frozenset(space.label(one) for one in possible if tried[one]) - {final.settings.base}
    return carry_out_sweep(replace(final, given_up=given_up), jobs, train, launcher, rule)


def _possible(space: Space, values: Values) -> bool:
    """Whether the lab takes this combination."""
    try:
        space.load(values)
    except InputError:
        return False
    return True


def carry_out_sweep(
    planned: Sweep, jobs: int | None = None, train: Train | None = None, launcher: Launcher = LOCAL, rule: Rule = ONCE
) -> dict[str, Any]:
    """Train what is planned and conclude; arguments, result and errors as of `sweep`."""
    began = time.perf_counter()
    train = train or default_train()
    launcher.check(planned.base)
    side_by_side, threads = launcher.share(jobs, len(planned.runs), planned.base)
    planned = planned.settled(threads)
    keep_plan(planned.output / SEARCH, planned.arms, planned.data)
    failures = train_runs(planned.runs, train, launcher, side_by_side, threads, planned.output)
    result = search_results(planned, failures, rule)
    best, confirmation = best_setting(result), None
    if best is not None and best != planned.settings.base and planned.confirm:
        confirmation = carry_out(planned.confirmation(best), planned.output, jobs, train, launcher, rule)
    result |= concluded(result, best, confirmation)
    result["directory"] = str(planned.output)
    result["how"] = circumstances(planned.base, launcher, side_by_side, threads, time.perf_counter() - began)
    write_json(planned.output / SWEEP, result)
    write_text(planned.output / SWEEP_TABLE, table(result))
    return read_mapping(planned.output / SWEEP)
