"""torch's attention, layer and encoder and headwise's with the same weights compute the same, or are refused."""

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.laws.neutrality import is_neutral_at_start
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.models.conversion import from_torch, to_torch
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing import GATES
from headwise.routing.attention import RoutedAttention
from headwise.routing.balance import BalanceConfig
from headwise.routing.fixed_routers import RandomRouter, StaticRouter
from headwise.routing.gates import Sigmoid, Soft, TopK
from headwise.routing.layout import Mask
from headwise.routing.mixtures import TopP
from headwise.routing.routers import LearnedRouter

M = TypeVar("M", bound=nn.Module)
D, H, F, B, L = 12, 4, 20, 3, 6
PADDING = torch.arange(L) < torch.tensor([L, 4, 2])[:, None]  # [B, L], True for real tokens
LATER = torch.ones(L, L, dtype=torch.bool).triu(1)  # True where torch must not look
MASKS = list(itertools.product((False, True), repeat=2))  # padded, causal


def randomised(module: M) -> M:
    """Every parameter off its start: biases, those of keys too, and the gains of norms."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + (parameter == 1))
    return module.eval()


def attention(**settings: Any) -> nn.MultiheadAttention:
    return randomised(nn.MultiheadAttention(D, H, **{"batch_first": True, "dtype": torch.float64} | settings))


def layer(**settings: Any) -> nn.TransformerEncoderLayer:
    usual = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True, "dtype": torch.float64}
    return randomised(nn.TransformerEncoderLayer(D, H, F, **usual | settings))


def encoder(norm: bool | None = None, **settings: Any) -> nn.TransformerEncoder:
    """With a norm behind the last layer where the layers norm first, unless `norm` says otherwise."""
    norm = settings.get("norm_first", True) if norm is None else norm
    last = nn.LayerNorm(D, dtype=torch.float64, bias=settings.get("bias", True)) if norm else None
    return randomised(nn.TransformerEncoder(layer(**settings), 2, last, enable_nested_tensor=False))


def inputs(seed: int = 0) -> Tensor:
    return torch.randn(B, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def theirs(module: nn.Module, x: Tensor, padded: bool, causal: bool) -> Tensor:
    """What torch's module gives, [B, L, D], whichever way round it wants its batches."""
    (batch_first,) = {part.batch_first for part in module.modules() if isinstance(part, nn.MultiheadAttention)}
    x = x if batch_first else x.transpose(0, 1)
    padding, mask = ~PADDING if padded else None, LATER if causal else None
    if isinstance(module, nn.MultiheadAttention):
        out = module(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=False)[0]
    elif isinstance(module, nn.TransformerEncoderLayer):
        out = module(x, src_mask=mask, src_key_padding_mask=padding)
    else:
        out = module(x, mask=mask, src_key_padding_mask=padding)
    return out if batch_first else out.transpose(0, 1)


def ours(module: RoutedAttention | Block | Backbone, x: Tensor, padded: bool) -> Tensor:
    padding = PADDING if padded else None
    if isinstance(module, Backbone):
        return module(x, padding).states[0]
    looking = None if padding is None else padding[:, None, None, :]
    if isinstance(module, Block):
        return module(x, Mask(padding, looking))[0]
    return module(x, None, looking)[0]


def apart(one: nn.Module, other: Any, padded: bool = False, causal: bool = False) -> float:
    """How far outputs at real tokens, and gradients by the input, are apart."""
    x, y = inputs().requires_grad_(), inputs().requires_grad_()
    real = PADDING if padded else torch.ones_like(PADDING)
    a, b = theirs(one, x, padded, causal)[real], ours(other, y, padded)[real]
    slopes = [torch.autograd.grad(out.square().sum(), by)[0] for out, by in ((a, x), (b, y))]
    return max((a - b).abs().max().item(), (slopes[0] - slopes[1]).abs().max().item())


