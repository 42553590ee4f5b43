"""Every law on blocks of other kinds: as torch's encoder layer has it without settings, and as TRM and HRM have it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwise.laws.arms import POST, RECURSIVE, RELATED
from headwise.laws.independence import causality, rereading
from headwise.laws.neutrality import departure, neutrality, random_backbone
from headwise.laws.reach import gradient_reach, update_reach
from headwise.models.arm import Arm
from headwise.models.blocks import Block
from headwise.routing import rotary
from headwise.routing.layout import Layout

from .arms import ARMS, CAUSAL, SHAPE, perturbed

KINDS = {"post": POST, "recursive": RECURSIVE, "mixed": replace(SHAPE, norm="rms", rotary=True, activation="relu")}
REAL = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0]]).bool()


def brief(name: str) -> Arm:
    """The arm; of one that takes dozens of steps a segment of one cycle: with weights drawn at random so many steps
    make a last bit into a difference that is seen."""
    arm, loop = ARMS[name], ARMS[name].refinement
    return (
        arm
        if loop.steps_in_all <= 8
        else replace(arm, refinement=replace(loop, steps=loop.recursion.cycle, segments=1))
    )


@pytest.mark.parametrize("name", ARMS)
def test_gates_of_one_are_torch_s_layer_that_norms_last(name: str) -> None:
    """Law 1."""
    assert neutrality(ARMS[name], POST) == []


@pytest.mark.parametrize("changes", [{"norm_placement": "post"}, {"activation": "relu"}, {"bias": False}], ids=str)
def test_each_option_that_torch_has_is_torch_s(changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    assert departure(random_backbone(ARMS["looped"], replace(SHAPE, **changes)), None) < 1e-12


def test_planted_norm_of_the_input_in_a_block_that_norms_last_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Block, "read", lambda self, x: self.attention_norm(x))
    assert neutrality(ARMS["baseline"], POST) != []


@pytest.mark.parametrize("name", ARMS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    """Law 2."""
    assert gradient_reach(ARMS[name], shape=RECURSIVE) == []


@pytest.mark.parametrize("name", ["baseline", "hrm_token", "top_k_12", "composed", "segments"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_each_kind_gets_a_gradient_and_moves(name: str, kind: str) -> None:
    """Laws 2 and 3."""
    assert gradient_reach(ARMS[name], shape=KINDS[kind]) == []
    assert update_reach(ARMS[name], shape=KINDS[kind]) == []


@pytest.mark.parametrize("name", ARMS)
def test_an_example_does_not_depend_on_padding_around_it(name: str) -> None:
    """Law 5; padding in front moves every token to another place, and offsets stay."""
    inside = torch.randn(3, 3, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = torch.full((3, 6, SHAPE.width), 20.0, dtype=torch.float64).masked_scatter(REAL[..., None], inside)
    for causal in (False, True)[: 1 + (name in CAUSAL)]:
        backbone = perturbed(brief(name), causal, shape=replace(RECURSIVE, skipping="always")).eval()
        with torch.no_grad():
            states, alone = backbone(batch, REAL).states[0], backbone(inside).states[0]
        torch.testing.assert_close(states[REAL].view_as(alone), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_model_reads_in_pieces_what_it_reads_at_once_and_nothing_later(name: str) -> None:
    """Laws 6 and 7; a cached key keeps the turn of its own position."""
    assert causality(brief(name), RECURSIVE) == []
    assert rereading(brief(name), RECURSIVE) == []


@pytest.mark.parametrize("name", ["baseline", "segments_reuse"])
def test_planted_keys_that_are_turned_as_if_each_piece_began_at_0_are_caught(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwise.routing.attention.rotate_from", lambda x, base, start=0: rotary.rotate_from(x, base))
    assert rereading(ARMS[name], RECURSIVE) != []


def test_structural_heads_and_a_bias_by_position_go_with_rotary_positions() -> None:
    """With relations between all and a bias of zero, every output is what it is without a layout."""
    x, whole = batch_of(5), Layout(None, {"all": torch.ones(1, 6, 6, dtype=torch.bool)}, positions())
    plain = perturbed(ARMS["hrm_token"], shape=RECURSIVE)
    twin = perturbed(ARMS["hrm_token"], shape=replace(RECURSIVE, structural_heads=RELATED.structural_heads, relative=1))
    twin.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.zeros_(twin.relative.table)
    torch.testing.assert_close(twin(x, whole).states, plain(x).states)


def batch_of(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(count, 6, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return drawn.to(dtype)


def positions() -> Tensor:
    return torch.cartesian_prod(torch.arange(2), torch.arange(3))


@pytest.mark.parametrize("kind", ["post", "recursive"])
@pytest.mark.parametrize("name", ["baseline", "hrm_token", "top_k_12", "composed", "reuse_keys_values"])
def test_numbers_stay_finite_and_close_in_bf16(name: str, kind: str) -> None:
    """Weights, inputs and angles of the same model; bf16 keeps three digits."""
    precise = perturbed(ARMS[name], shape=KINDS[kind])
    rough = perturbed(ARMS[name], shape=KINDS[kind]).to(torch.bfloat16).train()
    trace = rough(batch_of(3, torch.bfloat16))
    trace.states.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in rough.parameters() if p.grad is not None)
    if name == "baseline":  # steps, and heads that are selected, drift apart
        torch.testing.assert_close(trace.states.double(), precise(batch_of(3)).states, rtol=0.2, atol=0.2)


def test_far_away_positions_are_told_apart_in_bf16() -> None:
    """bf16 has 8 bits: 300 and 301 are the same number there, and would be turned alike."""
    x = torch.ones(1, 2, 1, 8, dtype=torch.bfloat16)
    one, other = rotary.rotate_from(x, 10000.0, 300)[0]
    assert not torch.equal(one, other)
    exact = rotary.rotate_from(x.double(), 10000.0, 300)[0]
    torch.testing.assert_close(torch.stack([one, other]).double(), exact, rtol=0, atol=0.01)


def test_a_carry_of_a_model_that_norms_last_is_what_is_read_out() -> None:
    trace = perturbed(ARMS["looped"], shape=RECURSIVE)(batch_of(2))
    assert torch.equal(trace.states[-1], trace.carry.hidden)
    torch.testing.assert_close(trace.states[-1].square().mean(-1), torch.ones(2, 6).double(), rtol=1e-3, atol=0)
