"""`headwise ood`: what happens outside the distribution trained on, from finished runs, without training again."""

from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.ood.ood import ood
from headwise.lab.ood.runs import find
from headwise.lab.report.ood_tables import ood_text
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, argument, run_settings
from headwise.training import configuration


@dataclass(frozen=True)
class Options:
    """Say what happens outside the distribution trained on, from finished runs, without training again.

    Each task has axes of its own (longer arrays, larger mazes, more hops, longer sentences, another corpus), and every
    model those of refinement steps, heads and noise on the gates. At each point the arms stand between the floor and
    the ceiling of that test set, with what is left of their gain over the floor, and a verdict between them, paired
    over seeds and examples (docs/ood.md). What was measured is kept: the same command goes on with what is missing, and
    axes, values and runs may be added. The result is the content of ood.json; ood.csv and the page, report.html, are
    written beside it.

    Args:
        runs: the directory of a comparison, or of runs on one task.
        axes: which, [length,steps]; or with values, {length: [16,20,24], steps: null}; null is all that need no value
            of the user's.
        output: directory of the results; null is ood in the directory given, and for several a new one in runs/.
        settings: of the runs, where they are to be others than in training at every point: arm.refinement.steps=12.
    """

    waits: ClassVar[str] = "opening the runs"
    kept: ClassVar[str] = "what was measured is kept"

    runs: tuple[FilePath, ...] = argument(())
    axes: tuple[str, ...] | dict[str, Any] | None = None
    output: FilePath | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Measure, or go on where the same command stopped."""
    directories = [user_path(path) for path in options.runs]
    settings: dict[str, Any] = {}
    if options.settings:
        settings = configuration.changed(options.settings, find(directories).first.to_plain())
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    result = ood(directories, options.axes, options.output, settings, lambda line: console.print(Text(line)))
    write_report(result["directory"])
    return Result(result, ood_text(result))
