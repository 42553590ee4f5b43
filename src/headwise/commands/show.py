"""`headwise show`: a page on which a person watches a model think, and an animation of it."""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.files import make_folder, user_path, write_text
from headwise.lab.report.show import show_page
from headwise.lab.show.choose import CHOICES, MEANINGS, Choice, chosen
from headwise.lab.show.shown import check_alike, facts, shown
from headwise.schema import FilePath, argument, run_settings
from headwise.tasks.scenes import Example
from headwise.training import config, configuration
from headwise.training.loadable import find_run, loadable, place_beside
from headwise.training.opened import OpenRun, open_run

PAGE = "show.html"


@dataclass(frozen=True)
class Options:
    """Watch a finished run, or two side by side, at work on an example, step by step.

    Writes one page that needs nothing from outside: the model's answer after each refinement step, with the gates of
    every head, where they look, confidence, and how far the step moved the answer (docs/show.md). Behind the run, or
    the two, stands which example: its number in the test set, or the example itself, where it can be typed (a line of a
    sudoku, a sentence, a text). Settings change the examples, or how long the model thinks: task.size=12,
    arm.refinement.steps=12.

    Args:
        run: the run's directory.
        more: another run's directory, or which example, or both.
        example: number of the example in its split, from 0; null is the first, or what choose says.
        split: train, validation or test.
        choose: first; or of the first 64 the first that is solved, or failed; that halted early; that came to be right
            latest.
        output: the page, .html; null is show.html in the first run's directory.
        animation: a file, .gif or .mp4, for an animation of the same; .mp4 needs ffmpeg.
        settings: of the runs, where they are to be others than in training.
    """

    run: FilePath = argument()
    more: tuple[str, ...] = argument(())
    example: int | None = None
    split: str = "test"
    choose: Choice | None = None
    output: FilePath | None = None
    animation: FilePath | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Write the page, and the animation where it is asked for."""
    directories, asked = _told_apart(options.run, options.more)
    output = (
        user_path(options.output) if options.output else (place_beside(options.run, "show") or directories[0]) / PAGE
    )
    _check(options, asked, output)
    runs = [_opened(directory, options.settings) for directory in directories]
    examples, what = _examples(runs, options, asked)
    watched = [shown(one, example) for one, example in zip(runs, examples, strict=True)]
    if len({one.label for one in watched}) < len(watched):
        watched = [
            replace(one, label=f"{one.label} ({run.directory.name})") for one, run in zip(watched, runs, strict=True)
        ]
    task = runs[0].config.entry.name
    words = ["headwise", "show", options.run, *options.more, *_typed(options)]
    quick = any(one.config.quick for one in runs)
    text, left_out = show_page(task, what, watched, shlex.join(words), quick)
    make_folder(output.parent)
    write_text(output, text)
    found: dict[str, Any] = {
        "page": str(output),
        "bytes": len(text.encode()),
        "task": task,
        "example": what,
        "runs": [facts(one) for one in watched],
        "left_out": list(left_out),
    }
    lines = [f"{one.label}: {one.ended}; {one.watched.scene.answers[-1]['said']}" for one in watched]
    if options.animation is not None:
        from headwise.lab.show.animation import animate

        animate(user_path(options.animation), [(one.label, one.watched) for one in watched])
        found["animation"] = options.animation
        lines.append(f"animation: {options.animation}")
    return Result(found, [*lines, f"page: {output}"])


def _told_apart(run: str, more: tuple[str, ...]) -> tuple[list[Path], str | None]:
    """The runs, and what stands behind them."""
    directories, rest = [find_run(run)], list(more)
    if rest and (user_path(rest[0]).is_dir() or rest[0] in loadable()):
        directories.append(find_run(rest.pop(0)))
    if len(rest) > 1:
        raise InputError(f"{' '.join(rest)}: one example at a time; put a text into quotes")
    if rest and _is_path(rest[0]):
        raise InputError(f"{rest[0]}: no such directory; behind a run stands another run, or an example")
    return directories, rest[0] if rest else None


def _is_path(word: str) -> bool:
    return " " not in word and "/" in word


def _check(options: Options, asked: str | None, output: Path) -> None:
    given = [name for name, value in (("example", options.example), ("choose", options.choose)) if value is not None]
    if asked is not None:
        given.insert(0, asked)
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)}: each says which example; give one of them")
    if output.suffix not in (".html", ".htm"):
        raise InputError(f"output={output}: choose a name that ends in .html")
    if options.animation is not None:
        from headwise.lab.show.animation import check_writer

        check_writer(user_path(options.animation))


def _opened(directory: Path, settings: tuple[str, ...]) -> OpenRun:
    opened = open_run(directory, configuration.changed(settings, config.read(directory).to_plain()))
    _ = opened.model  # says at once what is wrong with it
    return opened


def _examples(runs: list[OpenRun], options: Options, asked: str | None) -> tuple[list[Example], str]:
    """For each run the same example, and which it is in words."""
    number = options.example
    if asked is not None:
        if not re.fullmatch(r"\d{1,9}", asked):
            for other in runs[1:]:
                check_alike(runs[0], other, runs[0].example())
            return [one.model.task.from_text(asked) for one in runs], f"“{asked}”" if len(asked) < 60 else "as typed"
        number = int(asked)
    why = ""
    if number is None:
        choice = options.choose or CHOICES[0]
        number = chosen(runs[0], choice, options.split)
        why = "" if choice == CHOICES[0] else f", {MEANINGS[choice]}"
    example = runs[0].example(number, options.split)
    for other in runs[1:]:
        check_alike(runs[0], other, example)
    return [example] * len(runs), f"{options.split} example {number}{why}"


def _typed(options: Options) -> list[str]:
    values = {name: getattr(options, name) for name in ("example", "choose")}
    found = [f"{name}={value}" for name, value in values.items() if value is not None]
    return [*found, *([f"split={options.split}"] if options.split != "test" else []), *options.settings]