KINDS: list[Callable[..., Any]] = [attention, layer, encoder]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_converted_module_computes_what_torch_s_did_under_every_mask(
    kind: Callable[..., Any], bias: bool, batch_first: bool
) -> None:
    module = kind(bias=bias, batch_first=batch_first)
    for padded, causal in MASKS:
        converted = from_torch(module, causal=causal)
        assert apart(module, converted, padded, causal) < 1e-12
        back = to_torch(converted, batch_first=not batch_first, causal=causal)
        assert apart(back, converted, padded, causal) < 1e-12


OPTIONS = list(itertools.product((True, False), (nn.functional.gelu, nn.functional.relu), (True, False)))


@pytest.mark.parametrize("kind", [layer, encoder])
@pytest.mark.parametrize(("norm_first", "activation", "bias"), OPTIONS)
def test_every_kind_of_layer_that_torch_has_goes_there_and_back(
    kind: Callable[..., Any], norm_first: bool, activation: Any, bias: bool
) -> None:
    module = kind(norm_first=norm_first, activation=activation, bias=bias)
    converted = from_torch(module)
    back = to_torch(converted)
    assert apart(module, converted, padded=True) < 1e-12
    assert apart(back, converted, padded=True) < 1e-12
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in module.state_dict().items())
    inner = [part for part in back.modules() if isinstance(part, nn.TransformerEncoderLayer)]
    assert {(part.norm_first, part.activation) for part in inner} == {(norm_first, activation)}
    if isinstance(converted, Backbone):
        model = converted.model
        expected = ("pre" if norm_first else "post", activation.__name__, bias)
        assert (model.norm_placement, model.activation, model.bias) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_there_and_back_every_weight_is_the_same_bit_for_bit(kind: Callable[..., Any], bias: bool) -> None:
    module = kind(bias=bias, batch_first=False)
    back = to_torch(from_torch(module), batch_first=False)
    before, after = module.state_dict(), back.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert type(back) is type(module)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_copied_and_training_one_leaves_the_other_alone(kind: Callable[..., Any]) -> None:
    module = kind()
    converted = from_torch(module)
    back = to_torch(converted)
    owners = [{p.data_ptr() for p in m.parameters()} for m in (module, converted, back)]
    assert len(set.union(*owners)) == sum(map(len, owners))


def test_what_is_frozen_stays_frozen_and_a_module_without_biases_stays_without() -> None:
    module = layer(bias=False)
    module.linear1.weight.requires_grad_(False)
    block = from_torch(module)
    assert not [name for name, _ in block.named_parameters() if "bias" in name]
    assert block.attention.projection.requires_grad
    back = to_torch(block)
    assert [n for n, p in back.named_parameters() if not p.requires_grad] == ["linear1.weight"]
    assert not [name for name, _ in back.named_parameters() if "bias" in name]
    whole = from_torch(encoder(bias=False))
    assert (whole.model.bias, whole.norm.bias) == (False, None)


