"""A run from configuration to summary: what it writes, what it refuses, what can be done with it afterwards."""

import itertools
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from headwise.errors import InputError, OutOfMemoryError, StorageError
from headwise.training import objective as objectives
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import RunConfig
from headwise.training.divergence import TrainingDiverged
from headwise.training.evaluation import evaluate, load, overridden
from headwise.training.objective import Objective, objective
from headwise.training.run import train
from headwise.training.scoring import score
from headwise.training.start import build
from tests.training.recipes import GUMBEL, PONDER, STABLE, lines, tiny, with_


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny(tmp_path_factory.mktemp("run"), GUMBEL, **STABLE | {"loggers": ["tensorboard"]})
    return train(replace(config, name="gumbel"), progress=False)


@pytest.fixture(scope="module")
def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())  # type: ignore[no-any-return]


def test_a_run_has_a_directory_of_its_own_with_every_file_and_no_temporary_one(run: Path) -> None:
    found = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    events = {name for name in found if name.startswith("tensorboard/")}
    assert events
    assert found - events == {
        "config.yaml",
        "data.json",
        "metrics.jsonl",
        "routing.jsonl",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "checkpoints/best.ckpt",
        "model.safetensors",
        "model.json",
        "test_values.npy",
        "summary.json",
    }
    assert run.name.startswith("sorting-gumbel-seed0-")


def test_the_configuration_in_the_directory_is_the_resolved_one(run: Path) -> None:
    config = RunConfig.from_plain(yaml.safe_load((run / "config.yaml").read_text()))
    assert config == replace(tiny(run.parent, GUMBEL, **STABLE | {"loggers": ["tensorboard"]}), name="gumbel")


def test_the_summary_has_the_keys_that_other_programs_read(run: Path, summary: dict[str, Any]) -> None:
    assert summary["task"] == "sorting"
    assert (summary["arm"], summary["seed"], summary["metric"]) == ("gumbel", 0, "rank_tau")
    assert summary["value"] == summary["metrics"]["rank_tau"]
    assert summary["floor"] < summary["ceiling"]
    assert summary["references"]["ceiling"] == summary["ceiling"]
    assert summary["heads_active_mean"] == 2
    assert summary["heads_executed_mean"] == 2
    assert summary["refinement_steps_mean"] == 3
    assert summary["parameters"] == sum(p.numel() for p in load(run).parameters())
    assert summary["flops_per_example"] > 0
    assert summary["train_seconds"] > 0
    assert summary["updates"] == 20
    assert summary["examples"] == 160
    values = np.load(run / "test_values.npy")
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(summary["value"])


def test_metrics_lines_say_what_is_promised(run: Path) -> None:
    training = [line for line in lines(run, "metrics.jsonl") if line["split"] == "train"]
    validation = [line for line in lines(run, "metrics.jsonl") if line["split"] == "validation"]
    assert [line["update"] for line in training] == [line["update"] for line in validation] == [5, 10, 15, 20]
    assert [line["epoch"] for line in training] == [0, 1, 2, 3]
    assert [line["examples"] for line in training] == [40, 80, 120, 160]
    assert [line["seconds"] for line in training] == sorted(line["seconds"] for line in training)
    for line in training:
        for kind in ("grad_norm", "lr", "update_ratio"):
            assert line[f"{kind}/backbone"] > 0
        assert {"loss", "entropy", "samples_per_second", "tokens_per_second", "peak_memory_mb"} <= line.keys()
    assert all({"task_loss", "rank_tau"} <= line.keys() and "loss" not in line for line in validation)
    assert [line["temperature"] for line in training] == pytest.approx([2.0, 1.6, 1.28, 1.024])


def test_the_controller_is_frozen_for_its_share_of_the_run_and_only_then(run: Path) -> None:
    training = [line for line in lines(run, "metrics.jsonl") if line["split"] == "train"]
    # 0.2 · 20 = 4 frozen updates, so the first line, written at update 5, has seen the controller move once
    assert "grad_norm/controller" in training[0]
    early = tiny(run.parent / "frozen", GUMBEL, **STABLE | {"freeze_controller": 0.5})
    frozen = [line for line in lines(train(early, progress=False), "metrics.jsonl") if line["split"] == "train"]
    assert ["grad_norm/controller" in line for line in frozen] == [False, False, True, True]
    assert ["update_ratio/controller" in line for line in frozen] == [False, False, True, True]


def test_frozen_parameters_stay_where_they_are_and_the_rest_moves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(tmp_path, GUMBEL, updates=4, freeze_controller=0.99)
    before = build(config)[1].state_dict()
    with caplog.at_level(logging.INFO, "headwise"):
        after = load(train(config, progress=False)).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    controlled = {name for name in before if "controller" in name or "router" in name}
    assert moved == before.keys() - controlled
    assert "frozen for the first 4 updates (controller): backbone.refiner." in caplog.text


