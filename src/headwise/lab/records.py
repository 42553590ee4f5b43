"""What runs, comparisons and scalings left on disk, read back as plain data.

A run may have failed, or its files may be damaged: what can be read of it is shown.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwise import files
from headwise.errors import InputError
from headwise.lab import shapes
from headwise.lab.matching import NUMBER, Shape, dangling, fitting, mismatch
from headwise.lab.outputs import CHOICES, CLAIMS, COMPARISON, CONTROL, HEADS, LADDER, OOD, SCALING, SWEEP, THINKING
from headwise.models.arm import Arm
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.training.config import read
from headwise.training.files import ANALYSIS, CONFIG, METRICS, PARTS, PROFILE, ROUTING, SUMMARY, TEST_VALUES

log = logging.getLogger("headwise")
_WITHOUT_ARMS = (shapes.LADDER, shapes.CLAIMS, shapes.HEADS, shapes.CHOICES, shapes.THINKING)


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        summary: `summary.json`; empty if the run did not finish.
        metrics, routing: the records in `metrics.jsonl` and `routing.jsonl`, oldest first.
        test_values: the primary metric of each test example, float32 [examples], or None.
        config: the text of the resolved configuration, or an empty string.
        analysis: `analysis.json`, what the task itself found on the test examples; empty if it has nothing to say.
        profile: `profile/parts.json`, the time of an update by part; empty if it was not measured.
    """

    directory: Path
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    routing: list[dict[str, Any]] = field(default_factory=list)
    test_values: NDArray[np.float32] | None = None
    config: str = ""
    analysis: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)

    def curve(self, key: str, split: str = "validation") -> tuple[list[float], list[float]]:
        """Updates and values of one logged number, in the order of updates; entries that are no number are left out."""
        return _series((record for record in self.metrics if record.get("split") == split), key)

    def routing_curve(self, key: str) -> tuple[list[float], list[float]]:
        """The same for a number of the routing diagnostics on the validation examples."""
        return _series((one for one in self.routing if one.get("split", "validation") == "validation"), key)

    @property
    def head_loads(self) -> NDArray[np.float64] | None:
        """Share of tokens that use each head [layers, H] on the test examples; None without heads that go off."""
        layers: list[dict[str, Any]] = next((one["layers"] for one in self.routing[::-1] if one.get("layers")), [])
        known = [layer["load"] for layer in layers if layer.get("load")]
        if not known or len(set(map(len, known))) > 1:
            return None
        loads = np.asarray(known, dtype=np.float64)
        return loads if loads.min() < 1 else None

    @property
    def gates(self) -> NDArray[np.float64] | None:
        """Mean gates [steps, layers, H] over the last validation; None if the run has no router or logged none."""
        recorded = [record["gates"] for record in self.routing if record.get("gates")]
        if not recorded:
            return None
        try:
            gates = np.asarray(recorded[-1], dtype=np.float64)
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
        if len({len(token) for tokens in pooled.values() for token in tokens}) > 1:
            return spread
        variances = [np.var(np.asarray(tokens, dtype=np.float64), axis=0) for tokens in pooled.values()]
        return spread | ({"inputs": _root_mean(np.stack(variances))} if variances else {})


def read_run(directory: Path) -> Run:
    """A run directory, finished or not."""
    return Run(
        directory=directory,
        summary=_fitting(readable_mapping(directory / SUMMARY), shapes.SUMMARY, directory / SUMMARY),
        metrics=_readable_records(directory / METRICS, shapes.RECORD),
        routing=_readable_records(directory / ROUTING, shapes.ROUTING),
        test_values=_readable_array(directory / TEST_VALUES),
        config=readable_text(directory / CONFIG),
        analysis=_fitting(readable_mapping(directory / ANALYSIS), shapes.ANALYSIS, directory / ANALYSIS),
        profile=_fitting(readable_mapping(directory / PROFILE / PARTS), shapes.PROFILE, directory / PROFILE / PARTS),
    )


def is_run(directory: Path) -> bool:
    """Whether there is anything of a run in this directory."""
    return any((directory / name).is_file() for name in (SUMMARY, METRICS, CONFIG))


def read_comparison(directory: Path) -> dict[str, Any]:
    """The content of comparison.json in a directory.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = directory / COMPARISON
    if not file.is_file():
        raise InputError(f"{directory}: no {COMPARISON} in it; give the output directory of `headwise compare`")
    content = _whole(file, shapes.COMPARISON, "compare")
    _check_arms(content["arms"], f"{file}: arms")
    return content


def read_plan(file: Path) -> dict[str, Any]:
    """What the runs of a directory are made of, by the directory of the arm; empty if nothing was planned there.

    Raises:
        InputError: it is damaged.
    """
    if not file.exists():
        return {}
    content = files.read_mapping(file)
    if wrong := mismatch(content, shapes.PLAN):
        raise InputError(f"{file}: damaged: {wrong}; choose another output")
    return content


def found_comparison(directory: Path) -> dict[str, Any]:
    """The content of comparison.json in a directory; empty if there is none.

    Raises:
        InputError: it is damaged.
    """
    return read_comparison(directory) if (directory / COMPARISON).exists() else {}


def read_scaling(directory: Path) -> dict[str, Any]:
    """The content of scaling.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    return _whole(directory / SCALING, shapes.SCALING, "scale")


def read_control(directory: Path) -> dict[str, Any]:
    """The content of control.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    file = directory / CONTROL
    content = _whole(file, shapes.CONTROL, "control")
    _check_arms(content["comparison"]["arms"], f"{file}: comparison.arms")
    return content


def read_ood(directory: Path) -> dict[str, Any]:
    """The content of ood.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    file = directory / OOD
    content = _whole(file, shapes.OOD, "ood")
    _check_arms(content["arms"], f"{file}: arms")
    return content


