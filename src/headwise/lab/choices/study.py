"""What it costs a pretrained language model to keep fewer heads, by how they are chosen; nothing is trained.

Every choice is made from calibration texts, drawn anew for each seed, and scored on the same blocks of held-out text as
the untouched model, so that differences are paired by block. What is measured is kept, and the same command goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import make_folder, read_mapping, write_json
from headwise.lab.choices.ways import UNTOUCHED, WAYS, Sources
from headwise.lab.outputs import CHOICES
from headwise.lab.statistics import compare_pair, mean_interval
from headwise.models.arm import Arm
from headwise.pretrained import choices
from headwise.pretrained.opening import blocks, open_model, read_texts
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.provenance import source_code
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit

MEASURED = "measured.json"
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
        blocks, context: how much text is scored: so many blocks of so many tokens.
        calibration: blocks that choices are made from.
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
    measured = _kept(asked, output)
    model, texts, source = _opened(asked)
    retrofitted = _retrofitted(model, asked)
    make_folder(output)

    def score(key: str, rule: Callable[[], choices.Rule | None]) -> None:
        for where, tokens in texts.items():
            place = f"{where}/{key}"
            if place not in measured["points"]:
                measured["points"][place] = _score(retrofitted, tokens, rule())
                write_json(output / MEASURED, measured)
                found = measured["points"][place]
                progress(f"{place}: {np.mean(found['losses']):.4f} nats, {100 * found['on']:.0f} % of heads on")

    score(f"0/0/{UNTOUCHED}", lambda: None)
    for seed in range(asked.seeds):
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[: asked.calibration]
        sources = Sources(retrofitted, source[order], seed)
        for keep in asked.keep:
            for way in WAYS:
                score(f"{seed}/{keep}/{way.label}", lambda way=way, keep=keep, at=sources: way.rule(at, keep))  # type: ignore[misc]
        if "routers" in vars(sources):  # fitted, if anything was left to do
            measured["fits"][str(seed)] = choices.fits_summary(sources.routers[1])
            write_json(output / MEASURED, measured)
    write_json(output / CHOICES, summary(asked, measured) | {"provenance": source_code()})
    return dict(read_mapping(output / CHOICES))


def summary(asked: Settings, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The table: nats added to the untouched model, with 95 % intervals over seeds and blocks; and every choice at each
    token against the best of those made once, paired."""
    points, tables = measured["points"], dict[str, Any]()
    for where in ("text", "other") if asked.other else ("text",):
        base = np.array(points[f"{where}/0/0/{UNTOUCHED}"]["losses"])
        rows, added = list[dict[str, Any]](), dict[tuple[int, str], list[Any]]()
        for keep in asked.keep:
            for way in WAYS:
                found = [points[f"{where}/{seed}/{keep}/{way.label}"] for seed in range(asked.seeds)]
                parts = [np.array(point["losses"]) - base for point in found]
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
                    row["share_of_best_static"] = float(np.mean(ours) / np.mean(theirs)) if np.mean(theirs) else None
        tables[where] = {"untouched": float(base.mean()), "blocks": len(base), "rows": rows}
    return {"settings": asdict(asked), "tables": tables, "fits": measured["fits"]}


def _opened(asked: Settings) -> tuple[Any, dict[str, Tensor], Tensor]:
    """The model, the texts that are scored, and the one that choices are made from, as blocks."""
    for key in ("text", "calibrate", "other"):
        if (path := getattr(asked, key)) is not None:
            read_texts(path)  # before the model, which takes its time
    model, tokenizer = open_model(asked.model)
    texts = {"text": blocks(read_texts(asked.text), tokenizer, asked.context, asked.blocks)}
    if asked.other is not None:
        texts["other"] = blocks(read_texts(asked.other), tokenizer, asked.context, asked.blocks)
    for where, found in texts.items():
        if len(found) < asked.blocks:
            raise InputError(f"{where}={getattr(asked, where)}: has {len(found)} blocks; choose blocks=1..{len(found)}")
    source = blocks(read_texts(asked.calibrate), tokenizer, asked.context)
    if len(source) < asked.calibration:
        raise InputError(f"calibrate={asked.calibrate}: has {len(source)} blocks; choose calibration=4..{len(source)}")
    return model, texts, source


def _retrofitted(model: Any, asked: Settings) -> Retrofitted:
    try:
        found = retrofit(model, Arm(router=LearnedRouter(), gate=Unit()))
    except ValueError as error:
        raise InputError(f"model={asked.model}: {error}") from error
    least = min(site.heads for site in found.sites)
    if wrong := [k for k in asked.keep if not 1 <= k <= least]:
        raise InputError(f"keep={wrong[0]}: the layers have {least} heads; choose 1..{least}")
    return found


def _score(retrofitted: Retrofitted, tokens: Tensor, rule: choices.Rule | None) -> dict[str, Any]:
    """The loss of each block, and the share of heads that were on."""
    if rule is None:
        with retrofitted.all_on():
            return {"losses": choices.nats(retrofitted.model, tokens).tolist(), "on": 1.0}
    with choices.ruled(retrofitted, rule) as shares:
        losses = choices.nats(retrofitted.model, tokens)
    return {"losses": losses.tolist(), "on": float(torch.stack(shares).mean())}


def _kept(asked: Settings, output: Path) -> dict[str, Any]:
    """What an earlier call has measured there with the same settings; more seeds and numbers of heads may be added."""
    own = {key: value for key, value in asdict(asked).items() if key not in ("keep", "seeds")}
    if not (output / MEASURED).is_file():
        return {"settings": own, "points": {}, "fits": {}}
    found = dict(read_mapping(output / MEASURED))
    for key, value in own.items():
        if (before := found.get("settings", {}).get(key)) != value:
            raise InputError(f"output={output}: was measured with {key}={before}, not {value}; choose another output")
    return found
