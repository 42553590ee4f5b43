"""Outside the training distribution: finished runs, measured along axes of their examples and of their models, without
training again.

output/ood.json, ood.csv, measured/<axis>/<value>/<arm>-seed<k>.{json,npy} (what one run did at one point)
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_mapping, write_json, write_text
from headwise.lab.comparison.compare import circumstances
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.plan import new_directory
from headwise.lab.comparison.train import Stopped
from headwise.lab.formatting import format_metric
from headwise.lab.names import short_names
from headwise.lab.ood.axes import Axis, Choice, axes_of, choose, label
from headwise.lab.ood.export import table
from headwise.lab.ood.measure import Measured, Measuring, store, stored
from headwise.lab.ood.results import Judged, Point, summarise
from headwise.lab.ood.runs import Runs, Trained, find
from headwise.lab.outputs import MEASURED, OOD, OOD_TABLE, directory_name, refuse_other_work
from headwise.lab.records import read_ood

NEUTRAL = "neutral"
AGREES = 1e-5  # of a score now with that of training, relative; another machine may add in another order


def ood(
    directories: Sequence[Path | str],
    axes: Choice = None,
    output: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure runs outside the distribution that they were trained on.

    What was measured is kept: called again with the same output, it goes on with what is missing, and axes, values and
    runs may be added. The page, report.html, is not written here but by `headwise ood` and `headwise report`.

    Args:
        directories: of a comparison, or of runs on one task.
        axes: which, of those of the task and those of every model; default all that have values of their own. With
            values, `{"length": [16, 24], "steps": None}`.
        output: where the results go; default `ood` in the directory, and for several a new one in `runs/`.
        settings: of the runs, where they are to be others than in training at every point, by dotted key.
        said: is told each point, as it is measured, in a line.

    Returns:
        the content of ood.json.

    Raises:
        InputError: no runs that can be measured, or that belong together; an unknown axis, or a value that means
            nothing on it; an output that holds other work; no point that fits any run. No result has been written then.
        Stopped: Ctrl-C; what was measured is kept.
    """
    began = time.perf_counter()
    paths = [Path(directory) for directory in directories]
    runs, settings = find(paths), dict(settings or {})
    measuring = Measuring(settings, most=2 * len(runs.seeds))
    config = measuring.config_of(runs.runs[0])
    wanted = choose(config, runs.heads, axes)
    path = Path(output) if output else _default_output(paths, runs)
    refuse_other_work(path, ["an out-of-distribution test", "runs of a comparison or a ladder"])
    before = _before(path, settings)
    work = _Work(runs, measuring, path)
    every = _with_earlier(before, wanted, axes_of(config, runs.heads))
    points: dict[str, list[Judged]] = {axis.name: [] for axis in every}

    def result() -> dict[str, Any]:
        how = circumstances(runs.first, LOCAL, 1, 1, time.perf_counter() - began)
        found = summarise(runs, every, neutral, points, work.notes)
        return found | {"settings": settings, "directory": str(path), "how": how}

    try:
        neutral = work.neutral()
        for axis, value, asked_for in _in_order(every, wanted):
            point = work.point(axis, value, asked_for)
            if not asked_for and not point.measured:
                point = Point(value, left_out=_left_out(before, axis, value))
            points[axis.name].append(Judged(point, runs))
            if asked_for:
                said(_line(axis, point, short_names(runs.labels)))
            if asked_for and point.measured:
                write_json(path / OOD, result())
    except KeyboardInterrupt:
        raise Stopped(path) from None
    _check_any(points)
    content = result()
    write_json(path / OOD, content)
    write_text(path / OOD_TABLE, table(content))
    return read_mapping(path / OOD)


