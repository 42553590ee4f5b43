"""`headwise bench`: speed and memory against plain layers, as a table and in bench.json."""

from pathlib import Path

from headwise.commands.result import Result, columns


def run(words: list[str]) -> Result:
    """Run the named benchmarks, or all.

    bench.json goes into the directory `output=`, by default the current one. A part of the benchmarks is written only
    where `output=` is given, so that it does not replace a complete file.
    """
    from headwise.lab.bench import run as measure
    from headwise.models.checkpoint import write_json
    from headwise.training import configuration

    own, names = configuration.take(words, ["output"])
    results = measure(names)
    text = [columns(results, ["name", "value", "unit", "reference", "ratio"])]
    if names and "output" not in own:
        return Result(results, text)
    folder = Path(own.get("output", "."))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", results)
    return Result(results, [*text, f"\nwritten: {folder / 'bench.json'}"])
