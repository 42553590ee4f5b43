"""`headwise bench`: speed and memory against plain layers, as a table and in bench.json."""

from pathlib import Path

from rich.console import RenderableType

from headwise.commands.result import Result, columns

CURVE = ("selection", "mode", "heads on", "median", "lowest", "highest", "dense by the rule", "median if forced")


def run(words: list[str]) -> Result:
    """Run the named benchmarks, or all.

    bench.json goes into the directory `output=`, by default the current one. A part of the benchmarks is written only
    where `output=` is given, so that it does not replace a complete file. `heads` runs only when named; it prints its
    curve besides, with bench_heads.svg beside bench.json.
    """
    from headwise.files import write_json
    from headwise.lab.bench import heads
    from headwise.lab.bench.suite import run as measure
    from headwise.training import configuration

    own, names = configuration.take(words, ["output"])
    results = measure(names)
    text: list[RenderableType] = [columns(results, ["name", "value", "unit", "reference", "ratio"])]
    ratios = {str(row["name"]): float(str(row["ratio"])) for row in results if str(row["name"]).startswith("heads/")}
    if ratios:
        text += ["", columns(heads.curve(ratios), CURVE), "", *heads.lines(ratios)]
    if names and "output" not in own:
        return Result(results, text)
    folder = Path(own.get("output", "."))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", results)
    if ratios:
        heads.figure(ratios).savefig(folder / "bench_heads.svg")
        text.append(f"\nwritten: {folder / 'bench_heads.svg'}")
    return Result(results, [*text, f"\nwritten: {folder / 'bench.json'}"])
