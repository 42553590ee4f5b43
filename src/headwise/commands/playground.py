"""`headwise playground`: a page on which trained models solve puzzles in the browser."""

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result, key_values
from headwise.errors import InputError
from headwise.files import user_path
from headwise.lab.playground.build import build
from headwise.schema import FilePath
from headwise.training.loadable import find_run


@dataclass(frozen=True)
class Options:
    """Build a page on which trained models solve mazes and sudokus in the browser, step by step

    Draw the walls of a maze, or type a sudoku, and watch the answer form. The folder needs nothing from outside and can
    be put on any web server (python -m http.server will do); no puzzle leaves the browser. Each model is exported as by
    `headwise export` and checked in the same way. Needs the extra `onnx`, and npm, which fetches ONNX Runtime for
    browsers.

    Args:
        maze: directory of a run with task=maze that marks the path (task.read_out=grid).
        sudoku: directory of a run with task=sudoku.
        output: folder of the page; one that holds such a page is written anew.
    """

    maze: FilePath | None = None
    sudoku: FilePath | None = None
    output: FilePath = "site/play"


def run(options: Options) -> Result:
    """Export the models and put the page together."""
    runs = {"maze": options.maze, "sudoku": options.sudoku}
    chosen = {name: find_run(path) for name, path in runs.items() if path is not None}
    if not chosen:
        raise InputError("playground: which run? write headwise playground maze=<run> sudoku=<run>, or one of them")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    result = build(chosen, user_path(options.output), lambda line: console.print(Text(line)))
    return Result(result, [key_values(result), f"see it: python -m http.server --directory {result['output']}"])
