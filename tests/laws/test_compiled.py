"""Law 6 for graphs: compiled or exported, a backbone computes what it does in eager mode.

And what graphs and GPUs both need: a forward pass of the dense path waits for no value of a tensor.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils._python_dispatch import TorchDispatchMode

from headwise.laws.arms import RECURSIVE
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.compilation import compile_backbone
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import Sigmoid, Soft

from .arms import ARMS, HRM, SHAPE, TOKEN, perturbed

WAITING = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "unique_dim", "_unique2"}
SHORT = replace(SHAPE, depth=1)


class WaitedError(Exception):
    """The host waited for a value that a device computes."""


class NoWaiting(TorchDispatchMode):
    """Raises where the host would have to wait for a device: `.item()`, `.tolist()`, `bool(tensor)`, `nonzero`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().removeprefix("aten::").split(".")[0] in WAITING:
            raise WaitedError(func.name())
        return func(*args, **(kwargs or {}))


def batch(rows: int = 3, length: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Embeddings [B, L, D], and a mask that pads the second example."""
    x = torch.randn(rows, length, SHAPE.width, dtype=dtype, generator=torch.Generator().manual_seed(rows * length))
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[1, length // 2 :] = False
    return x, mask


def dense(arm: Arm) -> Backbone:
    """As on an accelerator, where `auto` leaves out no heads."""
    return perturbed(arm, shape=replace(SHAPE, skipping="never"))


@pytest.mark.parametrize("name", ARMS)
def test_a_training_pass_never_waits_for_a_value(name: str) -> None:
    backbone, (x, mask) = dense(ARMS[name]).train(), batch()
    backbone.reports_entropy = True
    with NoWaiting():
        backbone(x, mask, record=True)
    meta = backbone.to("meta")(x.to("meta"), mask.to("meta"))
    assert meta.states.device.type == "meta"  # nothing was brought to the host, or made there


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.halting == Arm().halting])
def test_an_evaluation_never_waits_for_a_value_unless_it_halts_early(name: str) -> None:
    with torch.no_grad(), NoWaiting():
        dense(ARMS[name]).eval()(*batch(), record=True)


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if isinstance(arm.gate, Soft | Sigmoid)])
def test_gates_that_are_never_0_are_not_looked_at(name: str) -> None:
    arm = ARMS[name]
    if name == "static" or arm.halting != Arm().halting:
        pytest.skip("switches heads off, or halts early")
    backbone = perturbed(arm).eval()  # skipping=auto
    with torch.no_grad(), NoWaiting():
        backbone(*batch())


def test_the_guard_sees_a_look_at_the_gates() -> None:
    """Which heads are left out is decided on the host."""
    backbone = perturbed(ARMS["random_k"]).eval()
    for block in backbone.refiner.stack.blocks:
        block.attention.skipping = "always"
    with torch.no_grad(), NoWaiting(), pytest.raises(WaitedError):
        backbone(*batch())


class States(nn.Module):
    """The backbone as a function of tensors alone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        states: Tensor = self.backbone(x, mask).states
        return states


GRAPHS: dict[str, Any] = {
    "plain": (Arm(), False),
    "hrm": (replace(HRM, refinement=replace(HRM.refinement, steps=2)), False),
    "recursive_causal": (Arm(), True, replace(RECURSIVE, depth=1)),
    "hrm_causal": (replace(TOKEN, refinement=replace(HRM.refinement, steps=2)), True),
    "hard_gates": (ARMS["moh"], False),
    "gated_causal": (replace(ARMS["gated_12"], output_gate="elementwise"), True),
    "composed_top_k": (replace(ARMS["top_k_12"], composition_rank=2), False),
    "composed_causal": (ARMS["composed"], True),
}
TRAINED = {
    "hrm": GRAPHS["hrm"][0],
    # The controller's count of steps goes on from segment to segment.
    "segments": replace(HRM, refinement=replace(HRM.refinement, steps=1, segments=4)),
    "static": ARMS["static"],
    "composed": ARMS["composed_static"],
}


def graph(name: str) -> Backbone:
    arm, causal, *shape = GRAPHS[name]
    return perturbed(arm, causal, shape=shape[0] if shape else SHORT)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_an_exported_backbone_takes_any_batch_and_length(name: str, padded: bool) -> None:
    model, sizes = States(graph(name)).eval(), {0: Dim("B", min=2), 1: Dim("L", min=2)}
    example, other = (batch(*size)[: 1 + padded] for size in ((3, 7), (5, 12)))
    with torch.no_grad():
        program = torch.export.export(model, example, dynamic_shapes=(sizes,) * len(example), strict=False)
        torch.testing.assert_close(program.module()(*other), model(*other))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_backbone_is_one_graph_for_all_lengths(name: str) -> None:
    torch._dynamo.reset()
    model = States(graph(name)).eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad():
        for size in ((3, 7), (5, 12)):
            torch.testing.assert_close(compiled(*batch(*size)), model(*batch(*size)))


def counted(graphs: list[Any]) -> Callable[..., Any]:
    """A backend that runs a graph as it is, and keeps count."""

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    return backend


@pytest.mark.parametrize("name", TRAINED)
def test_a_compiled_backbone_trains_as_an_eager_one_and_is_compiled_a_few_times_only(name: str) -> None:
    torch._dynamo.reset()
    arm, graphs = TRAINED[name], list[Any]()
    eager, compiled = (perturbed(arm, shape=SHORT).train() for _ in range(2))
    compile_backbone(compiled, counted(graphs))
    assert list(compiled.state_dict()) == list(eager.state_dict())
    for rows, length in ((4, 7), (3, 9), (2, 11)):
        carries: list[Any] = [None, None]
        for _ in range(arm.refinement.segments):
            traces = [
                model(*batch(rows, length), carry) for model, carry in zip((eager, compiled), carries, strict=True)
            ]
            carries = [trace.carry.detach() for trace in traces]
            for model, trace in zip((eager, compiled), traces, strict=True):
                model.zero_grad()
                (trace.states.sin() * trace.weights[..., None, None]).sum().backward()
            torch.testing.assert_close(traces[1].states, traces[0].states)
            for ours, plain in zip(compiled.parameters(), eager.parameters(), strict=True):
                torch.testing.assert_close(ours.grad, plain.grad)
    # One for the first shape, one or two for any; with segments as many again for the first, and for each phase.
    assert len(graphs) <= (3 if arm.refinement.segments == 1 else 8)


STREAMS = ARMS["two_streams_random"].refinement  # what starts from random states has noise in its steps, too


@pytest.mark.parametrize("loop", [ARMS["segments"].refinement, replace(STREAMS, recursion=TwoStreams(2), steps=4)])
def test_all_further_segments_are_one_graph(loop: RefinementConfig) -> None:
    """Not one for each: their numbers of steps taken are no constants of a graph."""
    torch._dynamo.reset()
    graphs = list[Any]()
    compiled = perturbed(replace(TOKEN, refinement=loop), shape=SHORT).train()
    compile_backbone(compiled, counted(graphs))
    carry = None
    for _ in range(5):
        carry = compiled(*batch(), carry).carry.detach()
    # The first segment, the second, whose number is taken for a constant at first sight, and all after it
    assert len(graphs) <= 3
    assert carry.steps == 5 * loop.steps