def test_routing_lines_describe_validation_and_the_last_one_the_test_split(run: Path) -> None:
    *validation, last = lines(run, "routing.jsonl")
    assert [line["update"] for line in validation] == [5, 10, 15, 20]
    assert last["split"] == "test"
    assert last["update"] == 20
    assert len(last["examples"]) == 10
    assert np.shape(last["gates"]) == (3, 1, 2)  # steps, layers, heads
    assert np.shape(last["examples"][0]) == (3, 1, 6, 2)  # steps, layers, tokens, heads
    assert last["slow_updates"] == 2  # steps 1 and 3 of 3 at period 2
    assert 0 <= last["entropy_mean"] <= 1


def test_the_best_weights_on_validation_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of four validations is the best; the weights of its update are kept, not those of the last."""
    values = iter([0.3, 0.8, 0.5, 0.7])

    def planted(*arguments: Any, **options: Any) -> Any:
        found = score(*arguments, **options)
        return replace(found, metrics={"rank_tau": torch.full_like(found.metrics["rank_tau"], next(values))})

    with monkeypatch.context() as patch:
        patch.setattr("headwise.training.validation.score", planted)
        run = train(tiny(tmp_path, updates=20, validate_every=5), progress=False)
    assert json.loads((run / "summary.json").read_text())["selected_update"] == 10
    best, last = (read_checkpoint(run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert (best["update"], last["update"]) == (10, 20)
    weights = load(run).state_dict()
    assert all(torch.equal(best["model"][name], weights[name]) for name in weights)
    assert not all(torch.equal(last["model"][name], weights[name]) for name in weights)


def test_among_equal_validations_the_lowest_loss_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric at its ceiling says nothing more; the weights go on getting better. Patience goes by the metric."""
    seen = iter([(0.5, 3.0), (1.0, 2.0), (1.0, 2.5), (1.0, 1.0), (0.9, 0.5), (1.0, 1.5)])

    def planted(*arguments: Any, **options: Any) -> Any:
        found = score(*arguments, **options)
        value, loss = next(seen, (1.0, 9.0))
        return replace(found, metrics={"rank_tau": torch.full_like(found.metrics["rank_tau"], value)}, loss=loss)

    monkeypatch.setattr("headwise.training.validation.score", planted)
    path = train(tiny(tmp_path, updates=6, validate_every=1), progress=False)
    best = [line["update"] for line in lines(path, "metrics.jsonl") if line.get("best")]
    assert best == [1, 2, 4]
    assert json.loads((path / "summary.json").read_text())["selected_update"] == 4
    seen = iter([(1.0, 5.0), (1.0, 4.0), (1.0, 3.0), (1.0, 2.0)])
    path = train(tiny(tmp_path, updates=6, validate_every=1, patience=2), progress=False)
    assert json.loads((path / "summary.json").read_text())["updates"] == 3