def test_an_attention_that_alone_lacks_biases_has_them_at_zero_and_frozen() -> None:
    module = layer()
    module.self_attn = attention(bias=False)
    block = from_torch(module)
    for name in ("query_bias", "value_bias"):
        assert not getattr(block.attention, name).requires_grad
    assert not block.attention.output.bias.requires_grad
    assert apart(module, block) < 1e-12
    assert to_torch(block).self_attn.in_proj_bias is None
    with torch.no_grad():  # whoever thaws them has biases
        block.attention.query_bias.requires_grad_().add_(1.0)
    assert to_torch(block).self_attn.in_proj_bias is not None
    frozen = nn.MultiheadAttention(D, H).requires_grad_(False)  # biases of zero that are frozen are biases still
    back = to_torch(from_torch(frozen))
    assert back.in_proj_bias is not None
    assert not any(p.requires_grad for p in back.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtype_device_and_mode_are_kept(kind: Callable[..., Any], dtype: torch.dtype) -> None:
    module = kind().to(dtype)
    arm = Arm() if kind is attention else Arm(LearnedRouter("token"), balance=BalanceConfig(target=3.5), gate=TopP())
    for training in (True, False):
        converted = from_torch(module.train(training), arm)
        back = to_torch(converted)
        assert {p.dtype for m in (converted, back) for p in m.parameters()} == {dtype}
        assert {m.training for whole in (converted, back) for m in whole.modules()} == {training}
    assert {p.device.type for p in from_torch(kind().to("meta"), arm).parameters()} == {"meta"}


def test_a_conversion_draws_no_random_numbers() -> None:
    module, state = encoder(), torch.get_rng_state()
    to_torch(from_torch(module, Arm(LearnedRouter("token"))))
    assert torch.equal(state, torch.get_rng_state())


def test_dropout_is_carried_to_each_of_its_four_places() -> None:
    """Everything is dropped at one place at a time, so that its place shows in the output."""
    places = {"attention": 0.1, "activation": 0.2, "halves": 0.3}
    module = layer(dropout=places["halves"])
    module.self_attn.dropout, module.dropout.p = places["attention"], places["activation"]
    block = from_torch(module)
    assert block.attention.dropout == places["attention"]
    back = to_torch(block)
    assert (back.self_attn.dropout, back.dropout.p) == (places["attention"], places["activation"])
    assert (back.dropout1.p, back.dropout2.p) == (places["halves"], places["halves"])
    assert list(block.state_dict()) == list(Backbone(ModelConfig(D, H, F), Arm()).refiner.stack.blocks[0].state_dict())
    # In one sequence at one position torch draws in the order of memory that headwise has, too.
    x, seen = inputs()[:1, :1], []
    module.train(), block.train(), back.train()
    for run in (module, lambda x: block(x, Mask())[0], back):
        torch.manual_seed(3)
        seen.append(torch.stack([run(x) for _ in range(20)]))
    assert torch.equal(seen[0], seen[2])
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-12)
    assert seen[0].std(0).min() > 0


def test_the_eps_of_norms_is_carried() -> None:
    module = layer(layer_norm_eps=0.5)
    block = from_torch(module)
    assert apart(module, block) < 1e-12
    assert to_torch(block).norm2.eps == 0.5


NEUTRAL = [gate for entry in GATES.values() for gate in entry.examples()]


@pytest.mark.parametrize("gate", [g for g in NEUTRAL if is_neutral_at_start(Arm(LearnedRouter("token"), g))], ids=repr)
def test_a_routed_layer_starts_as_the_layer_that_it_was(gate: Any) -> None:
    module, arm = layer(), Arm(LearnedRouter("token"), gate)
    block = from_torch(module, arm)
    assert apart(module, block, padded=True) < 1e-12
    gates = block(inputs(), Mask())[1]
    assert gates.weight.shape == (B, L, H)
    block(inputs(), Mask())[0].square().sum().backward()
    if gate.softmax:  # others reach the router through a choice that is flat here
        assert block.router.of_input.weight.grad.abs().max() > 0
    assert apart(to_torch(block), block, padded=True) < 1e-12


def test_at_gates_of_exactly_one_a_routed_layer_is_the_unrouted_one_bit_for_bit() -> None:
    module, x = layer(), inputs()
    routed, plain = from_torch(module, Arm(LearnedRouter("token"), Sigmoid())), from_torch(module)
    assert torch.equal(routed(x, Mask())[0], plain(x, Mask())[0])


def test_a_router_beside_a_converted_attention_starts_it_as_it_was() -> None:
    module = attention()
    converted = from_torch(module)
    router = LearnedRouter("token").build(Soft(), D, H).double()
    x = inputs()
    torch.testing.assert_close(
        converted(x, router(x)[0].weight)[0], theirs(module, x, False, False), rtol=0, atol=1e-12
    )
    richer = from_torch(module, Arm(output_gate="elementwise", composition_rank=2))
    assert apart(module, richer, padded=True) < 1e-12


