"""A model as an ONNX file, kept only where ONNX Runtime computes with it what torch computes.

Legend: B batch.
"""

import json
import logging
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwise.errors import InputError, in_a_line
from headwise.files import make_folder, writing
from headwise.lab.export.graph import AFTER, LOGIT, TAKEN, Graph, OneStep, Pace, Unrolled, outputs, question, state_of
from headwise.lab.export.refusals import refuse
from headwise.provenance import source_code
from headwise.tasks.base import Batch, TaskModel
from headwise.training.building import data_of, reproducible
from headwise.training.config import RunConfig
from headwise.training.evaluation import adopt, overridden, restored, saved

TOLERANCE = 1e-4
"""The largest difference that is taken for none, in units of the largest number of an output if that is above 1."""
COUNTS = (1, 2, 4)
"""Steps of the graph after which a step model is compared with the loop in torch."""
ROWS = (3, 2)
"""Examples at once, in the export and in the comparison."""
MISSING = "onnx: the extra is not installed; pip install 'headwise[onnx]'"

Say = Callable[[str], None]


class DisagreementError(RuntimeError):
    """ONNX Runtime computes something else than torch."""


@dataclass(frozen=True)
class Exported:
    """A graph and what there is to know of it.

    Attributes:
        graph: the function that was exported.
        content: of the file.
        about: what its metadata say, plain values.
    """

    graph: Graph
    content: bytes
    about: Mapping[str, Any]


def export(
    run: Path, output: Path, steps: int | None = None, settings: Mapping[str, Any] | None = None, say: Say = print
) -> dict[str, Any]:
    """Write the model of a finished run as an ONNX file.

    Args:
        run: its directory.
        output: the file; it must not be there.
        steps: refinement steps, unrolled; None: one step at a time, with the state going in and out.
        settings: dotted keys of the run to values, as in `evaluate`.
        say: is told what is being done.

    Returns:
        {"output", "bytes", "form", "inputs", "outputs", "largest_difference", "compared", ...}, plain JSON.

    Raises:
        InputError: no finished run, an arm that no graph holds, an output that is there, the extra not installed.
        DisagreementError: the file would not compute what torch computes; it is not kept.
    """
    runtime()
    if output.exists():
        raise InputError(f"output={output}: is there already; choose another file, or remove it")
    config, facts = saved(run)
    changed = RunConfig.from_plain(overridden(config.to_plain(), settings or {}))
    refuse(changed.entry.task, changed.arm, steps)
    with reproducible(changed):
        model = restored(run, changed, facts).eval()
        data = data_of(changed)
        adopt(data, facts, run)
        batches = [data.split("test").batch(torch.arange(min(rows, len(data.split("test"))))) for rows in ROWS]
        say("tracing the model" + ("" if steps is None else f", {steps} steps unrolled"))
        made = traced(model, batches[0], changed, steps)
        batches += other_sizes(changed, facts, batches[0], made.graph.names)
        say(f"comparing with torch on {len(batches)} batches")
        compared = compare(made, batches)
    make_folder(output.parent)
    with writing(output) as out:
        out.write(made.content)
    inputs, results = shapes(made.content)
    return {
        "output": str(output),
        "bytes": len(made.content),
        "task": changed.entry.name,
        "arm": changed.name,
        "form": made.about["form"],
        "steps": made.about["steps"],
        "inputs": inputs,
        "outputs": results,
        "largest_difference": max(entry["difference"] for entry in compared),
        "compared": compared,
    }


