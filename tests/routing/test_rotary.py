"""Rotary positions: scores know offsets and nothing else, in every way of computing attention."""

import pytest
import torch
from torch import Tensor

from headwise.routing import tiles
from headwise.routing.attention import RoutedAttention
from headwise.routing.reference import plain_attention, plain_rotation
from headwise.routing.rotary import rotate_from
from headwise.routing.tiles import attend_pairs
from headwise.routing.whole_heads import attend_whole_heads

from ..laws.test_skipping import SELECTIONS, B, D, H, L, layer, same, selection


def test_a_turn_is_that_of_complex_numbers_and_scores_know_offsets_alone() -> None:
    q, k = torch.randn(2, 1, 1, 3, 8, dtype=torch.float64).expand(2, 1, 7, 3, 8).unbind(0)  # alike at 7 positions
    turned = rotate_from(q, 100.0, 5)
    torch.testing.assert_close(turned.flatten(2), plain_rotation(q.flatten(2), 8, 100.0, 5))
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1))

    def scores(start: int) -> Tensor:  # [1, 3, 7, 7]
        return rotate_from(q, 100.0, start).transpose(1, 2) @ rotate_from(k, 100.0, start).transpose(1, 2).mT

    for offset in range(-6, 7):
        diagonal = scores(0).diagonal(offset, -2, -1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal))
    assert not torch.allclose(scores(0)[..., 0, 1], scores(0)[..., 1, 0])
    torch.testing.assert_close(scores(9), scores(0))


def test_in_bf16_far_positions_are_told_apart() -> None:
    """bf16 has no number between 256 and 258: angles in it would turn neighbours alike."""
    q = torch.randn(1, 1, 2, 8).bfloat16().expand(1, 3, 2, 8)
    turned = rotate_from(q, 100.0, 256)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rotate_from(q.float(), 100.0, 256).bfloat16())
    assert not torch.equal(turned[:, 0], turned[:, 1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("causal", "combine"), [(False, "mixture"), (True, "mask_concat")])
@pytest.mark.parametrize("chosen", SELECTIONS)
def test_skipped_heads_are_turned_like_the_others(
    chosen: str, causal: bool, combine: str, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 6, with grouped queries; and a layer without biases, whose empty rows are zeros."""
    monkeypatch.setattr(tiles, "TILE", 3)
    attention, on = layer(2, combine, causal, rotary=100.0, bias=bias), selection(chosen)
    x = torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)
    free = (torch.rand(on.shape, dtype=torch.float64) + 0.5).requires_grad_()
    inputs, gates = [x, free, *attention.parameters()], free * on
    plain = plain_attention(attention, x, gates)
    same(attention(x, gates)[0], plain, inputs)
    memory, every_token = attention.keys_values(x), gates.expand(B, L, H)
    forms = [attend_whole_heads(attention.projections(), x, gates, None)]
    if bias or chosen != "nothing":  # nothing at all: zeros, of which no weight is a part
        forms.append(attend_pairs(attention.projections(), x, gates, None, (memory.keys, memory.values)))
    for form in forms:
        same(form, plain_attention(attention, x, every_token), inputs)


@pytest.mark.parametrize("skipping", ["never", "always"])
def test_queries_after_a_past_stand_behind_it(skipping: str) -> None:
    attention = RoutedAttention(D, H, causal=True, rotary=100.0, skipping=skipping).double()
    x, on = torch.randn(B, L, D, dtype=torch.float64), selection("token").double()
    with torch.no_grad():
        whole, _ = attention(x, on)
        memory = attention.keys_values(x[:, 6:], attention.keys_values(x[:, :6]))
        later, _ = attention(x[:, 6:], on[:, 6:], None, memory)
    torch.testing.assert_close(later, whole[:, 6:])
    assert not torch.allclose(later, shifted(attention, x, on, 6))


def shifted(attention: RoutedAttention, x: Tensor, on: Tensor, start: int) -> Tensor:
    """The mistake: a cached key that is turned again, as if it were new."""
    memory = attention.keys_values(x[:, start:], attention.keys_values(x[:, :start]))
    keys = rotate_from(memory.keys.transpose(1, 2), 100.0).transpose(1, 2)
    with torch.no_grad():
        return attention(x[:, start:], on[:, start:], None, type(memory)(keys, memory.values))[0]
