"""Sizes, roles, FLOPs and files of a backbone."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from headwise.errors import InputError
from headwise.models import checkpoint
from headwise.models.backbone import Backbone
from headwise.models.flops import flops_per_example
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import SIZES, ModelConfig, sized
from headwise.routing.layout import Layout

from ..laws.arms import ARMS, SHAPE, fitted, grid, perturbed


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if "halting" not in name])
def test_analytic_flops_agree_with_torch(name: str) -> None:
    backbone = Backbone(SHAPE, fitted(ARMS[name])).eval()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        backbone(torch.randn(3, 10, SHAPE.width))
    assert counter.get_total_flops() / 3 == pytest.approx(flops_per_example(backbone, 10), rel=1e-9)


def test_flops_without_a_feed_forward_layer_agree_with_torch() -> None:
    backbone = Backbone(replace(SHAPE, ffn=0), ARMS["looped"]).eval()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        backbone(torch.randn(3, 10, SHAPE.width))
    assert counter.get_total_flops() / 3 == pytest.approx(flops_per_example(backbone, 10), rel=1e-9)


@pytest.mark.parametrize("name", ARMS)
def test_every_parameter_has_a_role_and_routing_belongs_to_the_controller(name: str) -> None:
    backbone = Backbone(SHAPE, fitted(ARMS[name]))
    roles = parameters_by_role(backbone)
    assert set(roles) <= {"backbone", "controller"}
    assert sum(len(items) for items in roles.values()) == len(list(backbone.parameters()))
    routing = {n for n, _ in backbone.named_parameters() if any(k in n for k in ("router", "controller", "halting"))}
    assert {n for n, _ in roles.get("controller", [])} == routing


def test_a_parameter_without_a_role_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"parameter 0\.weight has no role"):
        parameters_by_role(nn.Sequential(nn.Linear(2, 2)))


def test_a_role_can_be_given_to_an_instance() -> None:
    head = nn.Linear(2, 2)
    head.role = "readout"
    assert list(parameters_by_role(head)) == ["readout"]


def test_an_unknown_role_is_an_error() -> None:
    head = nn.Linear(2, 2)
    head.role = "decoder"
    with pytest.raises(ValueError, match="choose one of"):
        parameters_by_role(head)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tiny", 128), ("small", 256), ("medium", 512), ("large", 768), ("xl", 1024), ("huge", 1344)],
)
def test_sizes_are_the_published_ones(name: str, expected: int) -> None:
    assert SIZES[name].width == expected
    assert sized(name, dropout=0.1).dropout == 0.1


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="tiny, small"):
        sized("giant")


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="heads=3 does not divide width=16"):
        ModelConfig(width=16, heads=3)


def test_more_heads_asked_for_than_there_are_is_refused() -> None:
    from headwise.models.arm import Arm
    from headwise.routing.gates import TopK
    from headwise.routing.routers import LearnedRouter

    with pytest.raises(ValueError, match=r"top_k=9 but the block has 4 heads; choose 1\.\.4 \(arm\.gate\.k\)"):
        Backbone(SHAPE, Arm(router=LearnedRouter(), gate=TopK(9)))


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    source = Backbone(SHAPE, fitted(ARMS["hrm"]))
    source.set_temperature(0.7)
    checkpoint.save(tmp_path, source, {"any": 1})
    target = Backbone(SHAPE, fitted(ARMS["hrm"]))
    checkpoint.load_weights(tmp_path, target)
    torch.testing.assert_close(target.state_dict(), source.state_dict())
    assert target.temperature == pytest.approx(0.7)
    assert checkpoint.read_config(tmp_path)["any"] == 1


def test_damaged_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    backbone = Backbone(SHAPE, fitted(ARMS["hrm"]))
    with pytest.raises(InputError, match=r"no model\.json"):
        checkpoint.read_config(tmp_path)
    with pytest.raises(InputError, match="not found"):
        checkpoint.load_weights(tmp_path, backbone)
    checkpoint.save(tmp_path, backbone, {})
    with pytest.raises(InputError, match="another model"):
        checkpoint.load_weights(tmp_path, Backbone(SHAPE, fitted(ARMS["baseline"])))
    weights = tmp_path / checkpoint.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load_weights(tmp_path, backbone)
    (tmp_path / checkpoint.CONFIG).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        checkpoint.read_config(tmp_path)


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    checkpoint.write_json(path, {"value": 1})
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoint.write_json(path, {"value": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"value": 1}


# Published: the whole maze model at N = 16, with embedder and read-out.
PUBLISHED = {
    "tiny": 533_568,
    "small": 2_638_272,
    "medium": 13_142_464,
    "large": 43_324_096,
    "xl": 101_830_592,
    "huge": 521_340_544,
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_published_parameters_but_for_embedder_and_read_out(name: str) -> None:
    """Built on the meta device, so that 521 million take no time and no memory. Ours have no key bias."""
    with torch.device("meta"):
        backbone = Backbone(SIZES[name], ARMS["baseline"])
    ours = sum(p.numel() for p in backbone.parameters()) + SIZES[name].depth * SIZES[name].width
    rest = PUBLISHED[name] - ours
    assert 0 < rest < 1100 * SIZES[name].width, "about a thousand rows: a table of positions, most of it"
    assert name != "huge" or rest < 0.002 * ours


@pytest.mark.parametrize(
    "name", ["baseline", "hrm_token", "gumbel", "reuse_heads", "gradient_last", "adaptive", "segments"]
)
def test_checkpointing_changes_neither_losses_nor_gradients_nor_random_numbers(name: str) -> None:
    """With dropout and noise, which are drawn the same again; each block is computed once more in backward."""
    backbone = perturbed(ARMS[name], shape=replace(SHAPE, dropout=0.3, structural_heads=1, relative=1))
    layout = Layout(relations={"near": torch.rand(3, 6, 6) < 0.5}, positions=grid(2, 3))
    x, calls = torch.randn(3, 6, 16, dtype=torch.float64), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    backbone.refiner.stack.blocks[0].ffn.register_forward_hook(count)
    found = []
    for checkpointing in (False, True):
        backbone.refiner.stack.checkpointing, calls = checkpointing, 0
        backbone.zero_grad()
        torch.manual_seed(0)
        trace = backbone(x, layout)
        forward = calls
        (trace.states.sin().sum() + sum(trace.losses.values())).backward()
        trained = backbone.arm.refinement.steps - first_trained(backbone) + 1
        assert calls - forward == trained * checkpointing
        found.append([trace.states, torch.rand(2), *(p.grad.clone() for p in backbone.parameters())])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def first_trained(backbone: Backbone) -> int:
    controller = backbone.refiner.controller
    return backbone.arm.refinement.first_with_gradient(controller.slow_period if controller else None)


def test_checkpointing_keeps_nothing_of_a_block_but_its_input() -> None:
    def kept(checkpointing: bool) -> int:
        backbone = Backbone(replace(SHAPE, depth=4), ARMS["looped"])
        backbone.refiner.stack.checkpointing = checkpointing
        inner = weakref.WeakSet[torch.Tensor]()
        for block in backbone.refiner.stack.blocks:
            block.ffn[0].register_forward_hook(lambda module, inputs, output: inner.add(output))
        trace = backbone(torch.randn(2, 6, 16))
        return len(inner) if trace.states.requires_grad else -1

    assert (kept(False), kept(True)) == (4 * ARMS["looped"].refinement.steps, 0)
