"""Cross-entropy of classes against its equations."""

import pytest
import torch
from torch import Tensor

from headwise.tasks.losses import KINDS, cross_entropy


def stablemax(logits: Tensor) -> Tensor:
    """Probabilities [..., C] as the paper writes them."""
    s = torch.where(logits >= 0, logits + 1, 1 / (1 - logits.clamp_max(0)))
    return s / s.sum(-1, keepdim=True)


PLAIN = {"softmax": lambda logits: logits.exp() / logits.exp().sum(-1, keepdim=True), "stablemax": stablemax}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_minus_the_logarithm_of_what_the_equation_says(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(3, 7, 5, generator=generator, dtype=torch.float64)
    logits[0, 0] = torch.tensor([0.0, -1.0, 2.0, -3.0, 0.0])
    target = torch.randint(5, (3, 7), generator=generator)
    expected = -PLAIN[kind](logits).log().gather(-1, target[..., None])[..., 0]
    torch.testing.assert_close(cross_entropy(logits, target, kind), expected)
    assert cross_entropy(logits.bfloat16(), target, kind).dtype == torch.float32


def test_stablemax_of_a_few_logits_by_hand() -> None:
    # s = 3, 1, 1/2: probabilities 6, 2 and 1 ninths
    logits, target = torch.tensor([2.0, 0.0, -1.0]).expand(3, 3), torch.arange(3)
    expected = -torch.tensor([6 / 9, 2 / 9, 1 / 9]).log()
    torch.testing.assert_close(cross_entropy(logits, target, "stablemax"), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_equation_at_zero_and_far_from_it(kind: str) -> None:
    for values in ([0.0, 0.0, 0.0], [0.0, -2.0, 1.0], [30.0, -30.0, 0.5]):
        logits = torch.tensor([values], dtype=torch.float64, requires_grad=True)
        (mine,) = torch.autograd.grad(cross_entropy(logits, torch.tensor([1]), kind).sum(), logits)
        (plain,) = torch.autograd.grad(-PLAIN[kind](logits)[0, 1].log(), logits)
        torch.testing.assert_close(mine, plain)
        assert mine.all()  # no logit is left alone, those at 0 least of all


def test_stablemax_is_finite_where_exp_is_not() -> None:
    logits = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1]), "stablemax")
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all()
    assert slope.isfinite().all()
