"""`headwise think`: a finished run with more steps and several restarts."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.report.thinking_table import thinking_text
from headwise.lab.report.write import write_report
from headwise.lab.thinking.think import think
from headwise.schema import FilePath, argument, run_settings
from headwise.training import config, configuration
from headwise.training.loadable import find_run, place_beside


@dataclass(frozen=True)
class Options:
    """Let a finished run think longer, with more steps and several restarts, and say which answer to take.

    Each number of steps is tried with each number of restarts, which differ in their random initial states and in the
    noise on the path. Selections, none of which knows the right answer, stand beside a restart at random and the best
    of all, in accuracy and in FLOPs (docs/thinking.md). The longest one is also followed step by step: does it
    converge, does it overthink? What was measured is kept: the same command goes on with what is missing, and steps,
    restarts and selections may be added. The result is the content of thinking.json; the page, report.html, is written
    beside it.

    Args:
        run: the run's directory, or the name of a model (headwise list weights).
        steps: one or several numbers of steps in all segments, or multiples of those trained, [1x,4x]; null is
            [1x,2x,4x].
        restarts: one or several numbers of restarts, [1,16]; null is [1,4,16], or 1 where nothing is drawn.
        noise: standard deviation of noise on the path.
        noise_every: when it is added, after every step or once in a segment of the length trained.
        select: residual (the answer that the last step moved least), halting (that the learned halting is surest of),
            majority (that most restarts give), valid (that agrees with the question); one or several. null is all that
            the run can have.
        output: directory of the results; null is thinking in the run's, or runs/thinking-<model>.
        settings: of the run, where they are to be others than in training: task.size=12.
    """

    waits: ClassVar[str] = "opening the run"
    kept: ClassVar[str] = "what was measured is kept"

    run: FilePath = argument()
    steps: tuple[Any, ...] | str | int | float | None = None
    restarts: tuple[Any, ...] | int | None = None
    noise: float = 0.0
    noise_every: Literal["step", "segment"] = "step"
    select: tuple[str, ...] | str | None = None
    output: FilePath | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Measure, or go on where the same command stopped."""
    directory = find_run(options.run)
    settings = configuration.changed(options.settings, config.read(directory).to_plain())
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    result = think(
        directory,
        options.steps,
        options.restarts,
        options.noise,
        options.noise_every,
        options.select,
        user_path(options.output) if options.output else place_beside(options.run, "thinking"),
        settings,
        lambda line: console.print(Text(line)),
    )
    write_report(result["directory"])
    return Result(result, thinking_text(result))
