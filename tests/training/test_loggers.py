"""TensorBoard and W&B get settings, numbers, gates and the summary; a full disk is one line."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError, StorageError
from headwise.training.loggers import TensorBoard, flat, gates_by_layer, logging_to
from headwise.training.run import train
from tests.training.recipes import GUMBEL, tiny

pytest.importorskip("tensorboard")


def shown(run: Path) -> Any:
    """What TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "histograms": 0}).Reload()


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in shown(run).Scalars(tag)]


def test_tensorboard_has_settings_numbers_gates_and_summary(tmp_path: Path) -> None:
    run = train(tiny(tmp_path, GUMBEL, loggers=["tensorboard"]), progress=False)
    summary = json.loads((run / "summary.json").read_text())
    assert [step for step, _ in scalars(run, "train/loss")] == [5, 10, 15, 20]
    assert scalars(run, "summary/value") == [(20, pytest.approx(summary["value"]))]
    ((_, parameters),) = scalars(run, "summary/parameters_by_role.backbone")
    assert parameters == summary["parameters_by_role"]["backbone"]
    gates = shown(run).Histograms("gates/layer0")
    assert [event.step for event in gates] == [5, 10, 15, 20]
    assert gates[0].histogram_value.num == 4 * 3 * 6 * 2  # examples, steps, tokens, heads
    settings = shown(run).PluginTagToContent("hparams")
    assert b"arm.controller.period" in settings["_hparams_/session_start_info"]
    assert b"summary/value" in settings["_hparams_/experiment"]


def test_a_model_without_router_has_no_gates_to_show() -> None:
    assert gates_by_layer([]) == {}


def test_gates_are_put_together_by_layer() -> None:
    example = [[[[1.0, 0.0]], [[0.5, 1.5]]], [[[0.0, 2.0]], [[1.0, 1.0]]]]  # two steps, two layers, L|1 = 1, two heads
    assert gates_by_layer([example]) == {"gates/layer0": [1.0, 0.0, 0.0, 2.0], "gates/layer1": [0.5, 1.5, 1.0, 1.0]}


def test_nested_settings_are_flat_with_dotted_keys() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [2]}) == {"a.b": 1, "a.c.d": None, "e": [2]}


def test_what_an_interrupted_run_wrote_later_is_hidden(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    with logging_to(tiny(tmp_path, loggers=["tensorboard"]), tmp_path, first=True) as (before,):
        for update in (1, 2, 3):
            before.log({"train/loss": float(update)}, update)
    after = TensorBoard(config, tmp_path)
    after.resume(1)
    after.log({"train/loss": 7.0}, 2)
    after.close()
    assert scalars(tmp_path, "train/loss") == [(1, 1.0), (2, 7.0)]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorboard.summary.writer.record_writer as records

    def full(self: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records.RecordWriter, "write", full)
    with pytest.raises(StorageError, match=r"tensorboard: cannot be written \(No space left on device"):
        train(tiny(tmp_path, GUMBEL, loggers=["tensorboard"]), progress=False)


def test_weights_and_biases_has_the_same(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = train(tiny(tmp_path, GUMBEL, loggers=["wandb_offline"]), progress=False)
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()  # names and JSON stand in it as they are
    for name in (b"training", b"validation/rank_tau", b"gates/layer0", b'"histogram"', b"parameters_by_role"):
        assert name in written, name


def test_weights_and_biases_without_a_key_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")

    def refused(**settings: Any) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", refused)
    with pytest.raises(InputError, match=r"training.loggers=wandb: No API key configured\.; choose wandb_offline"):
        train(tiny(tmp_path, loggers=["wandb"]), progress=False)


def test_only_the_first_process_logs(tmp_path: Path) -> None:
    with logging_to(tiny(tmp_path, loggers=["tensorboard"]), tmp_path, first=False) as found:
        assert found == []
