"""A finished run with more steps and several restarts: what the selected answers score, beside a random restart and the
best of all. Nothing is trained, and nothing is chosen on the test examples: every rule is reported.

output/thinking.json, measured/<steps>/restart<r>.{json,npz} (what one restart did), measured/<steps>/followed.json
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray

from headwise.errors import InputError
from headwise.files import finite, read_mapping, write_json
from headwise.lab.comparison.compare import circumstances
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.train import Stopped
from headwise.lab.formatting import format_metric, format_quantity
from headwise.lab.ood.runs import Trained
from headwise.lab.outputs import MEASURED, THINKING, refuse_other_work
from headwise.lab.records import number, read_thinking
from headwise.lab.thinking.convergence import summary
from headwise.lab.thinking.measure import Restart, candidates, followed, restarted, set_thinking, store, stored
from headwise.lab.thinking.selection import bounds, select, taken
from headwise.lab.thinking.settings import Asked, asked_of
from headwise.models.flops import flops_per_example
from headwise.provenance import source_code
from headwise.reasoning.depth import Depth
from headwise.tasks.base import KEYS, Source, TaskModel
from headwise.training.building import data_of, reproducible
from headwise.training.config import RunConfig
from headwise.training.evaluation import adopt, overridden, restored, saved
from headwise.training.machine import device_of

WORK = "a study of thinking longer"
CONFIDENCE = 0.95


def think(
    run: Path | str,
    steps: Any = None,
    restarts: Any = None,
    noise: float = 0.0,
    noise_every: Literal["step", "segment"] = "step",
    select: Any = None,
    output: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a run at every number of steps, restarts and rule of selection.

    What was measured is kept: called again with the same output, it goes on with what is missing, and steps, restarts
    and rules may be added. The page, report.html, is not written here but by `headwise think` and `headwise report`.

    Args:
        run: the directory of a finished run.
        steps: numbers of steps, or multiples of those trained, `["1x", "4x"]`; default 1x, 2x and 4x.
        restarts: numbers of restarts; default 1, 4 and 16, or 1 where nothing is drawn.
        noise: standard deviation of noise on the path.
        noise_every: after each step, or after as many as a segment has in training.
        select: rules of `selection.RULES`; default all that the run can have.
        output: where the results go; default `thinking` in the directory of the run.
        settings: of the run, where they are to be others than in training, by dotted key.
        said: is told each restart, as it is measured, in a line.

    Returns:
        the content of thinking.json.

    Raises:
        InputError: no finished run, a value that means nothing for it, an output that holds other work. Nothing has
            been written then.
        Stopped: Ctrl-C; what was measured is kept.
    """
    began, path, settings = time.perf_counter(), Path(run), dict(settings or {})
    plain, facts = saved(path)
    config = RunConfig.from_plain(overridden(plain.to_plain(), settings)) if settings else plain
    asked_of(config, steps, restarts, noise, noise_every, select)  # before data and model, which take their time
    trained = Trained(config.name, config.seed, path, config, facts)
    place = Path(output) if output else path / "thinking"
    refuse_other_work(place, [WORK])
    with reproducible(config):
        data = data_of(config)
        adopt(data, facts, path)
        source, model = data.split("test"), restored(path, config, facts)
        asked = asked_of(config, steps, restarts, noise, noise_every, select, _tells(config, model, source))
        of = {"weights": trained.weights, "settings": settings, "examples": source.fingerprint()}
        _check_before(place, settings, asked)
        work = _Work(config, model, source, asked, place, of, said)
        try:
            points = [point for depth in asked.depths for point in work.points(depth)]
            study = work.study(asked.depths[-1])
        except KeyboardInterrupt:
            raise Stopped(place) from None
        levels = {name: number(v.double().nanmean().item()) for name, v in data.references(source).items()}
    task, loop = config.entry.task, config.arm.refinement
    content = {
        "task": config.entry.name,
        "task_summary": config.entry.summary,
        "task_config": config.to_plain()["task"],
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "quick": config.quick,
        "headline": _headline(points, asked, task.metric, f"{config.name} on {config.entry.name}"),
        "run": str(path),
        "arm": {"label": config.name, "arm": config.to_plain()["arm"], "model": config.to_plain()["model"]},
        "seed": config.seed,
        "examples": len(source),
        "trained": {"steps": loop.steps, "segments": loop.segments},
        "floor": levels.get("floor"),
        "ceiling": levels.get("ceiling"),
        "noise": asked.noise,
        "noise_every": asked.every,
        "rules": list(asked.rules),
        "points": points,
        "study": study,
        "settings": settings,
        "directory": str(place),
        "how": circumstances(config, LOCAL, 1, torch.get_num_threads(), time.perf_counter() - began),
        "headwise": source_code(),
    }
    write_json(place / THINKING, finite(content))
    return read_mapping(place / THINKING)


