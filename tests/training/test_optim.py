"""One optimiser, groups by role, clipping."""

import copy

import pytest
import torch
from torch import nn

from headwise.training.optim import (
    PRESETS,
    Differentiated,
    OptimizerMismatchError,
    Stable,
    Uniform,
    check_optimizer,
    clip_by_role,
    optimizer_for,
)
from tests.training.recipes import OwnModel, own_batches, squared_error


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    squared_error(model, own_batches(1)[0])[0].backward()
    optimizer.step()


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_one_optimiser_with_groups_takes_the_same_steps_as_one_optimiser_per_role() -> None:
    preset = Stable(lr=3e-3, controller_lr=1e-3, readout_lr=5e-3)
    together, apart = OwnModel(), OwnModel()
    apart.load_state_dict(together.state_dict())
    optimizer = optimizer_for(together, preset)
    parts = {"experts": 3e-3, "gate.linear": 1e-3, "readout": 5e-3}
    separate = [
        torch.optim.AdamW(
            [
                {"params": [apart.get_submodule(name).weight], "weight_decay": 0.01},
                {"params": [apart.get_submodule(name).bias], "weight_decay": 0.0},
            ],
            lr=lr,
            betas=(0.9, 0.98),
            fused=True,
        )
        for name, lr in parts.items()
    ]
    for batch in own_batches(5):
        optimizer.zero_grad()
        squared_error(together, batch)[0].backward()
        optimizer.step()
        for one in separate:
            one.zero_grad()
        squared_error(apart, batch)[0].backward()
        for one in separate:
            one.step()
    for (name, ours), theirs in zip(together.named_parameters(), apart.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("preset", "backbone", "controller", "readout"),
    [
        (Stable(), 3e-4, 1e-4, 3e-4),
        (Differentiated(lr=1e-4), 2e-4, 2e-3, 2e-4),
        (Uniform(lr=7e-4), 7e-4, 7e-4, 7e-4),
    ],
)
def test_presets_give_the_learning_rates_of_the_table(
    preset: Stable, backbone: float, controller: float, readout: float
) -> None:
    groups = {group["name"]: group for group in optimizer_for(OwnModel(), preset).param_groups}
    assert groups["backbone"]["lr"] == pytest.approx(backbone)
    assert groups["controller"]["lr"] == pytest.approx(controller)
    assert groups["readout/no_decay"]["lr"] == pytest.approx(readout)


def test_a_pretrained_part_takes_the_base_rate() -> None:
    class Pretrained(nn.Linear):
        role = "pretrained"

    groups = optimizer_for(nn.Sequential(Pretrained(2, 2)), Differentiated()).param_groups
    assert {group["lr"] for group in groups} == {5e-5}


def test_biases_are_not_decayed_and_matrices_are() -> None:
    groups = {group["name"]: group for group in optimizer_for(OwnModel(), "uniform").param_groups}
    assert groups["backbone"]["weight_decay"] == 0.01
    assert groups["backbone/no_decay"]["weight_decay"] == 0.0
    assert [parameter.ndim for parameter in groups["backbone/no_decay"]["params"]] == [1]


def test_without_weight_decay_there_is_one_group_per_role() -> None:
    groups = optimizer_for(OwnModel(), Uniform(weight_decay=0)).param_groups
    assert [group["name"] for group in groups] == ["backbone", "controller", "readout"]


def test_parameters_that_need_no_gradient_are_left_out() -> None:
    model = OwnModel()
    model.gate.requires_grad_(False)
    assert {group["role"] for group in optimizer_for(model).param_groups} == {"backbone", "readout"}


def test_every_trainable_parameter_moves_in_one_step_of_each_preset() -> None:
    for preset in PRESETS:
        model = OwnModel()
        before = snapshot(model)
        step(model, optimizer_for(model, preset))
        assert moved(model, before) == set(before)


def test_one_optimiser_for_two_models_leaves_the_second_as_it_was_and_is_refused() -> None:
    """The original's mistake: the baseline's optimiser was cached and used again for the routed model."""
    first, second = OwnModel(), OwnModel()
    cached = optimizer_for(first)
    before = snapshot(second)
    step(second, cached)
    assert moved(second, before) == set()
    with pytest.raises(OptimizerMismatchError, match=r"leave 6 of 6 parameters untrained .*another model"):
        check_optimizer(cached, second)
    check_optimizer(optimizer_for(second), second)


