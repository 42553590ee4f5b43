"""`headwise bench`: speed and memory against plain layers, as a table and in bench.json."""

from dataclasses import dataclass
from typing import ClassVar

from rich.console import RenderableType

from headwise.commands.result import Result, columns
from headwise.errors import InputError
from headwise.files import user_path, write_json
from headwise.lab.bench import heads
from headwise.lab.bench.suite import run as measure
from headwise.schema import FilePath, argument

CURVE = ("selection", "mode", "heads on", "median", "lowest", "highest", "dense by the rule", "median if forced")


@dataclass(frozen=True)
class Options:
    """Measure speed and memory against plain layers.

    All benchmarks but coverage, decoding, gates, heads, layout, mazes and pretrained, which take longer, or the named.
    A part of them is written only where output= is given, so that it does not replace a complete bench.json. coverage
    times nothing: it simulates comparisons and counts how often their statistics are right.

    Args:
        names: of benchmarks.
        output: directory for bench.json, and bench_heads.svg beside it; null is the current one.
        quick: time one round of each, to see that it works; the ratios are then no figures.
    """

    waits: ClassVar[str] = "measuring"

    names: tuple[str, ...] = argument(())
    output: FilePath | None = None
    quick: bool = False


def run(options: Options) -> Result:
    """Run the named benchmarks, or all; `heads` prints its curve besides."""
    folder = user_path(options.output or ".")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: a file; choose a directory")
    results = measure(options.names, quick=options.quick)
    text: list[RenderableType] = [columns(results, ["name", "value", "unit", "reference", "ratio"])]
    if options.quick:
        text.insert(0, "One round of each: these ratios are no figures.\n")
    ratios = {str(row["name"]): float(str(row["ratio"])) for row in results if str(row["name"]).startswith("heads/")}
    if ratios:
        text += ["", columns(heads.curve(ratios), CURVE), "", *heads.lines(ratios)]
    if options.names and options.output is None:
        return Result(results, text)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", results)
    if ratios:
        heads.figure(ratios).savefig(folder / "bench_heads.svg")
        text.append(f"\nwritten: {folder / 'bench_heads.svg'}")
    return Result(results, [*text, f"\nwritten: {folder / 'bench.json'}"])