def test_validating_more_often_does_not_change_what_is_trained(tmp_path: Path) -> None:
    often, rarely = (
        train(tiny(tmp_path / str(every), GUMBEL, dropout=0.2, validate_every=every), progress=False)
        for every in (1, 20)
    )
    states = [read_checkpoint(run / "checkpoints" / "last.ckpt")["model"] for run in (often, rarely)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_analysis_that_fails_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> dict[str, Any]:
        raise MemoryError

    config = tiny(tmp_path, GUMBEL, **STABLE)
    with monkeypatch.context() as planted:
        planted.setattr("headwise.training.run.analyse", out_of_memory)
        with pytest.raises(OutOfMemoryError, match=r"training\.evaluation_batch_size"):
            train(config, progress=False)
    (path,) = tmp_path.iterdir()
    load(path)
    assert not (path / "summary.json").exists()
    train(resume=path, progress=False)
    assert (path / "summary.json").exists()


def test_a_loaded_model_scores_what_its_summary_says(run: Path, summary: dict[str, Any]) -> None:
    model = load(run)
    assert not model.training
    data, _ = build(RunConfig.from_plain(yaml.safe_load((run / "config.yaml").read_text())))
    assert score(model, data.split("test"), 7).means()["rank_tau"] == pytest.approx(summary["value"])


def test_evaluate_repeats_the_summary_and_takes_other_lengths_rates_and_steps(
    run: Path, summary: dict[str, Any]
) -> None:
    again = evaluate(run)
    assert {key: again[key] for key in ("value", "floor", "ceiling", "metrics")} == {
        key: summary[key] for key in ("value", "floor", "ceiling", "metrics")
    }
    longer = evaluate(run, {"task.length": 12, "task": {"mask_rate": 0.25}})
    assert longer["ceiling"] > again["ceiling"] + 0.1  # fewer masked elements
    assert longer["flops_per_example"] > again["flops_per_example"]
    assert evaluate(run, {"arm.refinement.steps": 5})["refinement_steps_mean"] == 5
    assert evaluate(run, {"seed": 1})["value"] != again["value"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task.lenght": 12}, "task.lenght=12: unknown key"),
        ({"model.width": 32}, "has shape"),
        ({"arm.combine.z": 1}, "arm.combine.z=1: unknown key"),
        ({"nowhere.at_all": 1}, "nowhere.at_all=1: unknown key"),
        ({"task.mask_rate": 1.5}, "mask_rate"),
    ],
)
def test_evaluate_refuses_what_does_not_fit_in_one_line(run: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        evaluate(run, overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_evaluate_and_load_refuse_a_directory_that_is_no_finished_run(run: Path, tmp_path: Path) -> None:
    for use in (evaluate, load):
        with pytest.raises(InputError, match="not a run directory"):
            use(tmp_path)
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    for use in (evaluate, load):
        with pytest.raises(InputError, match=r"no model\.json"):
            use(tmp_path)


def test_overrides_leave_the_configuration_that_they_start_from_alone() -> None:
    plain = {"a": {"b": 1}, "c": 2}
    assert overridden(plain, {"a.b": 3, "a": {"d": 4}}) == {"a": {"b": 3, "d": 4}, "c": 2}
    assert plain == {"a": {"b": 1}, "c": 2}


def test_a_refused_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(tmp_path / "runs")
    device = next((name for name in ("cuda", "mps") if not _there(name)), None)
    if device:
        with pytest.raises(InputError, match=f"device={device}: not available here"):
            train(replace(config, device=device))  # type: ignore[arg-type]
    monkeypatch.setattr("headwise.training.machine.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wandb_offline: not installed; pip install 'headwise\[wandb\]'"):
        train(with_(config, loggers=("wandb_offline",)))
    assert not (tmp_path / "runs").exists()


def _there(device: str) -> bool:
    return torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()


def test_a_directory_that_is_taken_is_refused_and_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already; choose another directory, or resume="):
        train(tiny(tmp_path), directory=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def spoiled_from(update: int) -> Callable[..., Objective]:
    calls = 0

    def spoiling(*args: Any, **kwargs: Any) -> Objective:
        nonlocal calls
        calls += 1
        out = objective(*args, **kwargs)
        factor = math.nan if calls >= update else 1.0
        return out._replace(loss=out.loss * factor, logs=out.logs | {"loss": out.logs["loss"] * factor})

    return spoiling


def test_a_loss_that_is_not_finite_stops_the_run_and_the_last_good_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "objective", spoiled_from(12))
    with pytest.raises(TrainingDiverged, match=r"update 12: loss nan, gradients blew up in \w+") as error:
        train(tiny(tmp_path, GUMBEL), directory=tmp_path / "run", progress=False)
    assert error.value.update == 12
    assert error.value.checkpoint == tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert str(error.value.checkpoint) in str(error.value)
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["update"] == 10
    assert all(tensor.isfinite().all() for tensor in last["model"].values())
    assert not (tmp_path / "run" / "summary.json").exists()
    assert lines(tmp_path / "run", "metrics.jsonl")[-1]["update"] == 10


def test_a_full_disk_does_not_hide_that_a_run_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_for_notes(path: Path, text: str) -> None:
        if path.name == "error.txt":
            raise StorageError(f"{path}: no space left")
        path.write_text(text, encoding="utf-8")

    monkeypatch.setattr(objectives, "objective", spoiled_from(2))
    monkeypatch.setattr("headwise.training.run.write_text", full_for_notes)
    with pytest.raises(TrainingDiverged):
        train(tiny(tmp_path, GUMBEL), directory=tmp_path / "run", progress=False)


def test_collapsed_halting_is_said_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arm = PONDER | {"halting": {"name": "ponder", "bias": 6.0}}
    run = train(tiny(tmp_path, arm, updates=5), progress=False)
    assert "halting has collapsed (1.00 mean steps" in caplog.text
    assert lines(run, "routing.jsonl")[0]["collapsed"] is True


def test_a_ponder_cost_is_ramped_up_and_its_steps_are_recorded(tmp_path: Path) -> None:
    run = train(tiny(tmp_path, PONDER), progress=False)
    training = [line for line in lines(run, "metrics.jsonl") if line["split"] == "train"]
    assert all(line["ponder"] == pytest.approx(line["steps"], rel=1e-5) for line in training)
    assert all(1 <= line["steps"] <= 4 for line in training)


def test_silence_is_silent_and_progress_is_one_line_a_validation(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tiny(tmp_path / "silent"), progress=False)
    assert capfd.readouterr() == ("", "")
    train(tiny(tmp_path / "shown"), progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == [
        f"sorting custom seed 0: update {update}/20" for update in (5, 10, 15, 20)
    ]


def test_training_ends_when_its_time_is_up_and_stays_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second with each look: a run of two seconds is over after its first update."""
    ticks = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr("headwise.training.recorder.time.perf_counter", lambda: float(next(ticks)))
        run = train(tiny(tmp_path, max_seconds=2.5, updates=20), progress=False)
    summary = json.loads((run / "summary.json").read_text())
    assert 1 <= summary["updates"] < 20
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["update"] == summary["updates"]
    assert lines(run, "metrics.jsonl")[-1]["split"] == "validation"
    train(resume=run, progress=False)
    assert json.loads((run / "summary.json").read_text())["updates"] == summary["updates"]
