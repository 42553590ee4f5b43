"""Laws 5, 6 and 7: padding and batch-mates, fast forms against plain ones, causality."""

from dataclasses import replace

import pytest
import torch

from headwise.laws.independence import batch, batch_mates, causality, rereading
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.reasoning.halting import EntropyHalting, FixedHalting, PonderHalting, ponder_distribution
from headwise.routing.attention import RoutedAttention
from headwise.routing.reference import plain_attention
from headwise.routing.routers import normalised_entropy

from .arms import ARMS, CAUSAL, HRM, SHAPE, TOKEN, perturbed


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ARMS)
def test_an_example_depends_neither_on_padding_nor_on_its_batch(name: str, training: bool) -> None:
    assert batch_mates(ARMS[name], training) == []


def test_planted_halting_on_the_mean_of_the_batch_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original stopped the whole batch on its mean entropy."""
    from headwise.reasoning.halting import Entropy

    honest = Entropy.forward

    def of_the_batch(self: Entropy, *arguments: object) -> torch.Tensor:
        return honest(self, *arguments).mean().round().expand(len(arguments[1][0].weight))

    backbone = perturbed(replace(HRM, halting=EntropyHalting(middling_entropy(HRM))), seed=3).eval()
    with torch.no_grad():
        steps = backbone(batch(16)).steps
        assert 0 < (steps < 5).sum() < 16, "the batch must be mixed for this test to say anything"
        monkeypatch.setattr(Entropy, "forward", of_the_batch)
        together = backbone(batch(16)).steps
        alone = torch.cat([backbone(batch(16)[i : i + 1]).steps for i in range(16)])
    assert not torch.equal(together, alone)


def middling_entropy(arm: Arm) -> float:
    """A threshold that some examples pass at the second step and others do not."""
    backbone = perturbed(replace(arm, halting=FixedHalting()), seed=3).eval()
    with torch.no_grad():
        gates = backbone(batch(16), record=True).gates[1]
    return torch.stack([normalised_entropy(layer.probs).mean(1) for layer in gates]).mean(0).median().item()


@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
@pytest.mark.parametrize("masking", ["none", "padding", "causal", "both", "structural"])
def test_fused_attention_equals_the_equation(combine: str, masking: str) -> None:
    torch.manual_seed(0)
    attention = RoutedAttention(SHAPE.width, SHAPE.heads, combine, causal=masking in ("causal", "both")).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = batch(3).requires_grad_()
    gates = torch.rand(3, 6, SHAPE.heads, dtype=torch.float64).requires_grad_()
    mask = None
    if masking in ("padding", "both"):
        mask = torch.arange(6).expand(3, 1, 1, 6) < torch.tensor([6, 4, 5]).view(3, 1, 1, 1)
    if masking == "structural":
        mask = torch.rand(3, SHAPE.heads, 6, 6) < 0.5
        mask |= torch.eye(6, dtype=torch.bool)
    fast, _ = attention(x, gates, mask)
    parts = attention.combine(attention.heads(x, attention.keys_values(x), mask), gates)
    plain = plain_attention(attention, x, gates, mask)
    probe, inputs = torch.randn_like(fast), [x, gates, *attention.parameters()]
    for form in (fast, parts):
        torch.testing.assert_close(form, plain)
        actual = torch.autograd.grad((form * probe).sum(), inputs, retain_graph=True)
        expected = torch.autograd.grad((plain * probe).sum(), inputs, retain_graph=True)
        torch.testing.assert_close(actual, expected)


def test_a_causal_model_takes_masks_that_are_added_to_the_scores() -> None:
    torch.manual_seed(0)
    attention = RoutedAttention(SHAPE.width, SHAPE.heads, causal=True).double()
    x, seen = batch(3), torch.arange(6).expand(3, 1, 1, 6) < torch.tensor([6, 4, 5]).view(3, 1, 1, 1)
    added = torch.zeros(3, 1, 1, 6, dtype=torch.float64).masked_fill(~seen, -torch.inf)
    torch.testing.assert_close(attention(x, mask=added)[0], attention(x, mask=seen)[0])


@pytest.mark.parametrize("halting", ["entropy", "ponder"])
@pytest.mark.parametrize("reuse", ["none", "keys_values", "heads"])
def test_compaction_equals_running_each_example_until_it_halts(halting: str, reuse: str) -> None:
    loop = replace(TOKEN.refinement, steps=6, reuse=reuse)
    arm = replace(TOKEN, refinement=loop)
    policy = PonderHalting(bias=-0.3) if halting == "ponder" else EntropyHalting(middling_entropy(arm))
    backbone = perturbed(replace(arm, halting=policy), seed=3).eval()
    with torch.no_grad():
        trace = backbone(batch(24), record=True)
        assert trace.steps.unique().numel() > 1, "examples must halt at different steps for this test to say anything"
        for i in range(24):
            shorter = replace(backbone.arm, refinement=replace(loop, steps=int(trace.steps[i])))
            fixed = Backbone(SHAPE, shorter).double().eval()
            fixed.load_state_dict(backbone.state_dict())
            fixed.refiner.halting = None  # the plain form: exactly that many steps, nothing else
            alone = fixed(batch(24)[i : i + 1])
            torch.testing.assert_close(trace.states[0, i], alone.states[0, 0])
            torch.testing.assert_close(trace.carry.state.fast[i], alone.carry.state.fast[0])
            torch.testing.assert_close(trace.carry.hidden[i], alone.carry.hidden[0])


@pytest.mark.parametrize("reuse", ["keys_values", "heads"])
@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
def test_reuse_equals_its_plain_definition(reuse: str, combine: str) -> None:
    """keys_values: queries of this step look at the first step's input; heads: at the first step's queries too."""
    arm = replace(TOKEN, combine=combine, refinement=replace(TOKEN.refinement, reuse=reuse))
    backbone = perturbed(arm)
    x = batch(2)
    refiner = backbone.refiner
    hidden, state, sources = x, None, {}
    for t in range(arm.refinement.steps):
        context, state, _ = refiner.controller(hidden, None, state)
        hidden = hidden + x if t else hidden
        for i, block in enumerate(refiner.stack.blocks):
            normed = block.attention_norm(hidden)
            source = sources.setdefault(i, normed)
            gates, _ = block.router(normed, context, None)
            queries = source if reuse == "heads" else normed
            hidden = hidden + plain_attention(block.attention, queries, gates.weight, source=source)
            hidden = hidden + block.ffn(block.ffn_norm(hidden))
    plain, fast = backbone.norm(hidden), backbone(x).states[-1]
    torch.testing.assert_close(fast, plain)
    probe, parameters = torch.randn_like(fast), list(backbone.parameters())
    actual = torch.autograd.grad((fast * probe).sum(), parameters)
    expected = torch.autograd.grad((plain * probe).sum(), parameters)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", CAUSAL)
def test_no_output_depends_on_later_inputs(name: str) -> None:
    assert causality(ARMS[name]) == []


@pytest.mark.parametrize("name", CAUSAL)
def test_reading_in_pieces_is_reading_at_once(name: str) -> None:
    assert rereading(ARMS[name]) == []


def test_ponder_distribution_is_one_and_as_the_paper_says() -> None:
    stopping = torch.full((12, 1), torch.tensor(-3.0).sigmoid().item())
    weights = ponder_distribution(stopping)
    assert weights.sum(0).item() == pytest.approx(1)
    expected_steps = (weights[:, 0] * torch.arange(1, 13)).sum().item()
    assert expected_steps == pytest.approx(9.3, abs=0.05)  # reference: b = -3 at R = 12
    even = ponder_distribution(torch.full((12, 1), 0.5))
    assert (even[:, 0] * torch.arange(1, 13)).sum().item() == pytest.approx(2.0, abs=0.01)


def test_trace_weights_come_from_one_source_and_sum_to_one() -> None:
    for name in ("hrm", "ponder_halting", "ramp", "gradient_last"):
        trace = perturbed(ARMS[name])(batch())
        torch.testing.assert_close(trace.weights.sum(0), torch.ones(5, dtype=torch.float64))
        assert trace.states.shape[:2] == trace.weights.shape
