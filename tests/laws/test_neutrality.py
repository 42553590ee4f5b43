"""Law 1: with gates of 1 the block is a plain pre-norm transformer layer."""

from dataclasses import replace

import pytest
import torch

from headwise.laws.neutrality import departure, neutrality, random_backbone
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import Gumbel, Sigmoid, Soft, TopK
from headwise.routing.mixtures import ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter

from .arms import ARMS, SHAPE


def compare(backbone: Backbone, gates: list[list[torch.Tensor]] | None) -> None:
    assert departure(backbone, gates) <= 1e-6


@pytest.mark.parametrize("name", ARMS)
def test_gates_of_one_are_the_plain_layer(name: str) -> None:
    """Forced ones, and those of a router at its start where it starts there."""
    assert neutrality(ARMS[name]) == []


@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
def test_a_block_without_a_feed_forward_layer_is_the_attention_of_the_plain_one(combine: str) -> None:
    torch.manual_seed(0)
    arm = Arm(combine=combine, refinement=RefinementConfig(2, injection="input"))
    backbone = random_backbone(arm, replace(SHAPE, ffn=0))
    assert not any("ffn" in name for name, _ in backbone.named_parameters())
    compare(backbone, None)


ALL_ON = [Soft(), TopK(4), TopK(4, renormalise=True), Gumbel(4), Sigmoid(), ReLU()]
ALL_ON += [SharedRouted(1, 3), SharedRouted(2, 2, training="soft"), TopP(1.0), TopP(1.0, shared=1), TopP(fallback=0.4)]


@pytest.mark.parametrize("gate", ALL_ON, ids=str)
@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
def test_every_gate_at_equal_logits_with_all_heads_is_plain_attention(gate: object, combine: str) -> None:
    torch.manual_seed(0)
    arm = Arm(LearnedRouter("token"), gate, combine, refinement=RefinementConfig())
    backbone = random_backbone(arm).eval()
    with torch.no_grad():
        for router in backbone.routers():
            router.of_input.bias.fill_(1.7 if gate.softmax else 0)  # sigmoid and ReLU gates are 1 at logit 0 alone
    compare(backbone, None)


def test_the_original_scale_of_gates_that_sum_to_one_is_caught() -> None:
    """Planted: weights that sum to 1 over heads shrink attention by 1/H."""
    torch.manual_seed(0)
    backbone = random_backbone(ARMS["baseline"])
    shrunk = torch.full((3, 1, SHAPE.heads), 1 / SHAPE.heads, dtype=torch.float64)
    with pytest.raises(AssertionError):
        compare(backbone, [[shrunk] * SHAPE.depth])