class _Work:
    """Runs at points, from what was measured before where there is something."""

    def __init__(self, runs: Runs, measuring: Measuring, output: Path) -> None:
        self.runs, self.measuring, self.output, self.settings = runs, measuring, output, measuring.settings
        self.notes: list[str] = []
        self.own_examples: dict[str, str] = {}  # name of a run -> fingerprint of its own test set

    def neutral(self) -> Judged:
        """All runs on their own test sets, and what is to be said where a run does not score there what it did when it
        was trained.

        Raises:
            InputError: none can be measured.
        """
        measured, left_out = dict[tuple[str, int], Measured](), dict[str, str]()
        for run in self.runs.runs:
            try:
                one = measured[run.label, run.seed] = self._one(run, None, None)
            except InputError as error:
                left_out[run.name] = str(error)
                continue
            self.own_examples[run.name] = one.fingerprint
            was, now = run.value, one.value
            if not self.settings and was is not None and now is not None and abs(now - was) > AGREES * max(1, abs(was)):
                self.notes.append(
                    f"{run.name}: scores {format_metric(now)} on its own test examples, and {format_metric(was)} when "
                    "it was trained, by another version of headwise or of its data; here the score of now counts."
                )
        if not measured:
            raise InputError(f"nothing to measure: {next(iter(left_out.values()))}")
        self.notes += [f"Not measured: {name}: {reason}" for name, reason in left_out.items()]
        return Judged(Point(None, measured, left_out), self.runs)

    def point(self, axis: Axis, value: Any, measure: bool) -> Point:
        """All runs at a value; without `measure` only those that were measured before."""
        measured, left_out = dict[tuple[str, int], Measured](), dict[str, str]()
        for run in self.runs.runs:
            try:
                one = self._one(run, axis, value, measure)
                if one is None:
                    continue
                if axis.shift is not None and one.fingerprint == self.own_examples.get(run.name):
                    raise InputError("the test examples are the same as without it")
                measured[run.label, run.seed] = one
            except InputError as error:
                left_out[run.name] = str(error)
        return Point(value, measured, left_out)

    def _one(self, run: Trained, axis: Axis | None, value: Any, measure: bool = True) -> Any:
        place = Path(NEUTRAL) if axis is None else Path(axis.name) / _folder(label(value))
        path = self.output / MEASURED / place / f"{directory_name(run.label)}-seed{run.seed}"
        key = {"weights": run.weights, "value": value, "settings": dict(self.settings)}
        found = stored(path, key)
        if found is None and measure:
            found = self.measuring(run, axis, value)
            store(path, found, key)
        return found


def _default_output(directories: Sequence[Path], runs: Runs) -> Path:
    return directories[0] / "ood" if len(directories) == 1 else new_directory(runs.first, "ood")


def _before(output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What ood.json says of an earlier call; empty if there was none, or it cannot be read: what was measured lies in
    files of its own.

    Raises:
        InputError: that one had other settings.
    """
    try:
        before = read_ood(output) if (output / OOD).is_file() else {}
    except InputError:
        return {}
    if before.get("comparisons"):
        raise InputError(f"output={output}: holds results of `headwise low-data` ({OOD}); choose another output")
    if before and before["settings"] != dict(settings):
        raise InputError(
            f"output={output}: measured with settings {_words(before['settings'])}, now {_words(settings)}; choose "
            "another output"
        )
    return before


def _with_earlier(before: Mapping[str, Any], wanted: Sequence[Axis], there: Mapping[str, Axis]) -> list[Axis]:
    """The axes that are wanted with the values that were measured before, and those that were measured before alone."""
    known = {**there, **{axis.name: axis for axis in wanted}}
    earlier = before.get("axes", {})
    order = [*(axis.name for axis in wanted), *(name for name in earlier if name in known)]
    found = []
    for name in dict.fromkeys(order):
        own = next((axis.values for axis in wanted if axis.name == name), ())
        shown = {label(value) for value in own}
        more = [p["value"] for p in earlier.get(name, {}).get("points", ()) if not p["is_neutral"]]
        found.append(replace(known[name], values=(*own, *(value for value in more if label(value) not in shown))))
    return found


def _left_out(before: Mapping[str, Any], axis: Axis, value: Any) -> dict[str, str]:
    """Why a value could not be measured in an earlier call."""
    points = before.get("axes", {}).get(axis.name, {}).get("points", ())
    return next((dict(point["left_out"]) for point in points if point["label"] == label(value)), {})


def _in_order(every: Sequence[Axis], wanted: Sequence[Axis]) -> Iterator[tuple[Axis, Any, bool]]:
    """Each axis and value, and whether it was asked for; the others were in an earlier call."""
    asked_for = {(axis.name, label(value)) for axis in wanted for value in axis.values}
    for axis in every:
        for value in axis.values:
            yield axis, value, (axis.name, label(value)) in asked_for


def _check_any(points: Mapping[str, Sequence[Judged]]) -> None:
    """Refuse to call it a result where no run could be measured at any point."""
    reasons: list[str] = []
    for name, measured in points.items():
        for one in measured:
            if one.point.measured:
                return
            reasons += [f"{name} {label(one.point.value)}: {reason}" for reason in one.point.left_out.values()]
    raise InputError(f"nothing to measure: {next(iter(reasons), 'no point beside that of training')}")


def _folder(text: str) -> str:
    """A value as the name of a folder, of its own also where it is a path."""
    name = directory_name(text)
    return name if name == text else f"{name[-60:]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _line(axis: Axis, point: Point, names: Mapping[str, str]) -> str:
    """A point in a line: the mean of each arm, by its name, or why there is none."""
    means: dict[str, list[float]] = {}
    for (arm, _), one in point.measured.items():
        means.setdefault(names[arm], []).extend([] if one.value is None else [one.value])
    found = [f"{arm} {format_metric(sum(values) / len(values))}" for arm, values in means.items() if values]
    reasons = list(dict.fromkeys(point.left_out.values()))
    return f"{axis.name} {label(point.value)}: " + "; ".join([*found, *(f"not measured, {one}" for one in reasons)])


def _words(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items()) or "as trained"
