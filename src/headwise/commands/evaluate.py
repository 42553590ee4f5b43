"""`headwise evaluate`: the model of a finished run, on its own test set or on another."""

from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result, key_values
from headwise.schema import FilePath, argument, run_settings
from headwise.training import config, configuration
from headwise.training.evaluation import evaluate
from headwise.training.loadable import find_run


@dataclass(frozen=True)
class Options:
    """Score a finished run on its test set, or on another one.

    Settings change what it is scored on, or how: task.length=30, task.mask_rate=0.2, arm.refinement.steps=12.

    Args:
        run: the run's directory, or the name of a model (headwise list weights).
        settings: of the run, where they are to be others than in training.
    """

    waits: ClassVar[str] = "scoring the model"

    run: FilePath = argument()
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Score the run under the settings given."""
    directory = find_run(options.run)
    settings = configuration.changed(options.settings, config.read(directory).to_plain())
    summary = evaluate(directory, settings)
    return Result(summary, [key_values(summary)])
