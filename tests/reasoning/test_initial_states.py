"""Initial states and noise on the path: what an example draws is its own, wherever and with whomever it is computed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from headwise.laws.independence import batch_mates
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.generation import extend, reread
from headwise.reasoning import refiner
from headwise.reasoning.draws import keys_of, normal, places_of
from headwise.reasoning.initial_states import Drawn, FixedState, RandomState
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.layout import Layout, Mask
from headwise.routing.routers import LearnedRouter

from ..laws.arms import SHAPE, perturbed

MASK64 = 2**64 - 1
EQR = RefinementConfig(4, injection="input", initial_state=RandomState(), noise=0.1)
TWO = RefinementConfig(6, recursion=TwoStreams(3), initial_state=RandomState(0.5), noise=0.1)


def splitmix64(state: int) -> int:
    """The next number of the generator, as its authors wrote it in C."""
    z = (state + 0x9E3779B97F4A7C15) & MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


def test_the_bits_are_those_of_splitmix64() -> None:
    key, index, seed, draw, place, width = (keys_of(torch.tensor([5]), 7), 5, 7, 3, 2, 4)
    finalised = splitmix64((splitmix64(seed) + (index - 1) * 0x9E3779B97F4A7C15) & MASK64)
    assert key.item() & MASK64 == finalised
    start = splitmix64((key.item() + (2 * draw + 1) * 0x632BE59BD9B4E019 - 0x9E3779B97F4A7C15) & MASK64)
    bits = splitmix64((start + place * (width // 2) * 0x9E3779B97F4A7C15) & MASK64)
    high, low = ((half + 0.5) * 2**-32 for half in (bits >> 32, bits & 0xFFFFFFFF))
    radius = math.sqrt(-2 * math.log(high))
    expected = [radius * math.cos(2 * math.pi * low), radius * math.sin(2 * math.pi * low)]
    drawn = normal(key, draw, torch.tensor([[place]]), width)[0, 0, :2]
    torch.testing.assert_close(drawn, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_what_is_drawn_is_normal_and_every_draw_its_own() -> None:
    keys, places = keys_of(torch.arange(40), 0), torch.arange(50)[None]
    drawn = torch.stack([normal(keys, draw, places, 20) for draw in range(2)]).double()
    assert drawn.mean().abs() < 0.02
    assert (drawn.std() - 1).abs() < 0.02
    assert ((drawn**4).mean() - 3).abs() < 0.1
    rows = np.corrcoef(drawn.flatten(2).flatten(0, 1).numpy())
    assert abs(rows[~np.eye(len(rows), dtype=bool)]).max() < 6 / math.sqrt(1000)
    assert len(keys.unique()) == 40
    assert not torch.equal(keys_of(torch.arange(4), 0, 1), keys_of(torch.arange(4), 1, 0))


def test_a_token_draws_by_its_place_whatever_the_length_and_the_padding() -> None:
    keys = keys_of(torch.arange(3), 1)
    whole = normal(keys, 0, torch.arange(9)[None], 5)
    assert whole.shape == (3, 9, 5)
    assert torch.equal(normal(keys[1:2], 0, torch.arange(4)[None], 5), whole[1:2, :4])
    padding = torch.tensor([[False, True, True, False, True]])
    assert places_of(padding, whole).tolist() == [[0, 0, 1, 1, 2]]


def test_fixed_vectors_come_from_their_seed_and_are_kept_with_the_weights() -> None:
    arm = Arm(refinement=RefinementConfig(4, recursion=TwoStreams(2), initial_state=FixedState()))
    first, second = Backbone(SHAPE, arm), Backbone(SHAPE, arm)
    vectors = first.state_dict()["refiner.initial_state.vectors"]
    assert vectors.shape == (2, SHAPE.width)
    assert torch.equal(vectors, second.refiner.initial_state.vectors)
    assert not torch.equal(vectors[0], vectors[1])
    other = Backbone(SHAPE, replace(arm, refinement=replace(arm.refinement, initial_state=FixedState(1))))
    assert not torch.equal(vectors, other.refiner.initial_state.vectors)
    many = FixedState().build(20000, 1).vectors
    assert many.std().item() == pytest.approx(1, abs=0.02)
    assert many.abs().max() < 2 / 0.8796


def run(loop: RefinementConfig, keys: Tensor | None, training: bool, noise: float = 0.0, every: int = 1) -> Tensor:
    backbone = perturbed(Arm(LearnedRouter(), refinement=loop)).train(training)
    backbone.set_noise(noise, every)
    x = torch.randn(1, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1)
    with torch.no_grad():
        return backbone(x, Layout(keys=keys)).states[-1]


@pytest.mark.parametrize("loop", [EQR, TWO], ids=["single", "two_streams"])
def test_each_example_starts_from_a_state_of_its_own_that_its_key_decides(loop: RefinementConfig) -> None:
    """The same input four times: alike where keys are, different where they are not."""
    keys = torch.tensor([3, 8, 3, 9])
    for training in (False, True):
        out = run(loop, keys, training)
        assert torch.equal(out[0], out[2])
        assert not torch.allclose(out[0], out[1])
        assert not torch.allclose(out[1], out[3])
        assert torch.equal(out, run(loop, keys, training))


def test_planted_same_state_for_all_examples_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn.forward
    monkeypatch.setattr(Drawn, "forward", lambda self, x, keys, places: drawn(self, x, keys * 0, places))
    with pytest.raises(AssertionError):
        test_each_example_starts_from_a_state_of_its_own_that_its_key_decides(replace(EQR, noise=0.0))


def test_planted_states_of_the_batch_break_the_law_of_batch_mates(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = Arm(LearnedRouter(), refinement=EQR)
    assert batch_mates(arm, training=False) == batch_mates(arm, training=True) == []
    monkeypatch.setattr(
        Drawn, "forward", lambda self, x, *_: [torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)]
    )
    assert batch_mates(arm, training=False) != []


def test_there_is_noise_in_training_and_at_evaluation_where_it_is_asked_for() -> None:
    keys = torch.arange(4)
    for loop in (EQR, TWO):
        fixed = replace(loop, initial_state=FixedState())
        quiet = replace(fixed, noise=0.0)
        assert not torch.allclose(run(fixed, keys, True), run(quiet, keys, True))
        assert torch.equal(run(fixed, keys, False), run(quiet, keys, False))
        noisy = run(quiet, keys, False, noise=0.1)
        assert not torch.allclose(noisy[0], noisy[1])
        assert torch.equal(noisy, run(quiet, keys, False, noise=0.1))
        assert torch.equal(run(quiet, keys, False, noise=0.0), run(quiet, keys, False))


def test_planted_noise_at_evaluation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    always = property(lambda self: refiner.PathNoise(self.config.noise))
    monkeypatch.setattr(refiner.Refiner, "noise", always)
    with pytest.raises(AssertionError):
        test_there_is_noise_in_training_and_at_evaluation_where_it_is_asked_for()


def test_what_is_read_out_is_without_the_noise_of_its_step() -> None:
    """h <- stack(h + x) + noise, with the state before the noise read out."""
    backbone = perturbed(Arm(refinement=EQR))
    x, keys, places = torch.randn(3, 5, 16, dtype=torch.float64), torch.arange(3), torch.arange(5)[None]
    h = normal(keys, 0, places, 16).double()
    for t in range(1, 5):
        clean = backbone.refiner.stack(h + x, Mask()).hidden
        h = clean + 0.1 * normal(keys, t, places, 16)
    trace = backbone(x, Layout(keys=keys))
    torch.testing.assert_close(trace.states[-1], backbone.norm(clean))
    torch.testing.assert_close(trace.carry.hidden, h)


def test_noise_once_a_segment_goes_to_both_streams() -> None:
    loop = replace(TWO, noise=0.0, segments=2)
    keys = torch.arange(4)
    backbone = perturbed(Arm(refinement=loop)).eval()
    x = torch.randn(4, 5, 16, dtype=torch.float64)
    with torch.no_grad():
        first = backbone.train()(x, Layout(keys=keys)).carry
        places = torch.arange(5)[None]
        hidden = first.hidden + 0.3 * normal(keys, 2 * 6, places, 16)
        latent = first.latent + 0.3 * normal(keys, 2 * 6 + 1, places, 16)
        expected = backbone(x, Layout(keys=keys), carry=replace(first, hidden=hidden, latent=latent)).states[-1]
        backbone.eval().set_noise(0.3, every=6)
        torch.testing.assert_close(backbone(x, Layout(keys=keys)).states[-1], expected)
    with pytest.raises(ValueError, match=r"noise=-1, every=1: choose 0 or more"):
        backbone.set_noise(-1)


def test_without_keys_training_draws_anew_and_evaluation_does_not() -> None:
    backbone = perturbed(Arm(refinement=EQR))
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    assert not torch.allclose(backbone(x).states, backbone(x).states)
    backbone.eval()
    assert torch.equal(backbone(x).states, backbone(x).states)


def test_a_causal_model_reads_on_in_the_states_that_the_whole_would_have() -> None:
    backbone = perturbed(Arm(LearnedRouter(), refinement=replace(TWO, noise=0.0)), causal=True).eval()
    x, past, parts = torch.randn(2, 6, 16, dtype=torch.float64), None, []
    with torch.no_grad():
        for piece in x.split([2, 1, 3], 1):
            states, past = extend(backbone, piece, past)
            parts.append(states)
        torch.testing.assert_close(torch.cat(parts, 1), reread(backbone, x))
        backbone.set_noise(0.1)
        with pytest.raises(ValueError, match="without noise"):
            extend(backbone, x)
