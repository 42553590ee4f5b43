"""The configuration of a run: plain form and back, and what is refused, in one line each."""

from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.tasks.sorting import SortingConfig
from headwise.training.config import ROUTING_LOSSES, RunConfig, TrainingConfig, differences, read
from headwise.training.optim import Stable
from tests.training.recipes import GUMBEL, PONDER, STABLE, recipe, tiny


def test_the_plain_form_gives_the_same_configuration_back(tmp_path: Path) -> None:
    config = tiny(tmp_path, GUMBEL, **STABLE, patience=3, losses={"ponder": 0.1})
    assert RunConfig.from_plain(config.to_plain()) == config


def test_a_task_is_named_and_takes_its_own_settings() -> None:
    config = RunConfig.from_plain({"task": {"name": "sorting", "length": 12}})
    assert config.task == SortingConfig(length=12)
    assert config.entry.name == "sorting"
    assert RunConfig.from_plain({"task": "sorting"}).to_plain()["task"]["name"] == "sorting"


def test_losses_not_given_keep_their_default() -> None:
    losses = recipe(losses={"ponder": 0.5}).losses
    assert losses == ROUTING_LOSSES | {"ponder": 0.5}
    assert losses["slow_updates"] == losses["load_balance"] == 0.01


def test_a_preset_by_name_takes_its_own_settings() -> None:
    assert recipe(preset={"name": "stable", "controller_lr": 1e-5}).preset == Stable(controller_lr=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup": 500}, "warmup=500.0 is longer than the run; it is a share of it: choose 0 <= warmup < 1"),
        ({"warmup": -0.1}, "warmup=-0.1; choose a share of the run"),
        ({"freeze_controller": 1.0}, "freeze_controller=1.0; choose a share of the run, 0 <= freeze_controller < 1"),
        ({"updates": 0}, "updates=0; choose 1 or more"),
        ({"patience": 0}, "patience=0; choose 1 or more, or null"),
        ({"ramp": 2.0}, "ramp=2.0; choose a share"),
        ({"losses": {"pondr": 0.1}}, "losses.pondr=0.1: unknown; known: ponder, slow_updates"),
        ({"losses": {"ponder": -0.1}}, "losses.ponder=-0.1; choose 0 or more"),
        ({"losses": {"entropy": 0.1}}, "the entropy's weight is entropy.weight"),
        ({"precision": "fp16"}, "training.precision=fp16: choose one of fp32, bf16"),
        ({"preset": "fast"}, "training.preset.name=fast: unknown; allowed: stable, differentiated, uniform"),
        ({"loggers": ["mlflow"]}, "choose one of tensorboard, wandb, wandb_offline"),
        ({"learning_rate": 1}, "training.learning_rate=1: unknown key"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(**changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


SEGMENTED = {"refinement": {"steps": 4, "injection": "input", "segments": 2}}
HRM = {"router": {"name": "learned", "granularity": "sequence"}, "controller": {"name": "hrm", "period": 3}}
SEGMENTED_LAST = {"refinement": {**SEGMENTED["refinement"], "gradient": "last"}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "chess"}, "task=chess: unknown; choose one of "),
        ({"task": {"length": 3}}, "expected a name, one of "),
        ({}, "task=None: expected a name"),
        ({"task": "sorting", "seed": -1}, "seed=-1; choose 0 or more"),
        ({"task": "sorting", "arm": {"controller": "hrm"}}, "a none router does not read the controller"),
        ({"task": "sorting", "arm": {"router": "learned", "gate": {"name": "top_k", "k": 9}}}, "9"),
        (
            {"task": "sorting", "model": {"structural_heads": 2}},
            "structural_heads=2: the task names no relations",
        ),
        ({"task": "sorting", "model": {"relative": 3}}, "model.relative=3: the task's tokens have no rows and columns"),
        (
            {"task": "sorting", "arm": {"refinement": {"steps": 4, "segments": 2}}},
            "arm.refinement.segments=2: later segments start from a detached state, so without arm.refinement.injection"
            "=input they do not train the embedding",
        ),
        ({"task": "sorting", "arm": PONDER | SEGMENTED}, "arm.refinement.segments=2: ponder halting learns where to"),
        (
            {"task": "sorting", "arm": HRM | SEGMENTED_LAST},
            "choose arm.refinement.steps a multiple of 3 (the",
        ),
        ({"task": "sorting", "colour": 1}, "colour=1: unknown key"),
    ],
)
def test_a_run_that_cannot_work_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        RunConfig.from_plain(values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_configuration_of_no_task_is_refused() -> None:
    with pytest.raises(InputError, match="task=TrainingConfig: not the configuration of a task; choose one of "):
        RunConfig(task=TrainingConfig())


def test_differences_name_dotted_keys_with_both_values() -> None:
    old = {"arm": {"gate": {"name": "soft"}, "k": 1}, "seed": 0}
    new = {"arm": {"gate": {"name": "top_k", "k": 2}, "k": 1}, "seed": 0}
    assert differences(old, new) == [("arm.gate.name", "soft", "top_k"), ("arm.gate.k", None, 2)]


def test_a_directory_that_is_no_run_and_a_damaged_configuration_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        read(tmp_path)
    file = tmp_path / "config.yaml"
    for damaged in ("a: [1", "just words", ""):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"config\.yaml: not") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
