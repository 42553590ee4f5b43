"""The examination: which evidence there is of a run, a comparison or a model, and what the rules find in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headwise.errors import InputError
from headwise.lab.doctor import case_rules, compared, recorded, trained
from headwise.lab.doctor.case import Case, Loss, Metric, total
from headwise.lab.doctor.compared import Compared
from headwise.lab.doctor.findings import Diagnosis, Finding, Rules, apply
from headwise.lab.doctor.recorded import Recorded
from headwise.lab.doctor.script import called
from headwise.lab.doctor.trained import read_trained
from headwise.lab.outputs import COMPARISON, IDENTIFYING
from headwise.lab.records import read_comparison, read_run, readable_mapping
from headwise.provenance import source_code
from headwise.training.config import RunConfig, read
from headwise.training.files import CONFIG, SUMMARY

RULES: tuple[Rules, ...] = (recorded.rules, trained.rules, case_rules.rules, compared.rules)
"""Every rule, by the evidence that it reads."""

MOST_BATCHES = 200  # of validation and of training that are looked at for examples in both

ARGUMENTS: Mapping[str, tuple[Any, str]] = {
    "model": (nn.Module, "a torch.nn.Module"),
    "loss": (Callable, "a function of (model, batch)"),
    "batches": (Iterable, "batches of training"),
    "optimizer": (torch.optim.Optimizer, "a torch optimiser"),
    "validation": (Iterable, "batches of validation"),
    "metric": (Callable, "a function of (model, batch)"),
    "higher_is_better": (bool, "true or false"),
    "steps": (int, "a number of batches"),
}
"""What `examine` takes, and what a script's function returns."""


def diagnose(target: str | Path) -> Diagnosis:
    """Examine what the command line names: a run, a comparison, or `script.py:function`.

    Raises:
        InputError: it is none of these, was made by another version, or the function fails or returns something else.
    """
    script, colon, function = str(target).rpartition(":")
    if colon and script.endswith(".py"):
        return examined_case(str(target), called(Path(script), function))
    path = Path(target)
    if not path.exists():
        raise InputError(f"{path}: not found; give a run, a comparison or script.py:function")
    if path.suffix == ".py":
        raise InputError(f"{path}: which function? write {path}:function; it returns the arguments of headwise.examine")
    if (path / COMPARISON).is_file():
        return examined_comparison(path)
    if (path / CONFIG).is_file():
        return examined_run(path)
    kind = next((kind for kind, names in IDENTIFYING.items() if any((path / name).is_file() for name in names)), "")
    holds = f"holds {kind}; give a run in it" if kind else f"not a run directory (it holds no {CONFIG})"
    raise InputError(f"{path}: {holds}")


def examine(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    validation: Iterable[Any] = (),
    metric: Metric | None = None,
    higher_is_better: bool = True,
    steps: int = 4,
) -> list[Finding]:
    """Why a model of your own does not learn, found on copies of it: it is left as it is, and nothing is trained.

    Args:
        model: any module, in the modes in which it is trained; where its classes declare `role` (see
            `headwise.models.roles`) findings name the role, and gates are looked at.
        loss: of (model, batch): a scalar with gradient; or (scalar, logs), as `HeadwiseModule` has it; or a mapping of
            terms that add up to it, the task's first, so that each can be looked at. It must use the model it is given.
        batches: of training, whatever `loss` takes.
        optimizer: that is to train the model.
        validation: batches that training must not have seen: tensors, or mappings or tuples of tensors, in which
            examples are compared.
        metric: of (model, batch), a number or one for each example, to see that it ranks models the right way round.
        higher_is_better: direction of the metric.
        steps: batches that passes are made of; default 4.

    Returns:
        What is wrong, the surest first.

    Raises:
        InputError: no batches, or a loss that is no scalar.
        Exception: whatever `loss` raises on the first batch.
    """
    arguments = {"optimizer": optimizer, "validation": validation, "metric": metric, "steps": steps}
    case = case_of(
        {"model": model, "loss": loss, "batches": batches, "higher_is_better": higher_is_better, **arguments}
    )
    total(case.loss(case.twin(), case.batches[0]))  # what fails at once is for its author to see
    return list(apply(case_rules.rules, case, "script.py:function").findings)


def examined_run(directory: Path) -> Diagnosis:
    """A run directory: its records, and what its model and data show.

    Raises:
        InputError: it is no run, or that of a version whose settings this one does not know.
    """
    run, config = read_run(directory), _config(directory)
    target = str(directory)
    found = apply(recorded.rules, Recorded(run, config), target)
    try:
        subject = read_trained(directory)
        case = subject.case
    except InputError as error:
        return found + Diagnosis(target, [], {"model and data": str(error)})
    return found + apply(trained.rules, subject, target) + apply(case_rules.rules, case, target)


def examined_comparison(directory: Path) -> Diagnosis:
    """A comparison: what its arms and seeds have in common, and the records of each run.

    Raises:
        InputError: it is damaged.
    """
    whole = Compared(directory, read_comparison(directory))
    found = apply(compared.rules, whole, str(directory))
    for (label, seed), run in whole.runs.items():
        place = f"{label}, seed {seed}"
        try:
            own = Recorded(run, _config(run.directory))
        except InputError as error:
            found += Diagnosis(str(directory), [], {place: str(error)})
        else:
            found += apply(recorded.rules, own, str(run.directory)).within(place)
    return found


def examined_case(target: str, given: Any) -> Diagnosis:
    """What a script's function returned.

    Raises:
        InputError: it is not what `examine` takes, or the loss fails.
    """
    try:
        case = case_of(given)
        total(case.loss(case.twin(), case.batches[0]))
    except InputError as error:
        raise InputError(f"{target}: {error}") from None
    except Exception as error:  # whatever a model of someone else raises
        raise InputError(f"{target}: the loss fails with {type(error).__name__}: {error}") from error
    return apply(case_rules.rules, case, target)


def case_of(given: Any) -> Case:
    """The case that the arguments of `examine` make.

    Raises:
        InputError: something is missing or is not what it should be.
    """
    if not isinstance(given, Mapping):
        said = f"returns {_kind(given)}; expected a mapping with the arguments of headwise.examine"
        raise InputError(f"{said}: {', '.join(ARGUMENTS)}")
    if unknown := [str(key) for key in given if key not in ARGUMENTS]:
        raise InputError(f"{unknown[0]}: unknown; allowed: {', '.join(ARGUMENTS)}")
    values = {key: value for key, value in given.items() if value is not None}
    for key, (kind, words) in ARGUMENTS.items():
        if key in values and not isinstance(values[key], kind):
            raise InputError(f"{key}: {_kind(values[key])}; expected {words}")
        if key in ("model", "loss", "batches") and key not in values:
            raise InputError(f"{key}: missing; expected {words}")
    for key in ("batches", "validation"):
        values[key] = tuple(islice(values.get(key, ()), MOST_BATCHES))
    if not values["batches"]:
        raise InputError("batches: empty; give at least one")
    if values.get("steps", 1) < 1:
        raise InputError(f"steps={values['steps']}: choose 1 or more")
    return Case(**values)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _config(directory: Path) -> RunConfig:
    try:
        return read(directory)
    except InputError as error:
        written = readable_mapping(directory / SUMMARY).get("headwise")
        version, own = (one.get("version") if isinstance(one, Mapping) else None for one in (written, source_code()))
        if version is None or version == own:
            raise
        raise InputError(f"{error} (the run was made by headwise {version}, this is {own})") from None