class _Work:
    """Restarts of a run, from what was measured before where there is something."""

    def __init__(
        self,
        config: RunConfig,
        model: TaskModel,
        source: Source,
        asked: Asked,
        output: Path,
        of: Mapping[str, Any],
        said: Callable[[str], None],
    ) -> None:
        self.config, self.model, self.source, self.asked = config, model, source, asked
        self.output, self.of, self.said = output, of, said
        self.length = model.task.embed(source.batch(torch.arange(1)))[0].shape[1]

    def points(self, depth: Depth) -> list[dict[str, Any]]:
        """A point for each number of restarts with so many steps."""
        found = [self._restart(depth, number) for number in range(self.asked.most)]
        task = self.config.entry.task
        return [self._point(depth, found[:count], task) for count in self.asked.restarts]

    def study(self, depth: Depth) -> dict[str, Any] | None:
        """The first restart with so many steps, step by step; None where no value of the metric means right."""
        task = self.config.entry.task
        right = task.metric_range[1 if task.higher_is_better else 0]
        if not math.isfinite(right):
            return None
        path = self._path(depth) / "followed.json"
        key = self._key(depth, 0)
        try:
            before = read_mapping(path) if path.is_file() else {}
        except InputError:
            before = {}
        if before.get("of") != key:
            self.said(f"steps {depth.label}, step by step")
            set_thinking(self.model, depth, self.asked.noise, self.asked.every)
            seen = followed(self.config, self.model, self.source)
            found = summary(seen, right, self.config.arm.refinement.steps_in_all)
            write_json(path, {"of": key, "found": finite(found)})
            before = read_mapping(path)
        return dict(before["found"])

    def _restart(self, depth: Depth, number: int) -> tuple[Restart, float]:
        path, key = self._path(depth) / f"restart{number}", self._key(depth, number)
        before = stored(path, key)
        if before is None:
            set_thinking(self.model, depth, self.asked.noise, self.asked.every)
            found = restarted(self.config, self.model, self.source, number)
            flops = flops_per_example(self.model.backbone, self.length, float(found.steps.mean()))
            store(path, found, key, {"flops": flops})
            value = float(np.nanmean(found.metrics[self.config.entry.task.metric]))
            self.said(f"steps {depth.label}, restart {number + 1}: {format_metric(value)}")
            return found, flops
        return before[0], float(before[1]["flops"])

    def _point(self, depth: Depth, found: Sequence[tuple[Restart, float]], task: Any) -> dict[str, Any]:
        runs = [one for one, _ in found]
        known = candidates(runs)
        chosen = {rule: select(rule, known) for rule in self.asked.rules}
        metrics: dict[str, dict[str, float]] = {}
        intervals: dict[str, list[float] | None] = {}
        for name in runs[0].metrics:
            values = np.stack([one.metrics[name] for one in runs])
            better = task.higher_is_better if name == task.metric else name not in task.lower_is_better
            random, best = bounds(values, better)
            own = {rule: taken(values, which) for rule, which in chosen.items()}
            metrics[name] = {"random": _mean(random), "best": _mean(best)} | {k: _mean(v) for k, v in own.items()}
            if name == task.metric:
                intervals = {rule: _interval(v - random) for rule, v in own.items()}
        primary = metrics[task.metric]
        return {
            "label": depth.label,
            "steps": depth.steps,
            "restarts": len(runs),
            "steps_mean": float(np.mean([one.steps.mean() for one in runs])),
            "flops": float(sum(flops for _, flops in found)),
            "random": primary["random"],
            "best": primary["best"],
            "selected": {rule: primary[rule] for rule in chosen},
            "gain_interval": intervals,
            "metrics": metrics,
        }

    def _path(self, depth: Depth) -> Path:
        return self.output / MEASURED / f"steps{depth.steps}"

    def _key(self, depth: Depth, number: int) -> dict[str, Any]:
        noise = {"noise": self.asked.noise, "every": self.asked.every}
        return {**self.of, **noise, "steps": [depth.each, depth.segments], "restart": number}


def _tells(config: RunConfig, model: TaskModel, source: Source) -> bool:
    """Whether the halting of the arm says how sure it is of an answer."""
    device = device_of(config.device)
    batch = source.batch(torch.arange(1)) | {KEYS: torch.zeros(1, dtype=torch.int64)}
    model.eval().to(device)
    with torch.no_grad():
        trace = model({name: tensor.to(device) for name, tensor in batch.items()})
    model.cpu()
    return getattr(trace, "halting", None) is not None


def _check_before(output: Path, settings: Mapping[str, Any], asked: Asked) -> None:
    """Refuse an output of an earlier call with other settings, or other noise.

    Raises:
        InputError: it holds one.
    """
    try:
        before = read_thinking(output) if (output / THINKING).is_file() else {}
    except InputError:
        return
    for key, now in (("settings", dict(settings)), ("noise", asked.noise), ("noise_every", asked.every)):
        if before and before[key] != now:
            raise InputError(f"output={output}: measured with {key} {before[key]}, now {now}; choose another output")


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _interval(differences: NDArray[np.float64]) -> list[float] | None:
    """The mean with 95 % confidence over test examples, for this one run."""
    known = differences[np.isfinite(differences)]
    if len(known) < 2:
        return None
    mean, error = float(known.mean()), float(known.std(ddof=1) / math.sqrt(len(known)))
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1)) * error
    return [mean - half, mean + half]


def _headline(points: Sequence[Mapping[str, Any]], asked: Asked, metric: str, what: str) -> str:
    """The smallest and the largest of what was measured, in a sentence."""
    first, last = points[0], points[-1]
    words = metric.replace("_", " ")
    start = f"{what}: {words} {format_metric(first['random'])} with {first['steps']} steps"
    if first is last and last["restarts"] == 1:
        return start
    rules = ", ".join(f"{rule} {format_metric(value)}" for rule, value in last["selected"].items())
    if last["restarts"] == 1:
        return f"{start}, {format_metric(last['random'])} with {last['steps']}"
    return (
        f"{start}; with {last['steps']} and {format_quantity(last['restarts'], 'restart')} {rules} (at random "
        f"{format_metric(last['random'])}, best of all {format_metric(last['best'])})"
    )
