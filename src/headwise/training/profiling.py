"""Profiling: where the time and the memory of an update go, by part of the model, and a trace of a few updates.

torch's profiler records operators. Here the methods of the parts are named in it for as long as it looks, and what it
recorded is added up by part: an operator belongs to the innermost part around it, one of the backward pass to the part
whose forward pass made its node (autograd gives both one sequence number).
"""

import contextlib
import csv
import gzip
import io
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from headwise.files import make_folder, write_json, write_text, writes_to
from headwise.models.blocks import Block
from headwise.routing.attention import RoutedAttention
from headwise.routing.routers import Router
from headwise.training.files import PARTS, PARTS_CSV, TRACE
from headwise.training.loop import Training

log = logging.getLogger("headwise")

Method = Callable[..., Any]

MARK = "headwise: "  # before the name of a part among the names of operators
BESIDE = ("validation", "saving")  # parts of no update, whatever runs in them
SKIPPED = 10  # updates before the first that is looked at, at most: caches and allocators settle
UPDATES = 10  # looked at, at most


@dataclass
class Part:
    """What a part of an update takes.

    Attributes:
        part: its name.
        calls: in an update.
        forward_ms, backward_ms: in an update, of the device where it computes.
        share: of the time of all parts, 0..1.
        kept_mb: of memory that its forward pass takes and does not give back: what the backward pass needs.
    """

    part: str
    calls: float = 0.0
    forward_ms: float = 0.0
    backward_ms: float = 0.0
    share: float = 0.0
    kept_mb: float = 0.0