def test_an_encoder_takes_a_controller_and_steps_of_refinement() -> None:
    arm = Arm(LearnedRouter("token"), controller=HRMConfig(period=2), refinement=RefinementConfig(steps=4))
    backbone = from_torch(encoder(), arm)
    trace = backbone(inputs(), PADDING)
    assert trace.steps.tolist() == [4] * B
    block = from_torch(layer(), arm)
    context = arm.controller.build(D, H).context_width
    assert block(inputs(), Mask(), torch.randn(B, 1, context, dtype=torch.float64))[1] is not None
    with pytest.raises(InputError, match=r"arm\.refinement\.steps=4: .*choose 1"):
        to_torch(backbone)


@pytest.mark.parametrize("router", [StaticRouter(k=2), LearnedRouter("layer"), LearnedRouter("token")], ids=repr)
def test_gates_that_do_not_depend_on_the_input_become_weights_of_the_output(router: Any) -> None:
    block = from_torch(layer(), Arm(router, TopK(3)) if isinstance(router, LearnedRouter) else Arm(router))
    logits = torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64)
    if isinstance(router, LearnedRouter):
        with torch.no_grad():
            (block.router.constant if router.granularity == "layer" else block.router.of_input.bias).copy_(logits)
    back = to_torch(block)
    assert apart(back, block, padded=True) < 1e-12
    zero = (back.self_attn.out_proj.weight.view(D, H, -1) == 0).all(-1).all(0)
    assert zero.sum() == (2 if isinstance(router, StaticRouter) else 1)


@pytest.mark.parametrize("router", [LearnedRouter("token"), LearnedRouter("sequence"), RandomRouter("token")], ids=repr)
def test_gates_that_depend_on_the_input_are_refused_and_the_attention_alone_is_not(router: Any) -> None:
    module = layer()
    block = from_torch(module, Arm(router))
    if isinstance(router, LearnedRouter):
        with torch.no_grad():
            block.router.of_input.weight[0, 0] = 0.1
    with pytest.raises(InputError, match=r"router=(Learned|Random): its gates depend on the input.*block\.attention"):
        to_torch(block)
    assert torch.equal(to_torch(block.attention).in_proj_bias, module.self_attn.in_proj_bias)