def runtime() -> Any:
    """onnxruntime, where all packages of the extra are there.

    Raises:
        InputError: they are not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise InputError(MISSING) from None
    return onnxruntime


@torch.no_grad()
def traced(model: TaskModel, batch: Batch, config: RunConfig, steps: int | None) -> Exported:
    """The graph of a model, which becomes part of it, with examples of a batch to trace it on."""
    names = question(model, batch)
    about: dict[str, Any] = {"task": config.entry.name, "arm": config.name, "inputs": list(names)}
    tensors = [batch[name] for name in names]
    graph: Graph
    if steps is not None:
        graph, state = Unrolled(model, names, unrolled(config, steps)), []
        about |= {"form": "unrolled", "steps": steps}
    else:
        pace, halting = Pace.of(config.arm), config.arm.halting
        graph = OneStep(model, names, pace.times(1, config.arm.refinement), batch)
        state = [torch.zeros_like(part) for part in state_of(graph.template).values()]
        tensors += [torch.zeros(len(tensors[0]), dtype=torch.int64), *state]
        about |= {"form": "one_step", "steps": pace.in_all, "steps_trained": config.arm.refinement.steps_in_all}
        about |= {"state": [*graph.state]} | ({"halting_level": halting.level} if halting.judges else {})
    graph.eval()
    given = [*names, *((TAKEN, *graph.state) if isinstance(graph, OneStep) else ())]
    about |= {"outputs": named_outputs(graph, batch), "config": config.to_plain(), "headwise": source_code()}
    about["facts"] = model.task.facts
    return Exported(graph, onnx_of(graph, tensors, given, about), about)


def unrolled(config: RunConfig, steps: int) -> Any:
    """The refinement with so many steps in all; where a run has several segments they stay as long as they are."""
    loop = config.arm.refinement
    segments = steps // loop.steps if loop.segments > 1 else 1
    return Pace(steps // segments, segments).times(1, loop)


def named_outputs(graph: Graph, batch: Batch) -> list[str]:
    """Names of what a graph returns, in its order."""
    task = graph.model.task
    prediction = [*outputs(task.read_out(graph.model(batch).states[-1], batch))]
    if not isinstance(graph, OneStep):
        return prediction
    return [*prediction, AFTER + TAKEN, *(AFTER + name for name in graph.state), *([LOGIT] if graph.judge else [])]


def onnx_of(graph: Graph, tensors: Sequence[Tensor], names: Sequence[str], about: Mapping[str, Any]) -> bytes:
    """The file's content. Every size that the model does not fix is left open; the first of an input is `batch`."""
    import onnx

    auto = tuple(dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO) for tensor in tensors)
    with quiet():
        traced = torch.export.export(graph, (tuple(tensors),), dynamic_shapes=(auto,), strict=False)
        # Guards on sizes (no longer than the context, say), which the conversion, having no use for them, fails on
        traced._guards_code = []
        program = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=list(names),
            output_names=list(about["outputs"]),
            custom_translation_table={torch.ops.aten.sort.stable: _sorted},
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    given = [node.meta["val"].shape for node in traced.graph.nodes if node.op == "placeholder"][-len(names) :]
    _name_sizes(proto, dict(zip(names, given, strict=True)))
    unused = {tensor.name for tensor in proto.graph.input} - {name for node in proto.graph.node for name in node.input}
    for tensor in [tensor for tensor in proto.graph.input if tensor.name in unused]:
        proto.graph.input.remove(tensor)  # looked at for its size alone, which another input has, too
    for node in proto.graph.node:
        del node.metadata_props[:]  # where in the sources each was traced
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    onnx.helper.set_model_props(proto, texts)
    proto.producer_name, proto.doc_string = "headwise", ""
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    return content


def _sorted(x: Any, *, stable: bool, dim: int = -1, descending: bool = False) -> Any:
    """A stable sort, which the exporter lacks: as many of the largest as there are, ties in the order of places."""
    from onnxscript import opset18

    count = opset18.Gather(opset18.Shape(x), opset18.Constant(value_ints=[dim]))
    return opset18.TopK(x, count, axis=dim, largest=int(descending), sorted=1)


def _name_sizes(proto: Any, given: Mapping[str, Sequence[Any]]) -> None:
    """Call open sizes `batch` and, of other dimensions, by the first input that has them; write down the fixed ones.

    Args:
        given: sizes of each input, whole numbers or symbols (`s7`, `s7*s8`).
    """
    names: dict[str, str] = {}
    for tensor in proto.graph.input:
        for place, size in enumerate(given[tensor.name]):
            if re.fullmatch(r"s\d+", str(size)):
                names.setdefault(str(size), f"{tensor.name}_{place}" if place else "batch")
    for tensor in proto.graph.input:
        for dim, size in zip(tensor.type.tensor_type.shape.dim, given[tensor.name], strict=True):
            if str(size).isdigit():  # a symbol that was found to have one value is still a symbol
                dim.dim_value = int(size)
            else:
                dim.dim_param = str(size)
    for tensor in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in tensor.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\bs\d+\b", lambda found: names.get(found[0], found[0]), dim.dim_param)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside the block, what the exporter says of itself is not shown."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def other_sizes(config: RunConfig, facts: dict[str, Any], batch: Batch, names: Sequence[str]) -> list[Batch]:
    """Batches of other sizes, two at most, along the axes on which the task's examples can leave those trained on."""
    found: list[Batch] = []
    own = [batch[name].shape[1:] for name in names]
    plain = config.to_plain()
    for shift in config.entry.task.shifts(config.task).values():
        for value in shift.values[:2]:
            try:
                data = data_of(RunConfig.from_plain(overridden(plain, {"task": shift.settings(value)})))
                data.adopt(facts)
                other = data.split("test").batch(torch.arange(ROWS[1]))
            except (InputError, ValueError, IndexError):
                continue  # weights of one size, or nothing of that kind
            if [other[name].shape[1:] for name in names] != own:
                found.append(other)
    return found[:2]


