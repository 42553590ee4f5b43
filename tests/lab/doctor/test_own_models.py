"""The doctor on models of a user's own: planted defects are named, sound models are not, nothing is changed."""

from copy import deepcopy

import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.routing.mixtures import TopP
from tests.lab.doctor.planted_models import PLANTED, Loop, Routed, sound, with_entropy
from tests.training.recipes import OwnModel, own_batches, squared_error


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found_and_named(name: str) -> None:
    rule, make = PLANTED[name]
    found = [finding for finding in headwise.examine(**make()) if finding.alarming]
    assert rule in [finding.what for finding in found]
    for finding in found:
        assert finding.where
        assert finding.evidence
        assert finding.remedy


def with_a_schedule_from_zero() -> dict[str, object]:
    model = OwnModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)
    return sound(model, optimizer=optimizer)


def with_a_pretrained_part_in_evaluation_mode() -> dict[str, object]:
    model = OwnModel()
    model.experts.role = "pretrained"
    model.experts.requires_grad_(False).eval()
    return sound(model)


def without_roles() -> dict[str, object]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.5), torch.nn.Flatten(0))
    return sound(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


SOUND = {
    "a model with roles": sound,
    "a router of headwise's at its start": lambda: sound(Routed(TopP())),
    "a loop that keeps its norms": lambda: sound(Loop(1.0)),
    "a loss in its terms": lambda: sound(loss=with_entropy(lambda entropy: 0.01 * entropy)),
    "a metric the right way round": lambda: sound(
        metric=lambda model, batch: -squared_error(model, batch)[0], optimizer=None
    ),
    "a model without roles": without_roles,
    "a schedule that starts at 0": with_a_schedule_from_zero,
    "a pretrained part that stays as it is": with_a_pretrained_part_in_evaluation_mode,
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_raises_no_alarm(name: str) -> None:
    assert [finding for finding in headwise.examine(**SOUND[name]()) if finding.alarming] == []


def test_model_optimiser_gradients_and_random_numbers_are_left_as_they_are() -> None:
    arguments = sound(metric=lambda model, batch: model(batch["x"]))
    model, optimizer = arguments["model"], arguments["optimizer"]
    torch.autograd.backward(squared_error(model, arguments["batches"][0])[0])
    before = deepcopy((model.state_dict(), optimizer.state_dict(), [p.grad for p in model.parameters()]))
    random = torch.get_rng_state()
    headwise.examine(**arguments)
    after = (model.state_dict(), optimizer.state_dict(), [p.grad for p in model.parameters()])
    for one, other in zip(before[0].values(), after[0].values(), strict=True):
        assert torch.equal(one, other)
    assert before[1] == after[1]
    for one, other in zip(before[2], after[2], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(random, torch.get_rng_state())
    assert model.training


def test_gates_of_a_router_that_starts_at_zero_reach_the_output_through_a_hard_selection() -> None:
    found = headwise.examine(**sound(Routed(TopP(threshold=0.5))))
    assert [finding.what for finding in found if finding.alarming] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batches": []}, "batches: empty"),
        ({"loss": lambda model, batch: model(batch["x"])}, r"the loss is a tensor of shape \(8,\); expected a scalar"),
        ({"loss": lambda model, batch: 1.0}, "the loss is a float; expected a scalar tensor"),
        ({"steps": 0}, "steps=0: choose 1 or more"),
        ({"optimizer": "adam"}, "optimizer: a str; expected a torch optimiser"),
        ({"model": squared_error}, "model: a function; expected a torch.nn.Module"),
    ],
)
def test_arguments_that_cannot_be_examined_are_refused(changes: dict[str, object], said: str) -> None:
    given = {"model": OwnModel(), "loss": squared_error, "batches": own_batches(2)} | changes
    with pytest.raises(InputError, match=said):
        headwise.examine(**given)


def test_a_model_that_keeps_the_graph_of_a_batch_already_is_refused_with_the_cause() -> None:
    model = OwnModel()
    model.kept = model(torch.randn(2, 3))
    with pytest.raises(InputError, match=r"cannot be copied .* does a module keep a tensor of a batch\?"):
        headwise.examine(model, squared_error, own_batches(2))
