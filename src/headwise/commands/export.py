"""`headwise export`: the model of a finished run as a file that other programs run."""

from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from headwise.commands.result import Result, key_values
from headwise.files import user_path
from headwise.lab.export.onnx_file import export
from headwise.schema import FilePath, argument, run_settings
from headwise.training import config, configuration
from headwise.training.loadable import find_run, place_beside


@dataclass(frozen=True)
class Options:
    """Write the model of a finished run as an ONNX file, for programs without Python or torch

    The file is kept only if ONNX Runtime computes with it what torch does, to 1e-4, at several batch sizes, lengths and
    numbers of steps; the largest difference is printed. Every size that the weights leave open stays open. What the
    inputs and outputs are, and how a step model is run, is in docs/export.md. Needs the extra `onnx`.

    Args:
        run: the run's directory.
        format: onnx.
        output: the file; null is model.onnx in the run's directory.
        steps: refinement steps, written out one after the other: question in, prediction out. null makes one step the
            file, the state going in and out, so that a program may run as many as it likes and stop when it likes.
        settings: of the run, where they are to be others than in training: task.size=12.
    """

    run: FilePath = argument()
    format: Literal["onnx"] = argument("onnx")
    output: FilePath | None = None
    steps: int | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Export, compare, and write."""
    directory = find_run(options.run)
    settings = configuration.changed(options.settings, config.read(directory).to_plain())
    beside = place_beside(options.run, "onnx") or directory
    output = beside / "model.onnx" if options.output is None else user_path(options.output)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    result = export(directory, output, options.steps, settings, lambda line: console.print(Text(line)))
    return Result(result, [key_values(_shown(result))])


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    return result | {"compared": f"{len(result['compared'])} times, the largest difference above"}
