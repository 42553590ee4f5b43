"""Elementwise output gates: one for each channel, beside those of the router, and gone with heads that are off."""

import pytest
import torch

from headwise.routing.attention import RoutedAttention
from headwise.routing.output_gates import channel_gates

B, L, H, D = 2, 5, 4, 16


def gated(**options: object) -> RoutedAttention:
    torch.manual_seed(0)
    attention = RoutedAttention(D, H, output_gate="elementwise", **options).double()
    with torch.no_grad():
        torch.nn.init.normal_(attention.output_gate.weight)
    return attention


@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
def test_a_channel_of_a_head_output_is_multiplied_by_twice_the_sigmoid_of_its_own_row(combine: str) -> None:
    attention, x = gated(combine=combine), torch.randn(B, L, D, dtype=torch.float64)
    plain = RoutedAttention(D, H, combine).double()
    plain.load_state_dict(attention.state_dict(), strict=False)
    heads = plain(x)[1].heads  # [B, L, H, E]
    factors = 2 / (1 + (-torch.einsum("bld,hed->blhe", x, attention.output_gate.weight.view(H, D // H, D))).exp())
    torch.testing.assert_close(attention(x)[0], plain.combine(heads * factors, None))
    weights = torch.rand(B, L, H, dtype=torch.float64)
    torch.testing.assert_close(attention(x, weights)[0], plain.combine(heads * factors, weights))


def test_it_starts_as_plain_attention_where_the_papers_sigmoid_would_halve_it() -> None:
    torch.manual_seed(0)
    attention, x = RoutedAttention(D, H, output_gate="elementwise"), torch.randn(B, L, D)
    plain = RoutedAttention(D, H)
    plain.load_state_dict(attention.state_dict(), strict=False)
    assert torch.equal(attention(x)[0], plain(x)[0])
    (gradient,) = torch.autograd.grad(attention(x)[0].square().sum(), attention.output_gate.weight)
    assert (gradient.norm(dim=1) > 0).all()


def test_the_heads_that_are_kept_for_later_steps_are_not_gated_yet() -> None:
    """Each step has gates of its own: with the heads of the first, those of the second."""
    attention, (first, second) = gated(), torch.randn(2, B, L, D, dtype=torch.float64)
    _, memory = attention(first)
    expected = attention.combine(memory.heads * attention.output_gate(second), None)
    torch.testing.assert_close(attention(second, None, None, memory)[0], expected)


def test_gates_stay_between_0_and_2_in_half_precision() -> None:
    token, rows = torch.full((1, 4), 200.0), torch.tensor([[100.0] * 4, [-100.0] * 4])
    gates = channel_gates(token.half(), rows.half())
    assert gates.tolist() == [[2.0, 0.0]]


def test_an_unknown_output_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="output_gate='headwise'; choose none or elementwise"):
        RoutedAttention(D, H, output_gate="headwise")
