"""What it costs a pretrained model to keep fewer heads, by how they are chosen; nothing is trained.

Every choice is made from calibration texts, those at each token from texts drawn anew for each seed, and scored on the
same held-out examples as the untouched model, so that differences are paired. What is measured is kept, and the same
command goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import make_folder, read_mapping, write_json
from headwise.lab.choices.ways import WAYS, Sources
from headwise.lab.kept import KEPT, kept
from headwise.lab.outputs import CHOICES
from headwise.lab.statistics import compare_pair, mean_interval
from headwise.models.arm import Arm
from headwise.pretrained import choices
from headwise.pretrained.encoders import lines, open_any
from headwise.pretrained.objectives import NextToken, Objective, OwnEmbedding
from headwise.pretrained.opening import blocks, read_texts
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.provenance import source_code
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit

PLACES = ("text", "other")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What is asked.

    Attributes:
        model: a name or a folder.
        text: held-out text, on which choices are scored.
        calibrate: the text they are made from.
        other: another text that they are scored on, or None.
        keep: heads of each layer that are kept, or as large a share of all.
        blocks, context: how much text is scored: so many blocks of so many tokens, or lines of at most so many.
        calibration: blocks, or lines, that choices are made from.
        seeds: how many draws of the calibration text, and of what is random.
    """

    model: str
    text: str
    calibrate: str
    other: str | None
    keep: tuple[int, ...]
    blocks: int
    context: int
    calibration: int
    seeds: int


def study(asked: Settings, output: Path, progress: Progress = lambda line: None) -> dict[str, Any]:
    """Score every way of choosing at every number of heads, for every seed.

    Args:
        asked: the settings.
        output: directory of the result and of what was measured.
        progress: is told what has been done, a line at a time.

    Returns:
        The content of choices.json.

    Raises:
        InputError: there is no such model or text; a text too short; more heads than a layer has; the directory holds
            a study with other settings.
    """
    retrofitted, texts, source, objective = _opened(asked)
    measured = kept(
        output,
        # more seeds and numbers of heads may be added
        {key: value for key, value in asdict(asked).items() if key not in ("keep", "seeds")},
        {key: getattr(asked, key) for key in ("text", "calibrate", "other")},
        retrofitted.model,
        {"untouched": {}, "points": {}, "fits": {}},
    )
    make_folder(output)
    untouched: dict[str, list[Tensor]] = {}

    def score(key: str, rule: Callable[[], choices.Rule]) -> None:
        for where, examples in texts.items():
            place = f"{where}/{key}"
            if place not in measured["points"]:
                if where not in untouched:
                    untouched[where] = choices.untouched(retrofitted, examples, objective)
                    measured["untouched"][where] = objective.value(untouched[where])
                with choices.ruled(retrofitted, rule()) as shares:
                    found = choices.costs(retrofitted.model, examples, objective, untouched[where])
                measured["points"][place] = {"costs": found, "on": float(torch.stack(shares).mean())}
                write_json(output / KEPT, measured)
                progress(f"{place}: {np.mean(found):+.4f} {objective.unit}")

    for seed in range(asked.seeds):
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[: asked.calibration]
        sources = Sources(retrofitted, [source[place] for place in order], objective, seed)
        for keep in asked.keep:
            for way in WAYS:
                if way.random or seed == 0:
                    score(f"{seed}/{keep}/{way.label}", partial(way.rule, sources, keep))
        if "fitted" in vars(sources):  # if anything was left to do
            measured["fits"][str(seed)] = choices.fits_summary(sources.fitted[0].fits)
            write_json(output / KEPT, measured)
    measured["unit"] = objective.unit
    write_json(output / CHOICES, summary(asked, measured) | {"provenance": source_code()})
    return dict(read_mapping(output / CHOICES))


def summary(asked: Settings, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The table: what is added to the cost of the untouched model, with 95 % intervals over seeds and examples; and
    every choice at each token against the best of those made once, paired."""
    points, tables = measured["points"], dict[str, Any]()
    for where in measured["untouched"]:
        rows, added = list[dict[str, Any]](), dict[tuple[int, str], list[Any]]()
        for keep in asked.keep:
            for way in WAYS:
                seeds = [seed if way.random else 0 for seed in range(asked.seeds)]
                found = [points[f"{where}/{seed}/{keep}/{way.label}"] for seed in seeds]
                parts = [np.array(point["costs"]) for point in found]
                added[keep, way.label] = parts
                mean = mean_interval([float(part.mean()) for part in parts], [np.stack(parts)])
                on = float(np.mean([point["on"] for point in found]))
                rows.append(
                    {"keep": keep, "choice": way.name, "when": way.when, "counted": way.counted, "added": mean.mean}
                    | {"interval": mean.interval, "on": on}
                )
            once = [way.label for way in WAYS if way.when == "once"]
            best = min(once, key=lambda label: float(np.mean(added[keep, label])))
            for row, way in zip(rows[-len(WAYS) :], WAYS, strict=True):
                if way.when != "once":
                    ours, theirs = added[keep, way.label], added[keep, best]
                    means = ([float(part.mean()) for part in ours], [float(part.mean()) for part in theirs])
                    tests = [(np.stack(ours), np.stack(theirs))]
                    pair = compare_pair(way.label, best, means, tests, bootstrap=False)
                    row["against"] = best
                    row["difference"], row["difference_interval"] = pair.difference, pair.interval
                    row["share_of_best_static"] = (
                        float(np.mean(ours) / np.mean(theirs)) if np.mean(theirs) > 0 else None
                    )
        number = len(added[asked.keep[0], WAYS[0].label][0])
        tables[where] = {"untouched": measured["untouched"][where], "examples": number, "rows": rows}
    return {"settings": asdict(asked), "unit": measured["unit"], "tables": tables, "fits": measured["fits"]}


def _opened(asked: Settings) -> tuple[Retrofitted, dict[str, list[Tensor]], list[Tensor], Objective]:
    """The model with routers, the examples that are scored, those that choices are made from, and what counts."""
    for key in ("text", "calibrate", "other"):
        if (path := getattr(asked, key)) is not None:
            read_texts(path)  # before the model, which takes its time
    model, tokenizer, causal = open_any(asked.model)

    def examples(path: str, at_most: int | None) -> list[Tensor]:
        if causal:
            return list(blocks(read_texts(path), tokenizer, asked.context, at_most)[:, None].unbind(0))
        return lines(read_texts(path), tokenizer, asked.context, at_most)

    texts = {where: examples(path, asked.blocks) for where in PLACES if (path := getattr(asked, where)) is not None}
    for where, found in texts.items():
        if len(found) < asked.blocks:
            raise InputError(
                f"{where}={getattr(asked, where)}: has {len(found)} examples; choose blocks=1..{len(found)}"
            )
    source = examples(asked.calibrate, None)
    if len(source) < asked.calibration:
        raise InputError(
            f"calibrate={asked.calibrate}: has {len(source)} examples; choose calibration=4..{len(source)}"
        )
    try:
        retrofitted = retrofit(model, Arm(router=LearnedRouter(), gate=Unit()))
    except ValueError as error:
        raise InputError(f"model={asked.model}: {error}") from error
    least = min(site.heads for site in retrofitted.sites)
    if wrong := [k for k in asked.keep if not 1 <= k <= least]:
        raise InputError(f"keep={wrong[0]}: the layers have {least} heads; choose 1..{least}")
    objective: Objective = NextToken()
    if not causal:
        objective = OwnEmbedding()
    return retrofitted, texts, source, objective
