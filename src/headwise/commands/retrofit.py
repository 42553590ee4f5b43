"""`headwise retrofit`: routers in a pretrained model, tuned to keep a share of its heads; a run of task=pretrained."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headwise.commands.result import Result, key_values
from headwise.errors import InputError
from headwise.files import finite, read_mapping, user_path, write_json
from headwise.schema import FilePath, run_settings
from headwise.tasks.pretrained.config import Over, PretrainedConfig, Start, Train
from headwise.training import config, configuration
from headwise.training.config import RunConfig
from headwise.training.files import SUMMARY, TEST_VALUES
from headwise.training.quoting import key_of

RESULT = "result.json"
ROUTED = ("arm.router=learned", "arm.gate=unit", "name=router")
"""The arm where none is named: a router per token, whose heads are on or off."""


@dataclass(frozen=True)
class Options:
    """Put routers into a pretrained language model and tune them to keep a share of its heads.

    A run of task=pretrained (headwise help task=pretrained says more). Its directory holds, beside what a run has,
    result.json: what is added on held-out text and on another one to the loss of the untouched model; and a page.

    Args:
        model: `smollm2`, `tiny`, a folder, or a name on the hub; null (default) takes the task's own, smollm2.
        data: the text that is tuned on, whose end is held out; null (default) takes the task's own, ud_en_ewt.
        other: another text, scored beside; null (default) for none.
        keep: share of the heads that a token keeps; default 0.78, 7 of 9. null leaves the arm as it is.
        over: of each layer, or of the whole model, where layers that say more keep more; null (default) takes model
            where no arm is named and keep is set, else the task's own, layer.
        train: none, routers, lora or all; null (default) takes the task's own, routers.
        start: zero, ridge or importance; null (default) takes ridge where no arm is named, else the task's own, zero.
        output: the run's directory; null makes a new one in runs/.
        resume: directory of a run that stopped; it goes on from there, with its own settings.
        settings: of the run; arm= takes another arm than a router per token whose heads are on or off.
    """

    waits: ClassVar[str] = "opening the model"
    kept: ClassVar[str] = "the run is kept; resume= goes on with it"

    model: FilePath | None = None
    data: FilePath | None = None
    other: FilePath | None = None
    keep: float | None = 0.78
    over: Over | None = None
    train: Train | None = None
    start: Start | None = None
    output: FilePath | None = None
    resume: FilePath | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Tune, or go on; then write the result and the page."""
    settings, resume = settings_of(options), None if options.resume is None else user_path(options.resume)

    from headwise.lab.report.write import write_report
    from headwise.training.run import train

    directory = train(settings, resume, directory=None if options.output is None else user_path(options.output))
    result = concluded(directory)
    write_json(directory / RESULT, result)
    page = write_report(directory)
    where = f"\ndirectory: {directory} (all numbers in {RESULT}; the page: {page.name})"
    return Result(result, [key_values(rows(result)), where])


def settings_of(options: Options) -> RunConfig:
    """The run that the options stand for.

    Raises:
        InputError: settings of another task, or what such a run refuses.
    """
    if options.resume is not None:
        settings = configuration.load(options.settings, config.read(user_path(options.resume)).to_plain())
        if not isinstance(settings.task, PretrainedConfig):
            raise InputError(f"resume={options.resume}: a run of task={settings.entry.name}, not of pretrained")
        return settings
    given = {key_of(word) for word in options.settings}
    if "task" in given or "task.name" in given:
        raise InputError("task: retrofit is of task=pretrained; for another, headwise train task=...")
    named = any(key == "arm" or key.startswith(("arm.router", "arm.gate")) for key in given)
    return configuration.load(
        ["task=pretrained", *_words(options), *([] if named else _routed(options)), *options.settings]
    )


def concluded(directory: Path) -> dict[str, Any]:
    """What a finished run found, against the untouched model on the same blocks."""
    from headwise.lab.statistics import bootstrap_interval
    from headwise.training.opened import open_run

    opened = open_run(directory)
    task, summary = opened.config.task, read_mapping(directory / SUMMARY)
    references = opened.data.references(opened.data.split("test"))
    untouched = references["untouched"].double().numpy()
    loss = np.load(directory / TEST_VALUES, allow_pickle=False).astype(np.float64)
    added, heads, metrics = loss - untouched, opened.config.model.heads, summary["metrics"]
    held_out = {
        "text": task.data,
        "blocks": len(loss),
        "loss": loss.mean(),
        "untouched": untouched.mean(),
        "added": added.mean(),
        "added_standard_error": added.std(ddof=1) / len(added) ** 0.5 if len(added) > 1 else None,
        "added_interval": bootstrap_interval(added),
        "oracle_added": float((references["oracle"] - references["untouched"]).mean())
        if "oracle" in references
        else None,
    }
    other = {"text": task.other, "loss": metrics["other_loss"], "added": metrics["other_added"]} if task.other else None
    found: dict[str, Any] = finite(
        {
            "model": task.model,
            "arm": summary["arm"],
            "trained": task.train,
            "heads": heads,
            "heads_on": summary["heads_active_mean"],
            "share_on": summary["heads_active_mean"] / heads,
            "held_out": held_out,
            "other": other,
            "updates": summary["updates"],
            "selected_update": summary["selected_update"],
            "train_seconds": summary["train_seconds"],
            "parameters_by_role": summary["parameters_by_role"],
            "quick": summary["quick"],
        }
    )
    return found


def rows(result: dict[str, Any]) -> dict[str, Any]:
    """The numbers that matter, by the names that people read."""
    from headwise.lab.formatting import (
        format_difference,
        format_duration,
        format_interval_of_difference,
        format_metric,
        format_percent,
        format_quantity,
    )

    held, other = result["held_out"], result["other"]
    interval = held["added_interval"]
    shown = {
        "model": f"{result['model']}, {result['trained']} tuned in {result['updates']} updates",
        "heads on": f"{result['heads_on']:.2f} of {result['heads']} per token and layer "
        f"({format_percent(result['share_on'])})",
        "held-out text": f"{held['text']}, {format_quantity(held['blocks'], 'block')}",
        "untouched": f"{format_metric(held['untouched'])} nats per token",
        "loss": f"{format_metric(held['loss'])} nats per token",
        "added": format_difference(held["added"], signed=True)
        + (f" ({format_interval_of_difference(interval)} over blocks)" if interval else ""),
    }
    if held["oracle_added"] is not None:
        shown["oracle, untuned"] = f"{format_difference(held['oracle_added'], signed=True)} added at this share"
    if other:
        shown["other text"] = f"{other['text']}: {format_metric(other['loss'])} nats per token, "
        shown["other text"] += f"{format_difference(other['added'], signed=True)} added"
    return shown | {"training time": format_duration(result["train_seconds"])}


def _words(options: Options) -> Iterator[str]:
    """The options of the task as settings; null where the task has a default is the task's."""
    for key in ("model", "data", "other", "over", "train", "start"):
        if (value := getattr(options, key)) is not None:
            yield f"task.{key}={value}"
    yield f"task.keep={'null' if options.keep is None else options.keep}"


def _routed(options: Options) -> list[str]:
    if options.keep is None:
        return [*ROUTED]
    ours = {"start": "ridge", "over": "model"}
    return [*ROUTED, *(f"task.{key}={value}" for key, value in ours.items() if getattr(options, key) is None)]
