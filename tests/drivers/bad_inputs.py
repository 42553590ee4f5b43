"""Feeds `headwise` inputs that nobody meant. Each must end in bounded time and memory, in at most one line, and leave
nothing half written behind.

    python -m tests.drivers.bad_inputs --number 1300 --seed 0 [--only checkpoints,corpora] [--log bad.jsonl]

Everything that is read is damaged: command lines, settings in YAML, the files of runs, comparisons and ladders,
checkpoints, corpora, treebanks, mazes, graphs. A command runs in a process forked from this one, which has loaded
everything and computed nothing: the threads of torch do not outlive a fork, and who waits for them waits for ever.
"""

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import yaml

from tests.drivers import damage
from tests.drivers.endings import Outcome, run
from tests.drivers.material import (
    COMPARE,
    CONTROL,
    LADDER,
    LANGUAGE,
    MAZE,
    OOD,
    PARSING,
    SCALE,
    SORTING,
    SUDOKU,
    SWEEP,
    WALK,
    Material,
)

Kind = Callable[[Material, Path, random.Random], tuple[list[str], str]]
"""Prepares a folder with damaged input; the command on it, and how it was damaged."""


def of_run(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Any file of a finished run."""
    name = rng.choice(["run", "run", "language", "parsing"])
    file, how = _damaged(material.of(name), folder / "run", rng)
    _data(material, folder)
    commands = [["evaluate", "run"], ["report", "run"], ["train", "resume=run"], ["doctor", "run"]]
    commands += {
        "language": [["generate", "run", "a rose"]],
        "parsing": [["parse", "run", "bank/xx-ud-test.conllu"]],
    }.get(name, [])
    return rng.choice(commands), f"{name} {file}: {how}"


def of_checkpoints(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """What a run resumes from."""
    file, how = _damaged(material.of("stopped"), folder / "run", rng, "checkpoints/last.ckpt")
    if rng.random() < 0.7:
        _remove(folder / "run" / "checkpoints" / "previous.ckpt")
    longer = (
        ["training.updates=9", "arm=linear", *(word for word in SORTING if "updates" not in word)]
        if rng.random() < 0.5
        else []
    )
    return ["train", "resume=run", *longer], f"{file}: {how}"


def of_comparison(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of a comparison, and of the runs in it."""
    file, how = _damaged(
        material.of("comparison"), folder / "comparison", rng, "comparison.json", "plan.json", "data.json"
    )
    return rng.choice(
        [COMPARE, ["report", "comparison"], ["report", "comparison", "markdown=table.md"], ["doctor", "comparison"]]
    ), f"{file}: {how}"


def of_ladder(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of a ladder, and of the runs in it."""
    file, how = _damaged(material.of("ladder"), folder / "ladder", rng, "ladder.json", "plan.json", "data.json")
    return rng.choice([LADDER, ["report", "ladder"]]), f"{file}: {how}"


def of_scaling(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of a scaling, of the comparisons and the runs in it."""
    file, how = _damaged(material.of("scaling"), folder / "scaling", rng, "scaling.json", "plan.json", "data.json")
    return rng.choice([SCALE, ["report", "scaling"], ["scale", "dry_run=true", *SCALE[1:]]]), f"{file}: {how}"


def of_control(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of a control, of the comparisons and the runs in it."""
    file, how = _damaged(material.of("control"), folder / "control", rng, "control.json", "arms/plan.json")
    return rng.choice([CONTROL, ["report", "control"]]), f"{file}: {how}"


def of_ood(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of an out-of-distribution test, and of the runs that it is about."""
    if rng.random() < 0.5:
        shutil.copytree(material.of("comparison"), folder / "comparison")
        file, how = _damaged(material.of("ood"), folder / "ood", rng, "ood.json")
    else:
        file, how = _damaged(material.of("comparison"), folder / "comparison", rng, "comparison.json")
        shutil.copytree(material.of("ood"), folder / "ood")
    return rng.choice([OOD, ["report", "ood"]]), f"{file}: {how}"


def of_sweep(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of a sweep, of its confirmation and the runs in it."""
    often = ("sweep.json", "search/plan.json", "search/data.json", "confirmation/comparison.json")
    file, how = _damaged(material.of("sweep"), folder / "sweep", rng, *often)
    return rng.choice([SWEEP, ["report", "sweep"], ["report", "sweep", "markdown=table.md"]]), f"{file}: {how}"


def of_claims(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """A claim, and what its last test said."""
    claim = {"title": "a", "source": "b", "says": "c", "needed": "d", "minutes": 1}
    claim |= {"commands": {"kinds": {"run": "list arms"}}}
    claim |= {"rules": [{"name": "measure", "of": "kinds", "at": ["arms", "hrm"], "at_least": 1}]}
    (folder / "claim.yaml").write_text(yaml.safe_dump(claim))
    verdict = {"claim": "claim", "outcome": "holds", "date": "2026-01-01", "machine": "one", "seconds": 1.0}
    verdict |= {"evidence": [], "commands": [], "headwise": {}, "quick": False}
    (folder / "claim.json").write_text(json.dumps(verdict))
    name = rng.choice(["claim.yaml", "claim.yaml", "claim.json"])
    how = damage.in_file(folder / name, rng)
    return ["claims", "claim.yaml"], f"{name}: {how}"


def of_settings(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """YAML of a group, given by its path."""
    shutil.copy(material.folder / "arm.yaml", folder / "arm.yaml")
    how = damage.in_file(folder / "arm.yaml", rng)
    return ["train", "arm=arm.yaml", *SORTING, "training.updates=1", "training.validate_every=1"], f"arm.yaml: {how}"


def of_words(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Words of a command line: keys and values that there are not, or that no command has."""
    from headwise.commands.catalogue import commands

    keys = [word.partition("=")[0] for word in SORTING] + [
        "seed",
        "arm.router",
        "arm.gate.k",
        "training.losses",
        "output",
        "resume",
        "task",
        "arm",
    ]
    command = rng.choice([*commands(), "train", "train", "evaluate", "report", "", "trian"])
    if command == "data get" or command.startswith("bench") or command in ("check laws",):
        command = "train"
    odd = [f"{rng.choice(keys)}={rng.choice(damage.ODD_WORDS)}" for _ in range(rng.choice([1, 1, 2]))]
    free = [rng.choice(damage.ODD_WORDS)] if rng.random() < 0.3 else []
    short = [*SORTING, "training.updates=1", "training.validate_every=1"]
    few = [*short, "seeds=1", "jobs=1"]
    base = {"train": short, "control": [*few, "widths=[]"], "sweep": [*few, "confirm=0"]}.get(command, [])
    return [*command.split(), *base, *odd, *free], "words"


def of_corpora(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Texts and records."""
    _data(material, folder)
    name = rng.choice(["corpus.txt", "records.jsonl"])
    how = damage.in_file(folder / name, rng)
    words = [f"task.corpus={name}" if word.startswith("task.corpus") else word for word in LANGUAGE]
    tokenizer = rng.choice(["word", "character", "bpe"])
    return [
        "train",
        *words,
        f"task.tokenizer={tokenizer}",
        "training.updates=1",
        "training.validate_every=1",
    ], f"{name}: {how}"


def of_treebanks(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """CoNLL-U files."""
    _data(material, folder)
    file = rng.choice(sorted((folder / "bank").iterdir()))
    how = _in_table(file, rng)
    if rng.random() < 0.3:
        shutil.copytree(material.of("parsing"), folder / "run")
        return ["parse", "run", str(file.relative_to(folder))], f"{file.name}: {how}"
    return ["train", *PARSING, "training.updates=1", "training.validate_every=1"], f"{file.name}: {how}"


def of_mazes(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of mazes."""
    import numpy as np

    shutil.copy(material.of("mazes.npz"), folder / "mazes.npz")
    if rng.random() < 0.5:
        with np.load(folder / "mazes.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        name = rng.choice(sorted(arrays))
        odd = [
            np.zeros((2, 3)),
            np.array(["a"]),
            arrays[name].astype(np.float32) if arrays[name].dtype.kind in "iu" else np.array(1),
        ]
        odd += [np.zeros((40, 4, 4), np.uint8), np.full(arrays[name].shape, 255, np.uint8), np.zeros(0, np.int64)]
        arrays[name] = rng.choice(odd)
        if rng.random() < 0.2:
            del arrays[name]
        np.savez(folder / "mazes.npz", **arrays)
        how = f"array {name}"
    else:
        how = damage.in_file(folder / "mazes.npz", rng)
    return ["train", *MAZE, "training.updates=1", "training.validate_every=1"], f"mazes.npz: {how}"


def of_sudokus(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Files of puzzles."""
    name = rng.choice(["puzzles.csv", "puzzles.npz"])
    shutil.copy(material.of(name), folder / name)
    how = damage.in_file(folder / name, rng)
    words = [word.replace("puzzles.csv", name) for word in SUDOKU]
    return ["train", *words, "training.updates=1", "training.validate_every=1"], f"{name}: {how}"


def of_graphs(material: Material, folder: Path, rng: random.Random) -> tuple[list[str], str]:
    """Triples."""
    names = [f"e{number}" for number in range(6)]
    lines = [
        f"{head}\tr{(i + j) % 2}\t{tail}" for i, head in enumerate(names) for j, tail in enumerate(names) if i != j
    ]
    (folder / "graph.tsv").write_text("\n".join(lines[:20]))
    (folder / "later.tsv").write_text("\n".join(lines[20:]))
    name = rng.choice(["graph.tsv", "later.tsv"])
    how = _in_table(folder / name, rng)
    return ["train", *WALK, "training.updates=1", "training.validate_every=1"], f"{name}: {how}"


KINDS: dict[str, tuple[Kind, int]] = {
    "runs": (of_run, 5),
    "checkpoints": (of_checkpoints, 4),
    "comparisons": (of_comparison, 4),
    "ladders": (of_ladder, 2),
    "scalings": (of_scaling, 2),
    "controls": (of_control, 2),
    "ood": (of_ood, 2),
    "sweeps": (of_sweep, 2),
    "claims": (of_claims, 1),
    "settings": (of_settings, 2),
    "words": (of_words, 3),
    "corpora": (of_corpora, 2),
    "treebanks": (of_treebanks, 2),
    "mazes": (of_mazes, 2),
    "sudokus": (of_sudokus, 2),
    "graphs": (of_graphs, 2),
}
"""Kinds of input, each with its weight among the others."""


def _in_table(file: Path, rng: random.Random) -> str:
    """Damage a file of columns: every second time one of them. How it was done."""
    if rng.random() < 0.5:
        return damage.in_file(file, rng)
    lines = file.read_text().split("\n")
    number = rng.randrange(len(lines))
    columns = lines[number].split("\t")
    columns[rng.randrange(len(columns))] = rng.choice(damage.ODD_WORDS)
    lines[number] = "\t".join(columns)
    file.write_text("\n".join(lines))
    return "a column"


def _damaged(source: Path, target: Path, rng: random.Random, *often: str) -> tuple[str, str]:
    """A copy of a folder with one file of it damaged: its name, and how. Every second time one of those named."""
    shutil.copytree(source, target)
    files = sorted(
        path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file() and path.suffix != ".html"
    )
    there = [name for name in often if name in files]
    name = rng.choice(there) if there and rng.random() < 0.5 else rng.choice(files)
    return name, damage.in_file(target / name, rng)


def _remove(path: Path) -> None:
    """Remove what may have become a directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _data(material: Material, folder: Path) -> None:
    for name in ("corpus.txt", "records.jsonl"):
        shutil.copy(material.folder / name, folder / name)
    shutil.copytree(material.folder / "bank", folder / "bank")


def outcomes(number: int, seed: int, only: list[str] | None = None, seconds: float = float("inf")) -> Iterator[Outcome]:
    """Run so many inputs, at most so many seconds long; each is a function of the seed and its own number."""
    began, weights = time.monotonic(), [weight for _, weight in KINDS.values()]
    with tempfile.TemporaryDirectory(prefix="bad-inputs-") as scratch:
        base = Path(scratch) / "material"
        base.mkdir()
        material = Material(base)
        for count in range(number):
            if time.monotonic() - began > seconds:
                return
            rng = random.Random(f"{seed}-{count}")
            kind = only[count % len(only)] if only else rng.choices(list(KINDS), weights)[0]
            folder = Path(scratch) / "case"
            folder.mkdir()
            words, how = KINDS[kind][0](material, folder, rng)
            outcome = run(words, folder)
            yield Outcome(outcome.words, f"{kind} {seed}-{count}: {how}", *list(asdict(outcome).values())[2:])
            shutil.rmtree(folder)


def preload() -> None:
    """Load what commands need, so that a fork starts at once."""
    import importlib
    import pkgutil

    import torch

    import headwise

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in pkgutil.walk_packages(headwise.__path__, "headwise."):
            if not found.name.endswith("__main__"):
                with contextlib.suppress(ImportError):
                    importlib.import_module(found.name)


def main() -> int:
    """Report every fault; exit code 1 if there was one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further input after so long")
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"kinds in turn, of {','.join(KINDS)}")
    parser.add_argument("--log", type=Path, help="a line of JSON for each input")
    options = parser.parse_args()
    preload()
    sys.setrecursionlimit(100_000)  # for what writes values nested deep
    faults, count, codes = 0, 0, dict.fromkeys((0, 1, 2), 0)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(options.log.open("w")) if options.log else None
        for outcome in outcomes(options.number, options.seed, options.only, options.seconds):
            count += 1
            codes[outcome.code] = codes.get(outcome.code, 0) + 1
            if log:
                print(json.dumps(asdict(outcome)), file=log, flush=True)
            if outcome.fault:
                faults += 1
                last = (outcome.said.rstrip().splitlines() or [""])[-1][:200]
                print(f"{outcome.fault}: {outcome.how}\n    {' '.join(outcome.words)[:200]}\n    {last}", flush=True)
    print(f"{count} inputs, {faults} faults; exit codes {', '.join(f'{code}: {n}' for code, n in codes.items())}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