def without(make: Callable[[], nn.Module], change: Callable[[Any], None]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        module = make()
        change(module)
        return module

    return made


class Scaled(nn.MultiheadAttention):
    def forward(self, *args: Any, **settings: Any) -> Any:
        return super().forward(*args, **settings)


REFUSED_FROM: dict[str, Callable[[], nn.Module]] = {
    r"kdim=6: .*choose kdim=12": lambda: attention(kdim=6),
    r"vdim=6: .*choose vdim=12": lambda: attention(vdim=6),
    r"add_bias_kv=True: .*choose add_bias_kv=False": lambda: attention(add_bias_kv=True),
    r"add_zero_attn=True: .*choose add_zero_attn=False": lambda: attention(add_zero_attn=True),
    r"Scaled\.forward: it is not torch's own": lambda: Scaled(D, H),
    r"activation=silu: .*choose activation=\"gelu\" or \"relu\"": lambda: layer(activation=nn.functional.silu),
    r"activation=GELU\(approximate='tanh'\): ": lambda: layer(activation=nn.GELU("tanh")),
    r"dropout1=0, dropout2=0.5: ": without(layer, lambda m: setattr(m.dropout2, "p", 0.5)),
    r"linear1=Identity: choose torch.nn.Linear": without(layer, lambda m: setattr(m, "linear1", nn.Identity())),
    r"norm2=RMSNorm: choose torch.nn.LayerNorm": without(layer, lambda m: setattr(m, "norm2", nn.RMSNorm(D))),
    r"norm=None: .*LayerNorm": lambda: encoder(norm=False),
    r"norm=LayerNorm: .*norm_first=False.*choose norm=None": lambda: encoder(norm=True, norm_first=False),
    r"layers of 2 shapes: ": without(encoder, lambda m: m.layers.append(layer(norm_first=False))),
    r"layers of 2 shapes": without(
        encoder,
        lambda m: m.layers.append(nn.TransformerEncoderLayer(D, 2, F, activation="gelu", norm_first=True)),
    ),
    r"several dtypes or devices": without(layer, lambda m: m.norm1.float()),
    r"Linear: no counterpart; choose torch\.nn\.MultiheadAttention": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("message", REFUSED_FROM)
def test_what_headwise_cannot_say_is_refused_by_name(message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        from_torch(REFUSED_FROM[message]())  # type: ignore[call-overload]
    assert "\n" not in str(refused.value)


def test_activations_that_are_gelu_under_another_name_are_taken() -> None:
    assert apart(layer(activation=nn.GELU()), from_torch(layer(activation=nn.GELU()))) < 1e-12


@pytest.mark.parametrize(
    ("module", "arm", "message"),
    [
        (attention, Arm(LearnedRouter("token")), "arm: of an attention's only output_gate"),
        (layer, Arm(LearnedRouter("token"), combine="mixture"), r"arm\.combine=mixture: .*choose mask_concat"),
        (layer, Arm(LearnedRouter("token"), TopK(9)), "choose 1..4"),
        (encoder, Arm(LearnedRouter("token"), controller=HRMConfig(period=2)), "refinement"),
    ],
)
def test_an_arm_that_does_not_fit_is_refused(module: Callable[..., Any], arm: Arm, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_torch(module(), arm)


REFUSED_TO: dict[str, Callable[[], nn.Module]] = {
    r"combine=mixture: .*choose mask_concat": lambda: RoutedAttention(D, H, combine="mixture"),
    r"kv_heads=2: .*choose 4": lambda: RoutedAttention(D, H, kv_heads=2),
    r"output_gate=elementwise: .*choose none": lambda: RoutedAttention(D, H, output_gate="elementwise"),
    r"composition_rank=2: .*choose 0": lambda: RoutedAttention(D, H, composition_rank=2),
    r"causal=False, but the module has causal=True: .*causal mask": lambda: RoutedAttention(D, H, causal=True),
    r"rotary=true: .*choose false": lambda: RoutedAttention(D, 2, rotary=1e4),
    r"activation=swiglu: .*choose gelu or relu": lambda: Block(RoutedAttention(D, H), None, F, activation="swiglu"),
    r"norm=rms: .*choose layer": lambda: Block(RoutedAttention(D, H), None, F, norm="rms"),
    r"norm=rms_unscaled: .*choose layer": lambda: Block(RoutedAttention(D, H), None, F, norm="rms_unscaled"),
    r"ffn=0: .*choose at least 1": lambda: Block(RoutedAttention(D, H), None, 0),
    r"structural_heads or relative: ": lambda: Backbone(ModelConfig(D, H, F, relative=2), Arm()),
    r"Linear: no counterpart; choose headwise": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("message", REFUSED_TO)
def test_what_torch_cannot_say_is_refused_by_name(message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        to_torch(REFUSED_TO[message]())  # type: ignore[call-overload]
    assert "\n" not in str(refused.value)


def test_a_module_of_headwise_that_never_was_torch_s_is_converted_too() -> None:
    backbone = randomised(Backbone(ModelConfig(D, H, F, depth=2, dropout=0.1), Arm()).double())
    back = to_torch(backbone)  # type: ignore[call-overload]
    assert apart(back, backbone, padded=True) < 1e-12
    assert [layer.dropout.p for layer in back.layers] == [0.0, 0.0]  # a block drops nothing behind its activation
    assert [layer.dropout1.p for layer in back.layers] == [0.1, 0.1]
