"""Heads that lend each other their attention: the equation on small cases, what a head that is off lends, the start."""

import pytest
import torch
from torch import Tensor

from headwise.routing.attention import RoutedAttention
from headwise.routing.composition import HeadComposition
from headwise.routing.reference import plain_attention
from headwise.routing.scaled_dot_product import attend

B, L, H, D = 2, 7, 4, 16


def composed(**options: object) -> RoutedAttention:
    """A layer away from its start."""
    torch.manual_seed(0)
    attention = RoutedAttention(D, H, composition_rank=2, **options).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return attention


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("causal", [False, True])
def test_two_heads_that_lend_each_other_everything_look_where_the_other_looked(causal: bool) -> None:
    queries, keys, values = (drawn(B, 2, L, 3).roll(i) for i in range(3))
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double().expand(B, L, 2, 2)
    out = attend(queries, keys, values, None, causal, 0.0, swap)
    other = attend(queries.flip(1), keys.flip(1), values, None, causal, 0.0)
    torch.testing.assert_close(out, other)


def test_a_query_composes_its_heads_as_its_own_matrix_says() -> None:
    queries, keys, values, mixing = (*(drawn(B, H, L, 3).roll(i) for i in range(3)), drawn(B, L, H, H))
    weights = (queries @ keys.mT / 3**0.5).softmax(-1)
    expected = torch.einsum("bihg,bgij,bhje->bihe", mixing, weights, values)
    torch.testing.assert_close(attend(queries, keys, values, None, False, 0.0, mixing), expected)


@pytest.mark.parametrize("masking", ["none", "bool", "added", "blind", "structural"])
@pytest.mark.parametrize(
    "options", [{}, {"causal": True}, {"kv_heads": 2, "combine": "mixture"}, {"output_gate": "elementwise"}], ids=str
)
def test_a_composed_layer_is_the_equation_in_outputs_and_gradients(options: dict[str, object], masking: str) -> None:
    attention, x = composed(skipping="never", **options), drawn(B, L, D).requires_grad_()
    gates = torch.rand(B, L, H, generator=torch.Generator().manual_seed(1)).double()
    gates[:, ::2, 1] = gates[1, :, 2] = 0
    gates.requires_grad_()
    mask = torch.arange(L).expand(B, 1, 1, L) < torch.tensor([L, 4]).view(B, 1, 1, 1)
    if masking == "added":
        mask = drawn(1, H, L, L).masked_fill(~mask, -torch.inf).requires_grad_()
    if masking == "blind":  # the second example is padding, all of it; causal, the first queries see none
        mask = mask.new_tensor([[0, 1, 1, 1, 1, 1, 1], [0] * L])[:, None, None]
    if masking == "structural":
        mask = mask & (drawn(B, H, L, L) > 0) | torch.eye(L, dtype=torch.bool)
    mask = None if masking == "none" else mask
    fast, plain = attention(x, gates, mask)[0], plain_attention(attention, x, gates, mask)
    inputs = [x, gates, *attention.parameters(), *([mask] if masking == "added" else [])]
    probe = drawn(B, L, D)
    torch.testing.assert_close(fast, plain)
    actual = torch.autograd.grad((fast * probe).sum(), inputs, retain_graph=True)
    torch.testing.assert_close(actual, torch.autograd.grad((plain * probe).sum(), inputs))


def test_a_head_that_is_off_lends_nothing_and_one_that_is_on_does() -> None:
    attention, x, gates = composed(), drawn(B, L, D), torch.ones(B, 1, H).double()
    gates[..., 3] = 0
    for lent in (False, True):
        gates[..., 3] = float(lent)
        before = attention.heads(x, attention.keys_values(x), None, gates)
        with torch.no_grad():
            attention.projection[3 * D // H : D] += 1  # where head 3 looks
        after = attention.heads(x, attention.keys_values(x), None, gates)
        assert torch.allclose(before[:, :, :3], after[:, :, :3]) is not lent


def test_it_starts_as_plain_attention_and_its_first_updates_reach_all_of_it() -> None:
    torch.manual_seed(0)
    start, x = RoutedAttention(D, H, composition_rank=2).double(), drawn(B, L, D)
    plain = RoutedAttention(D, H).double()
    plain.load_state_dict(start.state_dict(), strict=False)
    torch.testing.assert_close(start(x)[0], plain(x)[0])
    optimiser = torch.optim.AdamW(start.parameters(), lr=1e-3, weight_decay=0)
    before = {name: parameter.detach().clone() for name, parameter in start.named_parameters()}
    for _ in range(2):  # the first moves V2 and G, and what is behind them has a gradient from then on
        optimiser.zero_grad()
        (start(x)[0] * drawn(B, L, D)).sum().backward()
        optimiser.step()
    assert [name for name, parameter in start.named_parameters() if torch.equal(parameter, before[name])] == []


def test_dropout_drops_composed_weights_in_training_alone() -> None:
    attention, x = composed(dropout=0.5), drawn(B, L, D)
    one, other = (attention.eval()(x)[0] for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(attention.train()(x)[0], one)


@pytest.mark.parametrize(("heads", "rank"), [(1, 1), (4, 5), (4, -1)])
def test_a_rank_without_a_meaning_is_refused(heads: int, rank: int) -> None:
    with pytest.raises(ValueError, match=r"composition_rank=-?\d with \d heads; choose 1\.\.heads"):
        RoutedAttention(16, heads, composition_rank=rank)


def test_a_matrix_for_each_token_is_all_that_is_computed_for_it() -> None:
    """Nothing for a key: a memory of keys and values holds no more than that of plain attention."""
    attention, x = composed(causal=True), drawn(B, L, D)
    memory = attention.keys_values(x)
    assert {name for name, part in vars(memory).items() if part is not None} == {"keys", "values"}
    assert HeadComposition(D, H, 2)(x.float()).shape == (B, L, H, H)
