"""What runs and comparisons leave on disk, read back as plain data.

A file that is missing or cut short is no error here: a report on a failed run shows what there is.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwise.errors import InputError

COMPARISON = "comparison.json"
SCALING = "scaling.json"
MEMORY = "memory.json"
SUMMARY = "summary.json"
METRICS = "metrics.jsonl"
ROUTING = "routing.jsonl"
TEST_VALUES = "test_values.npy"
ANALYSIS = "analysis.json"
CONFIG = "config.yaml"
REPORT = "report.html"


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        summary: `summary.json`; empty if the run did not finish.
        metrics, routing: the lines of `metrics.jsonl` and `routing.jsonl`, oldest first.
        test_values: the primary metric of each test example, float32 [examples], or None.
        config: the text of the resolved configuration, or an empty string.
        analysis: `analysis.json`, what the task itself found on the test examples; empty if it has nothing to say.
    """

    directory: Path
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    routing: list[dict[str, Any]] = field(default_factory=list)
    test_values: NDArray[np.float32] | None = None
    config: str = ""
    analysis: dict[str, Any] = field(default_factory=dict)

    def curve(self, key: str, split: str = "validation") -> tuple[list[float], list[float]]:
        """Updates and values of one logged number, in the order of updates; entries that are no number are left out."""
        return _series((line for line in self.metrics if line.get("split") == split), key)

    def routing_curve(self, key: str) -> tuple[list[float], list[float]]:
        """The same for a number of the routing diagnostics on the validation examples."""
        return _series((line for line in self.routing if line.get("split", "validation") == "validation"), key)

    @property
    def head_loads(self) -> NDArray[np.float64] | None:
        """Share of tokens that use each head [layers, H] on the test examples; None without heads that go off."""
        layers: list[dict[str, Any]] = next((line["layers"] for line in self.routing[::-1] if line.get("layers")), [])
        loads = np.asarray([layer["load"] for layer in layers if layer.get("load")], dtype=np.float64)
        return loads if loads.ndim == 2 and loads.min() < 1 else None

    @property
    def gates(self) -> NDArray[np.float64] | None:
        """Mean gates [steps, layers, H] over the last validation; None if the run has no router or logged none."""
        lines = [line["gates"] for line in self.routing if line.get("gates")]
        if not lines:
            return None
        try:
            gates = np.asarray(lines[-1], dtype=np.float64)
        except (ValueError, TypeError):
            return None
        return gates if gates.ndim == 3 and gates.size else None

    def gate_spread(self) -> dict[str, float]:
        """Standard deviations of the gates, where 1 is plain attention, of a run that recorded some.

        Returns:
            `heads`: over heads, of the mean gates; `steps`: over refinement steps, of the mean gates, if there are
            several; `inputs`: over tokens and examples, of the first test examples, if their gates were kept.
        """
        gates = self.gates
        if gates is None:
            return {}
        spread = {"heads": float(gates.std(axis=-1).mean())}
        if len(gates) > 1:
            spread["steps"] = _root_mean(gates.var(axis=0))
        pooled: dict[tuple[int, int], list[Any]] = {}
        for example in self.routing[-1].get("examples") or []:
            for step, layers in enumerate(example):
                for layer, tokens in enumerate(layers):
                    pooled.setdefault((step, layer), []).extend(tokens)
        variances = [np.var(np.asarray(tokens, dtype=np.float64), axis=0) for tokens in pooled.values()]
        return spread | ({"inputs": _root_mean(np.stack(variances))} if variances else {})


def read_run(directory: Path) -> Run:
    """A run directory, finished or not."""
    return Run(
        directory=directory,
        summary=read_json(directory / SUMMARY),
        metrics=list(_lines(directory / METRICS)),
        routing=list(_lines(directory / ROUTING)),
        test_values=_read_array(directory / TEST_VALUES),
        config=_read_text(directory / CONFIG),
        analysis=read_json(directory / ANALYSIS),
    )


def is_run(directory: Path) -> bool:
    """Whether there is anything of a run in this directory."""
    return any((directory / name).is_file() for name in (SUMMARY, METRICS, CONFIG))


def read_json(file: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if there is none or it cannot be read."""
    try:
        content = json.loads(_read_text(file) or "{}")
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def read_comparison(directory: Path) -> dict[str, Any]:
    """`comparison.json` of a directory.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = directory / COMPARISON
    if not file.is_file():
        raise InputError(f"{directory}: no {COMPARISON} in it; give the output directory of `headwise compare`")
    content = read_json(file)
    if not {"task", "metric", "arms", "pairs"} <= content.keys():
        raise InputError(f"{file}: damaged; run `headwise compare` again with the same output (finished runs are kept)")
    return content


def read_scaling(directory: Path) -> dict[str, Any]:
    """`scaling.json` of a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    content = read_json(directory / SCALING)
    if not ({"task", "metrics", "arms", "advantage", "how"} <= content.keys() and content.get("sizes")):
        raise InputError(
            f"{directory / SCALING}: damaged; run `headwise scale` again with the same output (finished runs are kept)"
        )
    return content


def write_text(file: Path, text: str) -> None:
    """Write under a temporary name, then rename: a reader never meets half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """JSON with two spaces; a number that is not finite becomes null, as JSON has no name for it."""
    write_text(file, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def number(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _root_mean(variances: NDArray[np.float64]) -> float:
    return float(np.sqrt(variances.mean()))


def _series(lines: Any, key: str) -> tuple[list[float], list[float]]:
    points = [(number(line.get("update")), number(line.get(key))) for line in lines]
    kept = sorted({x: y for x, y in points if x is not None and y is not None}.items())
    return [x for x, _ in kept], [y for _, y in kept]


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in _read_text(file).splitlines():
        try:
            content = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue
        if isinstance(content, dict):
            yield content


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _read_array(file: Path) -> NDArray[np.float32] | None:
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array.astype(np.float32) if isinstance(array, np.ndarray) and array.ndim == 1 and array.size else None