@torch.no_grad()
def compare(made: Exported, batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """How far apart ONNX Runtime and torch are on each batch: [{"sizes", "steps", "difference"}, ...].

    Batches of a size that the file fixes otherwise are left out.

    Raises:
        DisagreementError: farther than `TOLERANCE`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(made.content)
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = []
    for batch in batches:
        sizes = {name: list(batch[name].shape) for name in made.graph.names}
        if not _fits(session, sizes):
            continue
        for count in COUNTS if isinstance(made.graph, OneStep) else (1,):
            expected = dict(zip(made.about["outputs"], in_torch(made.graph, batch, count), strict=True))
            difference = _difference(in_runtime(session, made.graph, batch, count), expected)
            steps = made.about["steps"] * count
            if not difference <= TOLERANCE:
                raise DisagreementError(
                    f"ONNX Runtime and torch differ by {difference:.1e}, more than {TOLERANCE:g}, after {steps} steps "
                    f"at {sizes}; nothing was written"
                )
            found.append({"sizes": sizes, "steps": steps, "difference": difference})
    return found


def in_torch(graph: Graph, batch: Batch, count: int = 1) -> list[Tensor]:
    """What the model gives after so many steps of the graph, all of them in one pass of the refiner."""
    model, loop = graph.model, graph.model.backbone.refiner.config
    graph.model.backbone.refiner.config = longer = replace(loop, segments=loop.segments * count)
    graph.model.backbone.arm = replace(model.backbone.arm, refinement=longer)
    try:
        trace = model({name: batch[name] for name in graph.names})
    finally:
        graph.model.backbone.refiner.config = loop
        graph.model.backbone.arm = replace(model.backbone.arm, refinement=loop)
    found = [*outputs(model.task.read_out(trace.states[-1], batch)).values()]
    if not isinstance(graph, OneStep):
        return found
    found += [trace.steps.long(), *state_of(trace.carry).values()]
    return found if graph.judge is None else [*found, graph.judge(trace.carry.hidden, model.embed(batch)[1].padding)]


def in_runtime(session: Any, graph: Graph, batch: Batch, count: int = 1) -> dict[str, Tensor]:
    """What a file gives after so many of its steps, by name."""
    inputs, names = ([tensor.name for tensor in part] for part in (session.get_inputs(), session.get_outputs()))
    given = {name: batch[name] for name in graph.names}
    if isinstance(graph, OneStep):
        rows = len(batch[graph.names[0]])
        given |= {name: torch.zeros_like(part) for name, part in state_of(graph.model(batch).carry).items()}
        given[TAKEN] = torch.zeros(rows, dtype=torch.int64)
    found: dict[str, Tensor] = {}
    for _ in range(count):
        try:
            arrays = session.run(names, {name: given[name].numpy() for name in inputs})
        except Exception as error:  # onnxruntime has a class for each of its codes, below none of their own
            sizes = {name: list(given[name].shape) for name in inputs}
            raise DisagreementError(
                f"ONNX Runtime fails at {sizes}, nothing was written: {in_a_line(error)}"
            ) from error
        found = dict(zip(names, map(torch.from_numpy, arrays), strict=True))
        given |= {name.removeprefix(AFTER): part for name, part in found.items() if name.startswith(AFTER)}
    return found


def _difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest between outputs of the same name, in units of the largest number of the output if it is above 1;
    infinite where shapes, or what is not finite, differ."""
    largest = 0.0
    for name, other in expected.items():
        one, other = found[name].double(), other.double()
        finite = other.isfinite()
        if one.shape != other.shape or not torch.equal(one.masked_fill(finite, 0), other.masked_fill(finite, 0)):
            return math.inf
        if finite.any():
            size = max(1.0, other[finite].abs().max().item())
            largest = max(largest, (one - other)[finite].abs().max().item() / size)
    return largest


def _fits(session: Any, sizes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a file takes inputs of these sizes: open ones are names, the others fixed numbers."""
    return all(
        not isinstance(fixed, int) or fixed == size
        for tensor in session.get_inputs()
        for fixed, size in zip(tensor.shape, sizes.get(tensor.name, tensor.shape), strict=True)
    )


def shapes(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes of the inputs and of the outputs of a file, {name: [size or its name, ...]}."""
    import onnx

    graph = onnx.load_from_string(content).graph
    return tuple(  # type: ignore[return-value]
        {t.name: [d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim] for t in part}
        for part in (graph.input, graph.output)
    )
