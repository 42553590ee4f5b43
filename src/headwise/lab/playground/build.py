"""The page's folder: its sources, ONNX Runtime for browsers from npm, and a step model of each run."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import make_folder, write_json, writing
from headwise.lab.export.onnx_file import export, runtime
from headwise.lab.playground.puzzles import PUZZLES
from headwise.training.building import data_of, reproducible
from headwise.training.evaluation import adopt, saved

SOURCES = Path(__file__).parent
PAGE = ("index.html", "style.css", "play.js", "model.js", "maze.js", "sudoku.js")
PACKAGE = ("package.json", "package-lock.json")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What is taken of the package onnxruntime-web: its smallest build, which computes on the processor."""
MODELS = "models.json"


def build(runs: Mapping[str, Path], output: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Build the page.

    Args:
        runs: task -> directory of a finished run.
        output: the folder of the page; one that holds such a page is written anew.
        say: is told what is being done.

    Returns:
        {"output", "bytes", "models": [{"name", "file", "bytes", "largest_difference"}, ...]}, plain JSON.

    Raises:
        InputError: a run of another task or one that cannot be exported, a folder with something else, no npm.
    """
    runtime()
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("npm: not found; ONNX Runtime for browsers comes from there, install Node.js")
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output}: not a folder; choose another one")
    if output.exists() and any(output.iterdir()) and not (output / MODELS).exists():
        raise InputError(f"output={output}: holds something else; choose an empty folder")
    made, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, run in runs.items():
            say(f"{name}: exporting {run}")
            about, exported = _model(name, run, Path(folder) / f"{name}.onnx", say)
            made.append(about)
            found.append({"name": name} | {key: exported[key] for key in ("bytes", "largest_difference")})
        say("fetching ONNX Runtime for browsers with npm")
        packages = _installed(npm, Path(folder) / "npm")
        make_folder(output / "ort")
        for name in PAGE:
            _copy(SOURCES / name, output / name)
        for name in RUNTIME:
            _copy(packages / "onnxruntime-web" / "dist" / name, output / "ort" / name)
        for about in made:
            _copy(Path(folder) / about["file"], output / about["file"])
    write_json(output / MODELS, made)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    return {"output": str(output), "bytes": size, "models": found}


def _model(name: str, run: Path, file: Path, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a run's step model; what the page is told of it, and what the export says."""
    config, facts = saved(run)
    if config.entry.name != name:
        raise InputError(f"{name}={run}: a run of task={config.entry.name}; give one of task={name}")
    with reproducible(config):
        data = data_of(config)
        adopt(data, facts, run)
        exported = export(run, file, say=say)
        inputs = exported["inputs"]
        own = PUZZLES[name](config, data, inputs)
    state = {key: inputs[key] for key in inputs if f"next_{key}" in exported["outputs"] and key != "steps_taken"}
    loop = config.arm.refinement
    about = own | {
        "name": name,
        "title": name.capitalize(),
        "file": file.name,
        "state": state,
        "steps_trained": -(-loop.steps_in_all // exported["steps"]),
        "about": f"{own['about']} Arm: {config.name}. {_each(exported['steps'])}",
    }
    return about, exported


def _each(steps: int) -> str:
    return "A step is one refinement step." if steps == 1 else f"A step is {steps} refinement steps."


def _installed(npm: str, folder: Path) -> Path:
    """The folder of packages that npm made of the lock file.

    Raises:
        InputError: it failed, with what it said first.
    """
    make_folder(folder)
    for name in PACKAGE:
        _copy(SOURCES / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[:200]
        raise InputError(f"npm: cannot install onnxruntime-web ({reason})")
    return folder / "node_modules"


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as content, writing(target, durable=False) as out:
        shutil.copyfileobj(content, out)
