"""Which heads carry most: against what the layer's output loses without each."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from headwise.lab.ood.loads import head_loads, head_order
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.routing.ablation import KeptHeads, changed_gates
from headwise.routing.attention import RoutedAttention
from headwise.routing.gates import TopK
from headwise.routing.routers import LearnedRouter
from headwise.tasks.base import TaskModel
from headwise.tasks.sorting import SortingConfig, SortingData, SortingTask

HEADS = 4
ARMS: Mapping[str, Arm] = {
    "baseline": Arm(),
    "top_k": Arm(LearnedRouter(), TopK(2)),
    "sequence": Arm(LearnedRouter("sequence"), TopK(2)),
    "mixture": Arm(LearnedRouter(), combine="mixture"),
    "elementwise": Arm(LearnedRouter(), output_gate="elementwise"),
}


def model_of(arm: Arm, config: SortingConfig) -> TaskModel:
    torch.manual_seed(0)
    model = TaskModel(SortingTask(config, {}, 16), Backbone(ModelConfig(16, HEADS, 16), arm)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def attended(model: TaskModel, batch: dict[str, Tensor], off: int | None) -> Tensor:
    """What attention gives, [B, L, D], with one head off or none."""
    seen: list[Any] = []
    attention = next(module for module in model.modules() if isinstance(module, RoutedAttention))
    handle = attention.register_forward_hook(lambda module, args, output: seen.append(output[0]))
    on = torch.tensor([[head != off for head in range(HEADS)]])
    with changed_gates(model, KeptHeads(on)):
        model(batch)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("span", [None, 1])  # with hints some tokens are padding
def test_a_load_is_how_much_the_output_moves_when_the_head_is_off(name: str, span: int | None) -> None:
    config = SortingConfig(length=5, test_examples=12, hint_span=span, reference_examples=1)
    model, source = model_of(ARMS[name], config), SortingData(config, 0).split("test")
    batch = source.batch(torch.arange(12))
    whole = attended(model, batch, None)
    real = batch.get("mask", torch.ones(whole.shape[:2], dtype=torch.bool))
    expected = [(whole - attended(model, batch, head)).norm(dim=-1)[real].mean().item() for head in range(HEADS)]
    found = head_loads(model, source, batch_size=5)
    assert found.shape == (1, HEADS)
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert head_order(model, source, 12)[0].tolist() == found[0].argsort(descending=True).tolist()


def test_looking_leaves_the_model_as_it_was() -> None:
    config = SortingConfig(length=5, test_examples=12)
    model, source = model_of(ARMS["top_k"], config), SortingData(config, 0).split("test")
    attention = next(module for module in model.modules() if isinstance(module, RoutedAttention))
    head_loads(model, source, 12)
    assert attention.skipping == "auto"
    assert not model.training
    assert all(not module._forward_hooks for module in model.modules())
