"""Each option of the block against its equation; what it costs, how it starts, and what is refused."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from headwise.errors import InputError
from headwise.lab.comparison.parity import match, measure
from headwise.laws.arms import RECURSIVE
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.models.flops import flops_per_example
from headwise.models.initialisation import REMAINS, truncated_normal_
from headwise.models.refusals import TaskFacts
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.attention import RoutedAttention
from headwise.routing.reference import plain_attention
from headwise.schema import build, to_plain

from ..laws.arms import ARMS, SHAPE, perturbed

OPTIONS: dict[str, dict[str, Any]] = {
    "today": {},
    "rms": {"norm": "rms"},
    "rms_unscaled": {"norm": "rms_unscaled"},
    "post": {"norm_placement": "post"},
    "relu": {"activation": "relu"},
    "swiglu": {"activation": "swiglu"},
    "bias_free": {"bias": False},
    "rotary": {"rotary": True},
    "rotary_base": {"rotary": True, "rotary_base": 100.0, "kv_heads": 2},
    "attention_alone": {"ffn": 0, "norm_placement": "post", "norm": "rms"},
    "truncated_normal": {"init": "truncated_normal"},
    "all": {key: getattr(RECURSIVE, key) for key in ("norm", "norm_placement", "activation", "bias", "rotary")},
}


def plain_norm(norm: Any, x: Tensor, kind: str) -> Tensor:
    if kind == "layer":
        out = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * norm.weight
        return out if norm.bias is None else out + norm.bias
    out = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return out * norm.weight if kind == "rms" else out


def plain_feed_forward(ffn: Any, x: Tensor, kind: str) -> Tensor:
    first, second = [part for part in ffn.modules() if isinstance(part, torch.nn.Linear)]

    def add(y: Tensor, bias: Tensor | None) -> Tensor:
        return y if bias is None else y + bias

    inner = add(x @ first.weight.T, first.bias)
    if kind == "swiglu":
        gate, up = inner[..., : SHAPE.ffn], inner[..., SHAPE.ffn :]
        inner = gate / (1 + torch.exp(-gate)) * up
    elif kind == "relu":
        inner = inner * (inner > 0)
    else:
        inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    return add(inner @ second.weight.T, second.bias)


def plain_block(block: Block, x: Tensor, model: ModelConfig) -> Tensor:
    ones = torch.ones(len(x), 1, model.heads, dtype=x.dtype)
    halves = [(block.attention_norm, lambda x: plain_attention(block.attention, x, ones))]
    if model.ffn:
        halves.append((block.ffn_norm, lambda x: plain_feed_forward(block.ffn, x, model.activation)))
    for norm, half in halves:
        if model.norm_placement == "pre":
            x = x + half(plain_norm(norm, x, model.norm))
        else:
            x = plain_norm(norm, x + half(x), model.norm)
    return x


def tokens(length: int = 6) -> Tensor:
    return torch.randn(3, length, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_backbone_is_its_equation(option: str, causal: bool) -> None:
    """Law 6: outputs and gradients."""
    model = replace(SHAPE, **OPTIONS[option])
    backbone, x = perturbed(Arm(), causal, shape=model), tokens()
    plain = x
    for block in backbone.modules():
        if isinstance(block, Block):
            plain = plain_block(block, plain, model)
    if model.norm_placement == "pre":
        plain = plain_norm(backbone.norm, plain, model.norm)
    fast = backbone(x).states[0]
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(out.sin().sum(), list(backbone.parameters())) for out in (fast, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("option", OPTIONS)
def test_flops_agree_with_torch_and_parameters_have_roles(option: str) -> None:
    backbone = Backbone(replace(SHAPE, **OPTIONS[option]), ARMS["linear"]).eval()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        backbone(torch.randn(3, 10, SHAPE.width))
    assert counter.get_total_flops() / 3 == pytest.approx(flops_per_example(backbone, 10), rel=1e-9)
    roles = parameters_by_role(backbone)
    assert sum(map(len, roles.values())) == len(list(backbone.parameters()))
    assert any("ffn" in name for name, _ in roles["backbone"]) == bool(backbone.model.ffn)


def test_what_an_option_leaves_out_is_not_there() -> None:
    built = {option: Backbone(replace(SHAPE, **changes), Arm()) for option, changes in OPTIONS.items()}
    names = {option: [name for name, _ in backbone.named_parameters()] for option, backbone in built.items()}
    assert not [name for name in names["bias_free"] if name.endswith("bias")]
    assert not [name for name in names["rms"] if "norm" in name and name.endswith("bias")]
    assert not [name for name in names["rms_unscaled"] if "norm" in name]
    assert not [name for name in names["post"] if name.startswith("norm.")]
    assert set(names["rotary"]) == set(names["today"])
    inner = replace(RECURSIVE, width=512, heads=8, ffn=1536)  # of TRM: 2/3·4·512, rounded up
    with torch.device("meta"):
        counted = sum(p.numel() for p in Backbone(inner, Arm()).parameters())
    assert counted == 2 * (4 * 512**2 + 3 * 512 * 1536), "published: 7 M with embedding and read-out"


@pytest.mark.parametrize("mode", ["parameters", "depth", "flops"])
@pytest.mark.parametrize("ffn", [96, 0])
def test_arms_of_such_blocks_are_matched(mode: Any, ffn: int) -> None:
    model = replace(RECURSIVE, width=64, ffn=ffn, depth=8 if ffn else 2, activation="swiglu" if ffn else "gelu")
    if not ffn and mode != "flops":  # no fine knob: only whether an even head width is kept is asked
        mode = "none"
    arms = [("plain", Arm(refinement=RefinementConfig(3, injection="input")), model), ("hrm", ARMS["looped"], model)]
    found = match([arms[0], ("same", arms[0][1], model)] if not ffn else arms, 20, mode)
    assert found.matched
    assert all(one.model.norm == "rms_unscaled" and one.model.rotary for one in found.arms)


def test_without_a_feed_forward_layer_widths_keep_head_widths_even_for_rotary_positions() -> None:
    model = ModelConfig(width=1024, heads=2, ffn=0, rotary=True)
    wide = replace(model, width=1000)
    first, second = match([("one", Arm(), model), ("other", Arm(), wide)], 20).arms
    assert second.model.width // second.model.heads % 2 == 0
    assert second.size.parameters == pytest.approx(first.size.parameters, rel=0.01)
    assert measure(model, Arm(), 20).flops == measure(replace(model, rotary=False), Arm(), 20).flops


def test_a_truncated_normal_has_the_standard_deviation_of_one_over_the_root_of_the_fan_in() -> None:
    torch.manual_seed(0)
    weight = torch.empty(2000, 400)
    truncated_normal_(weight)
    assert weight.std().item() == pytest.approx(400**-0.5, rel=0.005)
    assert weight.abs().max().item() <= 2 * 400**-0.5 / REMAINS
    assert pytest.approx(0.87962566103423978) == REMAINS  # as JAX has it


def test_the_matrices_of_a_block_start_so_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    shape = ModelConfig(width=128, heads=4, ffn=256, init="truncated_normal")
    for activation in ("gelu", "swiglu"):
        backbone = Backbone(replace(shape, activation=activation), replace(ARMS["composed"], output_gate="elementwise"))
        block = backbone.refiner.stack.blocks[0]
        linears = [part for part in block.ffn.modules() if isinstance(part, torch.nn.Linear)]
        for weight in (block.attention.projection, block.attention.output.weight, *(part.weight for part in linears)):
            assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.03)
        assert not any(p.any() for name, p in block.named_parameters() if name.endswith("bias"))
        assert not block.attention.output_gate.weight.any(), "what starts neutral stays so"


def test_a_configuration_of_an_earlier_version_is_today_s_block() -> None:
    """Keys that a file of an earlier run does not have mean what they mean by default, and its weights fit."""
    today = to_plain(ModelConfig())
    earlier = {key: today[key] for key in ("width", "heads", "ffn", "depth", "dropout", "kv_heads", "relative")}
    assert build(ModelConfig, earlier, "model") == ModelConfig()
    parts = ("attention.output", "attention_norm", "ffn_norm", "ffn.0", "ffn.2")
    weights = ["attention.projection", "attention.query_bias", "attention.value_bias"]
    weights += [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    block = {f"refiner.stack.blocks.0.{name}" for name in weights}
    assert set(Backbone(ModelConfig(), Arm()).state_dict()) == block | {"norm.weight", "norm.bias"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "batch"}, "norm=batch: choose one of layer, rms, rms_unscaled"),
        ({"norm_placement": "both"}, "norm_placement=both: choose one of pre, post"),
        ({"activation": "silu"}, "activation=silu: choose one of gelu, relu, swiglu"),
        ({"init": "zero"}, "init=zero: choose one of default, truncated_normal"),
        ({"width": 12, "heads": 4, "rotary": True}, "rotary=true: turns channels in pairs, and a head has 3"),
        ({"rotary": True, "rotary_base": 1.0}, r"rotary_base=1.0: choose a number above 1"),
        ({"rotary": True, "rotary_base": math.nan}, r"rotary_base=nan: choose a number above 1"),
    ],
)
def test_values_that_there_are_not_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**changes)
    with pytest.raises(ValueError, match="rotary=10000 with heads of 3 channels"):
        RoutedAttention(12, 4, rotary=10000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "swiglu", "ffn": 0}, r"model\.activation=swiglu: there is no feed-forward layer"),
        ({"rotary_base": 500.0}, r"model\.rotary_base=500: has an effect only with model\.rotary=true"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    for causal in (False, True):
        with pytest.raises(InputError, match=message):
            check(Arm(), TaskFacts(causal), replace(SHAPE, **changes))
