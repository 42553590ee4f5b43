"""`headwise weights`: models to load by name, made from their recipes."""

from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result, columns
from headwise.files import user_path
from headwise.lab.weights.make import make
from headwise.schema import FilePath, argument, run_settings, to_plain


@dataclass(frozen=True)
class Options:
    """Make the models that are loaded by name: train them from their recipes, measure them, write their cards.

    Each becomes a folder with its weights and its card, README.md, whose figures are measured on those very weights; of
    such folders the package headwise-weights is made (make weights). A finished run in runs/<name> is taken, wherever
    it was trained, if its settings are those of the recipe; what is not there is trained. What was measured is kept.

    Args:
        names: of the models; without any, all of them. headwise list weights has them.
        runs: folder with the run of each, in a folder of the model's name.
        output: folder for the models.
        only_finished: refuse a model that is not trained yet.
        settings: of the runs, beside those of their recipes, for a try: quick=true.
    """

    kept: ClassVar[str] = "what was trained and measured is kept"

    names: tuple[str, ...] = argument(())
    runs: FilePath = "runs/weights"
    output: FilePath = "weights"
    only_finished: bool = False
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Make what is named, and say what each reaches."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    output = user_path(options.output)
    cards = make(
        options.names,
        user_path(options.runs),
        output,
        options.settings,
        options.only_finished,
        lambda line: console.print(Text(line)),
    )
    rows: list[dict[str, Any]] = [
        {
            "model": name,
            "settings": figures.name,
            "examples": figures.examples,
            "figures": ", ".join(f"{metric} {measured.value:.4g}" for metric, measured in figures.metrics.items()),
        }
        for name, card in cards.items()
        for figures in card.figures
    ]
    found = {name: to_plain(card) | {"folder": str(output / name)} for name, card in cards.items()}
    return Result(found, [columns(rows, list(rows[0])), f"\nwritten: {output}"])