@contextlib.contextmanager
def profiled(run: Training, folder: Path) -> Iterator[None]:
    """Inside the block look at some updates of `run`, and write what was seen into `folder`.

    The files are a trace for Perfetto or chrome://tracing, and the parts as JSON and CSV. A run with fewer than three
    updates left is not looked at.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would note its own beginning and end on standard error
    left = run.config.training.updates - run.batches.position
    if left < 3:
        log.warning("not profiled: %d updates are left, 3 or more are needed", left)
        yield
        return
    skipped = min(SKIPPED, left // 3)
    device = next(run.model.parameters()).device
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    looked_at = schedule(skip_first=skipped, wait=0, warmup=1, active=min(UPDATES, left - skipped - 1), repeat=1)
    write = _writer(folder, device) if run.processes.first else None
    with contextlib.ExitStack() as stack:
        for owner, method, part in named_methods(run):
            stack.enter_context(_replaced(owner, method, partial(_named, MARK + part)))
        looking = profile(activities=activities, schedule=looked_at, on_trace_ready=write, profile_memory=True)
        stack.enter_context(looking)

        def step() -> None:
            with run.recorder.clock_stopped(True):  # the last one adds up and writes
                looking.step()

        stack.enter_context(_replaced(run.progress, "advance", partial(_followed_by, step)))
        yield


def named_methods(run: Training) -> Iterator[tuple[Any, str, str]]:
    """(object, method, part of an update) of what is told apart.

    A compiled backbone is one graph and one part, "backbone"; else that is what its parts leave: norms, residuals, the
    loop itself. Clipping and the optimiser are named where they stand.
    """
    model, refiner = run.model, getattr(run.model.backbone, "refiner", None)
    yield run.batches, "_batch", "data"
    yield model, "forward", "backbone"
    yield model.task, "embed", "embed"
    yield model.task, "layout", "embed"
    yield model.task, "read_out", "read-out"
    yield model.task, "loss", "loss"
    yield run.recorder, "before_step", "records"
    yield run.recorder, "after_step", "records"
    yield run.validation, "run", "validation"
    if run.config.training.compile:
        return
    if refiner is not None and refiner.controller is not None:
        yield refiner.controller, "forward", "controller"
    if refiner is not None and refiner.halting is not None:
        yield refiner.halting, "forward", "halting"
    for module in model.backbone.modules():
        if isinstance(module, Block):
            yield module, "feed_forward", "ffn"
        elif isinstance(module, RoutedAttention):
            yield module, "forward", "attention"
        elif isinstance(module, Router):
            yield module, "forward", "router"


def by_part(events: Iterable[Any], updates: int, on_cuda: bool = False) -> list[Part]:
    """What each part takes in an update, longest first.

    Args:
        events: `torch.autograd.profiler_util.FunctionEvent`s of the updates.
        updates: how many they are of.
        on_cuda: take the time and the memory of the GPU, not of the CPU.
    """
    events = sorted(events, key=lambda event: event.time_range.start)
    places = _places(events)
    events = [event for event in events if places[id(event)][0] not in BESIDE]
    made_by: dict[int, str] = {}
    for event in events:
        part, backward = places[id(event)]
        if not backward and event.sequence_nr >= 0:
            made_by[event.sequence_nr] = part  # of several with one number the last made the node
    parts: dict[str, Part] = defaultdict(lambda: Part(""))
    for event in events:
        part, backward = places[id(event)]
        found = parts[made_by.get(backward.sequence_nr, "other") if backward and part == "other" else part]
        time = (event.self_device_time_total if on_cuda else event.self_cpu_time_total) / 1000 / updates
        memory = (event.self_device_memory_usage if on_cuda else event.self_cpu_memory_usage) / 2**20 / updates
        if backward:
            found.backward_ms += time
        else:
            found.forward_ms += time
            found.kept_mb += memory
            found.calls += event.name.startswith(MARK) / updates
    whole = sum(part.forward_ms + part.backward_ms for part in parts.values()) or 1.0
    for name, found in parts.items():
        found.part, found.share = name, (found.forward_ms + found.backward_ms) / whole
        found.calls = round(found.calls, 3)
    return sorted(parts.values(), key=lambda part: -part.share)


def _places(events: list[Any]) -> dict[int, tuple[str, Any]]:
    """For each event, by its id: the part, and the node of the backward pass in which it lies or None."""
    places: dict[int, tuple[str, Any]] = {}
    for event in events:  # parents begin first
        part, node = places.get(id(event.cpu_parent), ("other", None))
        if part in BESIDE:
            pass
        elif event.name.startswith(MARK):
            part = event.name.removeprefix(MARK)
        elif event.name.startswith("Optimizer."):
            part = "optimiser"
        elif event.name.startswith("autograd::engine::evaluate_function"):
            node = event
        places[id(event)] = (part, node)
    return places


def _writer(folder: Path, device: torch.device) -> Callable[[profile], None]:
    """What writes the files of a profile when it is at its end."""

    def write(looking: profile) -> None:
        events = looking.events()  # type: ignore[no-untyped-call]
        events = [event for event in events or () if event.device_type.name == "CPU"]
        updates = max(sum(event.name.startswith("ProfilerStep") for event in events), 1)
        parts = by_part(events, updates, device.type == "cuda")
        about: dict[str, Any] = {"updates": updates, "device": str(device)}
        if device.type == "cuda":
            about["peak_memory_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
        make_folder(folder)
        with writes_to(folder / TRACE):
            plain, unfinished = folder / ".trace.json", folder / f".{TRACE}"
            looking.export_chrome_trace(str(plain))
            # torch would compress line by line, of which there are a hundred thousand an update
            with plain.open("rb") as lines, gzip.open(unfinished, "wb", compresslevel=6) as packed:
                shutil.copyfileobj(lines, packed, 2**20)
            plain.unlink()
            unfinished.replace(folder / TRACE)
        table = io.StringIO()
        rows = csv.DictWriter(table, list(Part.__dataclass_fields__), lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(part) for part in parts)
        write_text(folder / PARTS_CSV, table.getvalue())
        write_json(folder / PARTS, about | {"parts": [asdict(part) for part in parts]})
        longest = ", ".join(f"{part.part} {part.share:.0%}" for part in parts[:4])
        log.info("profile of %d updates: %s; all in %s", updates, longest, folder)

    return write


@contextlib.contextmanager
def _replaced(owner: Any, method: str, replacement: Callable[[Method], Method]) -> Iterator[None]:
    """Inside the block the method is what `replacement` makes of it."""
    own, before = getattr(owner, method), vars(owner).get(method)
    setattr(owner, method, replacement(own))
    try:
        yield
    finally:
        if before is None:
            delattr(owner, method)
        else:
            setattr(owner, method, before)


def _named(name: str, method: Method) -> Method:
    """The method, whose calls carry the name."""

    @wraps(method)
    def named(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return method(*args, **kwargs)

    return named


def _followed_by(then: Callable[[], Any], method: Method) -> Method:
    """The method, and something after it."""

    @wraps(method)
    def both(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        then()
        return result

    return both
