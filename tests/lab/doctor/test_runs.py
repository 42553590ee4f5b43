"""The doctor on runs that were trained: defects of data, weights and code are named, and nothing is written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.lab.doctor.examine import diagnose
from headwise.lab.doctor.trained import objective_terms, read_trained
from headwise.models.backbone import Backbone
from headwise.routing import balance
from headwise.routing.attention import RoutedAttention
from headwise.tasks.language.model import LanguageTask
from headwise.tasks.sorting.data import SortingData
from headwise.tasks.sorting.model import SortingTask
from headwise.training.checkpoints import read_checkpoint
from tests.lab.ladder.test_ladder import combine_with_a_dense_backward

Patch = pytest.MonkeyPatch


def alarms(directory: Path) -> dict[str, str]:
    diagnosis = diagnose(directory)
    assert diagnosis.unexamined == {}
    return {finding.what: finding.where for finding in diagnosis.findings if finding.alarming}


def test_sound_runs_raise_no_alarm_and_nothing_is_written_into_them(sorting_run: Path, language_run: Path) -> None:
    for directory in (sorting_run, language_run):
        before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in directory.rglob("*")}
        assert alarms(directory) == {}
        assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in directory.rglob("*")} == before


def dense_backward(patch: Patch) -> None:
    patch.setattr(RoutedAttention, "combine", combine_with_a_dense_backward)


def shared_splits(patch: Patch) -> None:
    split = SortingData.split
    patch.setattr(SortingData, "split", lambda self, name: split(self, "train" if name == "validation" else name))


def negated_metric(patch: Patch) -> None:
    metrics = SortingTask.metrics
    patch.setattr(
        SortingTask, "metrics", lambda self, *given: {name: -value for name, value in metrics(self, *given).items()}
    )


def loss_of_the_batch(patch: Patch) -> None:
    loss = SortingTask.loss

    def mean(self: SortingTask, prediction: Any, batch: Any) -> Tensor:
        values = loss(self, prediction, batch)
        return values.mean().expand_as(values)

    patch.setattr(SortingTask, "loss", mean)


PLANTED: dict[str, tuple[str, Callable[[Patch], None]]] = {
    "a dense backward pass": ("backward pass ignores the gates", dense_backward),
    "validation on training examples": ("training and validation share examples", shared_splits),
    "a metric with the wrong sign": ("metric ranks models backwards", negated_metric),
    "a loss that is the batch's": ("padding changes results", loss_of_the_batch),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_defect_planted_in_the_code_of_a_run_is_named(name: str, sorting_run: Path, monkeypatch: Patch) -> None:
    rule, plant = PLANTED[name]
    plant(monkeypatch)
    assert rule in alarms(sorting_run)


def test_padding_that_is_not_masked_is_named(language_run: Path, monkeypatch: Patch) -> None:
    loss = LanguageTask.loss

    def unmasked(self: LanguageTask, prediction: Any, batch: Any) -> Tensor:
        return loss(self, prediction, batch) + batch["tokens"].shape[1]

    monkeypatch.setattr(LanguageTask, "loss", unmasked)
    assert "padding changes results" in alarms(language_run)


def test_a_causal_model_that_looks_ahead_is_named(language_run: Path, monkeypatch: Patch) -> None:
    start = Backbone.__init__

    def ahead(self: Backbone, *given: Any, causal: bool = False) -> None:
        start(self, *given, causal=False)

    monkeypatch.setattr(Backbone, "__init__", ahead)
    assert alarms(language_run)["looks at later inputs"] == "backbone"


def test_parameters_that_never_moved_are_named_by_their_role(sorting_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(sorting_run, tmp_path / "run")
    fresh = read_trained(run).fresh.state_dict()
    for file in (run / "checkpoints").iterdir():
        state = read_checkpoint(file)
        state["model"] |= {name: tensor for name, tensor in fresh.items() if ".router." in name}
        torch.save(state, file)
    diagnosis = diagnose(run)
    (found,) = [finding for finding in diagnosis.findings if finding.what == "parameters never moved"]
    assert found.where.startswith("controller: backbone.refiner.stack.blocks.0.router")
    assert "before 90 updates" in found.evidence


def test_the_terms_of_a_run_add_up_to_its_objective(tmp_path: Path, sorting_run: Path, monkeypatch: Patch) -> None:
    from headwise.training.building import build_model

    trained = read_trained(sorting_run)
    config = replace(trained.config, arm=replace(trained.config.arm, balance=balance.BalanceConfig(("router_z",))))
    model = build_model(config, trained.data.facts).train()
    batch = trained.case.batches[0]
    terms = objective_terms(model, batch, config)
    assert list(terms) == ["task", "router_z"]
    assert all(term.requires_grad for term in terms.values())
    monkeypatch.setitem(balance._OF_GATES, "router_z", None)
    monkeypatch.setattr(balance, "router_z_loss", lambda logits, mask: logits.detach().square().mean())
    assert not objective_terms(model, batch, config)["router_z"].requires_grad


def test_a_run_whose_data_are_gone_is_examined_by_its_records(sorting_run: Path, monkeypatch: Patch) -> None:
    def gone(self: SortingData, name: str) -> Any:
        raise InputError("task.corpus=gone.txt: not found")

    monkeypatch.setattr(SortingData, "split", gone)
    diagnosis = diagnose(sorting_run)
    assert diagnosis.unexamined == {"model and data": "task.corpus=gone.txt: not found"}


def test_a_run_of_another_version_is_refused_with_both_versions(sorting_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(sorting_run, tmp_path / "run")
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(text.replace("updates:", "iterations:"), encoding="utf-8")
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    (run / "summary.json").write_text(json.dumps(summary | {"headwise": {"version": "0.0.1"}}), encoding="utf-8")
    with pytest.raises(InputError, match=r"training\.iterations=90: unknown key.*made by headwise 0\.0\.1, this is"):
        diagnose(run)
