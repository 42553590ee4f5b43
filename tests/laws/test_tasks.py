"""The laws of tasks, for every registered one; and mistakes that they find."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwise.laws.tasks import of_task
from headwise.tasks import TASKS
from headwise.tasks.base import Batch, Shift
from headwise.tasks.scenes import Example, Scene
from headwise.tasks.sorting import ENTRY, SortingTask


@pytest.mark.parametrize("name", TASKS)
def test_a_task_keeps_the_laws(name: str) -> None:
    for package in TASKS[name].needs:
        pytest.importorskip(package, reason=f"task {name} needs it")
    assert of_task(name) == []


class Planted(SortingTask):
    """normalises its loss over the batch, has an unread layer, forgot its metric, shifts nothing, draws nonsense"""

    name = "planted"
    training_size = "examples"

    def __init__(self, config: Any, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.spare = nn.Linear(2, 2)

    @classmethod
    def shifts(cls, config: Any) -> dict[str, Shift]:
        return {
            "size": Shift("", None, lambda value: {"size": value}, (3,)),
            "order": Shift("", None, lambda value: {"train_examples": value}, (3,)),
        }

    def loss(self, prediction: Any, batch: Batch) -> Tensor:
        loss = super().loss(prediction, batch)
        return loss - loss.mean()

    def metrics(self, prediction: Any, batch: Batch) -> dict[str, Tensor]:
        return {"other": torch.zeros(())}

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        return Scene("film", {"values": example.batch["values"]}, [{"said": "one"}], ["only one"], [99])


def test_a_registered_task_that_breaks_them_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS._members, "planted", replace(ENTRY, task=Planted))
    broken = of_task("planted")
    assert "registered as planted, its entry says sorting and its class planted" in broken
    assert "the loss of an example depends on its batch" in broken
    assert "metrics: no rank_tau, which is the primary one" in broken
    assert "metric other: not one value an example" in broken
    assert "training_size=examples: no key of its configuration" in broken
    assert "axis size: size is no key of its configuration" in broken
    assert "axis order: 3 leaves the test examples as they are" in broken
    scenes = [line for line in broken if line.startswith("scene: ")]
    assert [line.removeprefix("scene: ")[:24] for line in scenes] == [
        "kind film; there are gri",
        "question or answers are ",
        "1 answers to two predict",
        "the same prediction is d",
        "an answer without said a",
        "1 names for 5 tokens",
        "asked tokens that there ",
    ]
    assert {"no gradient reaches spare.weight", "no gradient reaches spare.bias"} <= set(broken)
