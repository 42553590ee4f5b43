"""Law 5 wherever padding stands, and numbers that stay numbers: every arm, every way of computing attention.

A batch has four rows: an example padded on the left, one on the right, one inside, and one of nothing but padding.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwise.models.sizes import ModelConfig
from headwise.reasoning.draws import keys_of
from headwise.reasoning.trace import Trace
from headwise.routing.attention import RoutedAttention
from headwise.routing.gates import TopK, within
from headwise.routing.layout import Layout
from headwise.routing.mixtures import Adaptive, SharedRouted, TopP
from headwise.routing.reference import plain_attention
from headwise.routing.routers import normalised_entropy

from .arms import ARMS, SHAPE, grid, perturbed
from .test_reach import CAUSAL

REAL = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]]).bool()
PADDED = 3  # rows with an example in them
WAYS = {
    "dense": replace(SHAPE, skipping="never"),
    "skipping": replace(SHAPE, skipping="always"),
    "bias": replace(SHAPE, relative=1, structural_heads=2, skipping="never"),
    "skipping_bias": replace(SHAPE, relative=1, structural_heads={"second": 1, "first": 2}, ffn=0, skipping="always"),
}
CASES = [(name, way, False) for name in ARMS for way in WAYS]
CASES += [(name, way, True) for name in sorted(CAUSAL) for way in ("dense", "skipping")]


def examples(dtype: torch.dtype = torch.float64) -> Tensor:
    """What the padded rows hold without their padding, [3, 3, D]."""
    drawn = torch.randn(PADDED, 3, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return drawn.to(dtype)


def padded(inside: Tensor) -> Tensor:
    """The batch [4, 6, D] with these examples in it, and large numbers where there is none."""
    garbage = 20 * torch.randn(4, 6, SHAPE.width, dtype=inside.dtype, generator=torch.Generator().manual_seed(5))
    return garbage.masked_scatter(REAL[..., None], inside)


def layouts(shape: ModelConfig) -> tuple[Layout, list[Layout]]:
    """Of the batch, and of each example alone."""
    keys = keys_of(torch.arange(4), 0)
    if not shape.relative:
        return Layout(REAL, keys=keys), [Layout(keys=keys[[i]]) for i in range(PADDED)]
    drawn = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(6)) < 0.4
    seen = {"first": drawn[0] | torch.eye(6, dtype=torch.bool), "second": drawn[1]}  # some tokens see none
    route = torch.tensor([[0, 1], [1, -1], [1, 1], [0, 0]])
    alone = []
    for i in range(PADDED):
        inside = {name: part[[i]][:, REAL[i]][:, :, REAL[i]] for name, part in seen.items()}
        alone.append(Layout(None, inside, grid(2, 3)[REAL[i]], route[[i]], keys=keys[[i]]))
    return Layout(REAL, seen, grid(2, 3), route, keys=keys), alone


def loss(trace: Trace, states: Tensor, probe: Tensor) -> Tensor:
    """A number that every supervised state of `states` [K, B, n, D] has a part in."""
    return ((states * probe).sum((2, 3)) * trace.weights[:, : states.shape[1]]).sum()


@pytest.mark.parametrize(("name", "way", "causal"), CASES)
def test_outputs_and_gradients_are_those_of_the_example_without_padding(name: str, way: str, causal: bool) -> None:
    # In training Gumbel noise is drawn for the whole batch.
    backbone = perturbed(ARMS[name], causal, shape=WAYS[way]).train("gumbel" not in name)
    whole, each = layouts(WAYS[way])
    inside = examples().requires_grad_()
    batch = padded(inside)
    trace = backbone(batch, whole)
    states = torch.stack([trace.states[:, i, REAL[i]] for i in range(PADDED)], 1)  # [K, 3, 3, D]
    probe = torch.randn(states.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    inputs = [batch, inside, *backbone.parameters()]
    of_batch, *together = torch.autograd.grad(loss(trace, states, probe), inputs, materialize_grads=True)
    assert trace.states.isfinite().all()  # at padding, too
    assert (of_batch[~REAL] == 0).all()
    alone, parts = [torch.zeros_like(part) for part in together], []
    for i in range(PADDED):
        own = backbone(inside[[i]], each[i])
        parts.append(own.states)
        found = torch.autograd.grad(loss(own, own.states, probe[[i]]), inputs[1:], materialize_grads=True)
        alone = [a + b for a, b in zip(alone, found, strict=True)]
    torch.testing.assert_close(states, torch.cat(parts, 1))
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "way", "causal"), [case for case in CASES if case[1] in ("skipping", "bias")])
def test_padding_gives_finite_numbers_in_every_precision(name: str, way: str, causal: bool, dtype: torch.dtype) -> None:
    backbone = perturbed(ARMS[name], causal, dtype=dtype, shape=WAYS[way]).train()
    trace = backbone(padded(examples(dtype)), layouts(WAYS[way])[0])
    assert trace.states.isfinite().all()
    total = (trace.states * trace.weights[..., None, None]).float().square().mean()
    (total + sum(value.float() for value in trace.losses.values())).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is not None and not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("form", ["dense", "sequence", "token", "bias", "bias_token", "composed", "composed_bias"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_query_that_may_look_nowhere_gets_the_bias_of_the_output_alone(form: str, causal: bool) -> None:
    """In every form, with gradients of zero; without the guard softmax is 0/0."""
    torch.manual_seed(0)
    rank, dense = 2 * form.startswith("composed"), form in ("dense", "bias", "composed", "composed_bias")
    attention = RoutedAttention(16, 4, causal=causal, skipping="never" if dense else "always", composition_rank=rank)
    attention = attention.double()
    torch.nn.init.normal_(attention.output.bias)
    x, gates = torch.randn(4, 6, 16, dtype=torch.float64, requires_grad=True), torch.ones(4, 6, 4).double()
    gates[..., 0] = 0
    if "token" in form:
        gates[:, ::2, 1] = 0
    mask = REAL[:, None, None]
    if "bias" in form:
        table = torch.randn(1, 4, 6, 6, dtype=torch.float64, requires_grad=True)
        mask = torch.where(mask, table, -torch.inf)
    if not form.endswith("bias") and form != "composed":
        assert attention.plan(gates, x).kind == form.removeprefix("bias_")
    out, _ = attention(x, gates, mask)
    blind = torch.zeros_like(REAL)
    blind[3] = True
    if causal:
        blind[0, :3] = True
    torch.testing.assert_close(out[blind], attention.output.bias.expand(int(blind.sum()), -1))
    torch.testing.assert_close(out, plain_attention(attention, x, gates, mask))
    queries_of_blind = torch.autograd.grad(out[blind].sum(), x, retain_graph=True, materialize_grads=True)[0]
    assert (queries_of_blind == 0).all()
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_entropy_of_a_sure_router_is_zero_and_so_is_its_gradient(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    entropy = normalised_entropy(logits.softmax(-1))
    entropy.sum().backward()
    assert entropy.item() == 0
    assert (logits.grad == 0).all()
    even = normalised_entropy(torch.full((1, 4), 0.25, dtype=dtype))
    assert even.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("gate", "extra"),
    [
        (TopK(1, renormalise=True), 0),
        (SharedRouted(1, 1), 2),
        (TopP(0.3, renormalise=True), 0),
        (Adaptive(1.0, 1.2, renormalise=True), 3),
    ],
)
def test_a_chosen_head_whose_probability_is_too_small_for_a_float_has_the_whole_gate(gate: object, extra: int) -> None:
    """A bias has lifted head 1 over head 0, and p_1 = e^-120; of the only chosen head p / sum of p is 1."""
    logits = torch.tensor([[[120.0, 0.0, 0.0, 0.0] + [0.0] * extra]])
    bias = torch.tensor([-70.0, 60.0, 0.0, 0.0])
    weight = gate(logits, torch.tensor(1.0), None, True, bias).weight
    assert weight[..., -4:].tolist() == [[[0.0, 1.0, 0.0, 0.0]]]


def test_within_is_a_quotient_of_probabilities_wherever_there_is_one() -> None:
    scores, on = torch.randn(3, 5, 6, dtype=torch.float64), torch.rand(3, 5, 6) < 0.5
    on[..., 2] = True
    chosen = scores.softmax(-1) * on
    torch.testing.assert_close(within(scores, on), chosen / chosen.sum(-1, keepdim=True))