def read_sweep(directory: Path) -> dict[str, Any]:
    """The content of sweep.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    file = directory / SWEEP
    content = _whole(file, shapes.SWEEP, "sweep")
    _check_arms(content["arms"], f"{file}: arms")
    return content


def read_ladder(directory: Path) -> dict[str, Any]:
    """The content of ladder.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    return _whole(directory / LADDER, shapes.LADDER, "ladder")


def read_heads(directory: Path) -> dict[str, Any]:
    """The content of heads.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    file = directory / HEADS
    content = _whole(file, shapes.HEADS, "heads")
    for kind in ("heads", "groups"):
        if content[kind] and (wrong := _misplaced(content[kind], len(content["sites"]))):
            raise InputError(f"{file}: damaged: {kind}.{wrong}; run `headwise heads` again with the same output")
    return content


def read_choices(directory: Path) -> dict[str, Any]:
    """The content of choices.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    return _whole(directory / CHOICES, shapes.CHOICES, "choices")


def read_thinking(directory: Path) -> dict[str, Any]:
    """The content of thinking.json in a directory that has one.

    Raises:
        InputError: it is damaged.
    """
    file = directory / THINKING
    content = _whole(file, shapes.THINKING, "think")
    _check_arms({content["arm"]["label"]: content["arm"]}, f"{file}: arm")
    return content


def read_claims(directory: Path) -> dict[str, Any]:
    """The content of claims.json in a directory.

    Raises:
        InputError: it is damaged.
    """
    return _whole(directory / CLAIMS, shapes.CLAIMS, "claims run")


def readable_settings(directory: Path) -> dict[str, Any]:
    """The configuration of a run as plain data; empty if there is none, or that of an older version."""
    try:
        return read(directory).to_plain()
    except InputError:
        return {}


def readable_text(path: Path) -> str:
    """The text of a file; empty if there is none or it cannot be read."""
    try:
        return files.read_text(path)
    except InputError:
        return ""


def readable_mapping(path: Path) -> dict[str, Any]:
    """The keys and values in a JSON file; empty if there is none or it cannot be read."""
    try:
        return files.read_mapping(path)
    except InputError:
        return {}


def distinct(mappings: Iterable[Any]) -> list[dict[str, Any]]:
    """Each mapping once, in the order in which they come; what is none is left out."""
    found: list[dict[str, Any]] = []
    for one in mappings:
        if isinstance(one, Mapping) and one not in found:
            found.append(dict(one))
    return found


def number(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    if mismatch(value, NUMBER) is None and math.isfinite(value):
        return float(value)
    return None


def _check_arms(arms: Mapping[str, Any], where: str) -> None:
    """Refuse arms that cannot be built from what stands in a file."""
    for label, one in arms.items():
        for key, cls in (("arm", Arm), ("model", ModelConfig)):
            build(cls, one[key], f"{where}.{label}.{key}")


def _misplaced(units: Mapping[str, Any], sites: int) -> str | None:
    """What is said of heads or groups that are not there, in words; None if nothing."""
    counts = [list(map(len, values)) for values in units["measures"].values()]
    if not counts or not sites or any(len(own) != sites or own != counts[0] for own in counts):
        return f"measures do not have the same units at each of {sites} sites"
    for number, one in enumerate(units["ablation"]):
        if not (0 <= one["site"] < sites and 0 <= one["unit"] < counts[0][one["site"]]):
            return f"ablation[{number}] is of no such unit"
    return None


def _whole(file: Path, shape: Shape, command: str) -> dict[str, Any]:
    """What a command wrote on the runs in its output.

    Raises:
        InputError: it is damaged; names the key, where it can be read at all.
    """
    try:
        content = files.read_mapping(file)
        wrong = mismatch(content, shape) or (dangling(content) if shape not in _WITHOUT_ARMS else None)
    except InputError as error:
        wrong = str(error).removeprefix(f"{file}: ").removeprefix("damaged, ")
    if wrong is not None:
        again = f"run `headwise {command}` again with the same output (finished runs are kept)"
        raise InputError(f"{file}: damaged: {wrong}; {again}")
    return content


def _fitting(content: dict[str, Any], shape: Shape, file: Path) -> dict[str, Any]:
    """What of a file has the types that it should have; says what has not, and is left out."""
    kept, wrong = fitting(content, shape)
    for said in wrong:
        log.warning("%s: %s; left out", file, said)
    return kept


def _readable_records(path: Path, shape: Shape) -> list[dict[str, Any]]:
    """The lines of a JSONL file that can be read: damage to one hides no other."""
    records = []
    try:
        text = files.read_bytes(path).decode(errors="replace")
    except InputError:
        return []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            record = files.parse_mapping(line, str(path)) if line.strip() else None
        except InputError:
            continue
        if record is not None and mismatch(record, shapes.RECORD) is None:
            records.append(_fitting(record, shape, path.with_name(f"{path.name}, line {number}")))
    return records


def _readable_array(path: Path) -> NDArray[np.float32] | None:
    try:
        array = files.read_array(path)
    except InputError:
        return None
    numbers = array.ndim == 1 and array.size and np.issubdtype(array.dtype, np.floating)
    return array.astype(np.float32) if numbers else None


def _root_mean(variances: NDArray[np.float64]) -> float:
    return float(np.sqrt(variances.mean()))


def _series(records: Iterable[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [(number(record.get("update")), number(record.get(key))) for record in records]
    kept = sorted({x: y for x, y in points if x is not None and y is not None}.items())
    return [x for x, _ in kept], [y for _, y in kept]