def test_an_optimiser_that_misses_a_part_or_holds_a_foreign_one_is_refused() -> None:
    model, other = OwnModel(), OwnModel()
    partial = torch.optim.AdamW([*model.experts.parameters(), *model.readout.parameters()])
    with pytest.raises(OptimizerMismatchError, match=r"2 of 6 parameters untrained \(gate\.linear\.weight"):
        check_optimizer(partial, model)
    both = torch.optim.AdamW([*model.parameters(), *other.parameters()])
    with pytest.raises(OptimizerMismatchError, match="6 parameters that are not of this model"):
        check_optimizer(both, model)


def test_a_parameter_without_a_role_and_an_unknown_preset_are_errors() -> None:
    with pytest.raises(ValueError, match="has no role"):
        optimizer_for(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="preset=fast: unknown; choose one of stable, differentiated, uniform"):
        optimizer_for(OwnModel(), "fast")
    frozen = OwnModel().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to optimise"):
        optimizer_for(frozen)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (Uniform, {"lr": 0.0}, "lr=0.0; choose a number above 0"),
        (Stable, {"controller_clip_norm": -1.0}, "controller_clip_norm=-1.0"),
        (Differentiated, {"weight_decay": -0.1}, "weight_decay=-0.1"),
        (Uniform, {"betas": (0.9, 1.0)}, r"betas=\[0.9, 1.0\]"),
    ],
)
def test_a_preset_refuses_values_out_of_range(cls: type, values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**values)


def gradients(scale: float) -> tuple[OwnModel, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = OwnModel()
    optimizer = optimizer_for(model)
    for parameter in model.parameters():
        parameter.grad = scale * torch.randn_like(parameter)
    return model, optimizer


def norm(*parameters: nn.Parameter) -> float:
    return float(sum((p.grad.double() ** 2).sum() for p in parameters) ** 0.5)  # type: ignore[union-attr, misc]


def test_clipping_by_role_is_the_manual_computation() -> None:
    model, optimizer = gradients(scale=1.0)
    parts = {"backbone": model.experts, "controller": model.gate, "readout": model.readout}
    limits = {"backbone": 1.0, "controller": 0.5, "readout": 100.0}
    expected, before = {}, {}
    for role, part in parts.items():
        before[role] = norm(*part.parameters())
        factor = min(1.0, limits[role] / before[role])
        expected[role] = [p.grad * factor for p in part.parameters()]  # type: ignore[operator]
    norms = clip_by_role(optimizer, limits)
    for role, part in parts.items():
        assert norms[role].item() == pytest.approx(before[role], rel=1e-5)
        for parameter, wanted in zip(part.parameters(), expected[role], strict=True):
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-5, atol=1e-7)
    assert norm(*model.gate.parameters()) == pytest.approx(0.5, rel=1e-4)
    assert before["readout"] < 100  # left alone, as the others would be by a limit that they do not reach


def test_one_global_norm_scales_all_roles_alike() -> None:
    model, optimizer = gradients(scale=1.0)
    wanted = copy.deepcopy(model)
    for ours, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
        theirs.grad = ours.grad.clone()  # type: ignore[union-attr]
    nn.utils.clip_grad_norm_(wanted.parameters(), 1.0)
    norms = clip_by_role(optimizer, 1.0)
    assert set(norms) == {"backbone", "controller", "readout"}
    for ours, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def test_small_gradients_are_left_as_they_are() -> None:
    model, optimizer = gradients(scale=1e-4)
    before = [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]
    clip_by_role(optimizer, 1.0)
    assert all(torch.equal(p.grad, b) for p, b in zip(model.parameters(), before, strict=True))  # type: ignore[arg-type]


def test_a_role_without_gradient_is_absent_from_the_norms() -> None:
    model, optimizer = gradients(scale=1.0)
    for parameter in model.gate.parameters():
        parameter.grad = None
    assert set(clip_by_role(optimizer, 1.0)) == {"backbone", "readout"}
    assert set(clip_by_role(optimizer, Stable().clip())) == {"backbone", "readout"}
