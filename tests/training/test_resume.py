"""Law 8: N steps, stop, resume, N steps equal 2N steps, bit for bit; and what happens to damaged checkpoints."""

import json
import logging
import pickle
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.training import objective as objectives
from headwise.training import state
from headwise.training.checkpoints import newest_readable, random_state, read_checkpoint, set_random_state
from headwise.training.config import RunConfig
from headwise.training.data import TrainingBatches
from headwise.training.interruption import TrainingInterrupted
from headwise.training.objective import Objective, objective
from headwise.training.run import train
from tests.training.recipes import GUMBEL, SEGMENTS, STABLE, tiny, with_

STOP = 13  # of 20 updates; in the third epoch, past a checkpoint at 10, between two lines of metrics.jsonl


def settings(output: Path) -> RunConfig:
    return tiny(output, GUMBEL, dropout=0.2, **STABLE)


def interrupted_at(update: int, times: int = 1, number: int = signal.SIGINT) -> Callable[..., Objective]:
    """The objective, with Ctrl-C pressed (or another signal sent) during that update."""
    calls = 0

    def pressing(*args: Any, **kwargs: Any) -> Objective:
        nonlocal calls
        calls += 1
        if calls == update:
            for _ in range(times):
                signal.raise_signal(number)
        return objective(*args, **kwargs)

    return pressing


def interrupted_run(config: RunConfig, monkeypatch: pytest.MonkeyPatch, update: int = STOP) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr(objectives, "objective", interrupted_at(update))
        with pytest.raises(TrainingInterrupted, match=f"after update {update}; continue with: headwise train resume="):
            train(config, progress=False)
    return next(path for path in Path(config.output).iterdir() if not (path / "summary.json").exists())


def differing(a: Any, b: Any, at: str = "") -> list[str]:
    """Where two nested structures of tensors and plain values differ in any bit."""
    if isinstance(a, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [at]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{at}: keys"]
        return [found for key in a for found in differing(a[key], b[key], f"{at}.{key}")]
    if isinstance(a, (list, tuple)):
        return [found for i, (x, y) in enumerate(zip(a, b, strict=True)) for found in differing(x, y, f"{at}[{i}]")]
    return [] if a == b else [at]


def final_state(run: Path) -> dict[str, Any]:
    """Everything that the rest of a run would depend on; the clock apart."""
    content = read_checkpoint(run / "checkpoints" / "last.ckpt")
    del content["recorder"]["seconds"], content["recorder"]["line_start"]
    return content


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    clock = ("seconds", "samples_per_second", "tokens_per_second", "peak_memory_mb")
    read = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in clock} for line in read]


def in_segments(output: Path) -> RunConfig:
    """Twenty updates are six batches of three segments and two segments of a seventh."""
    return tiny(output, SEGMENTS, dropout=0.2, **STABLE)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in segments that nothing interrupts."""
    return train(in_segments(tmp_path_factory.mktemp("segments")), progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupts."""
    return train(settings(tmp_path_factory.mktemp("whole")), progress=False)


def test_a_run_stopped_in_the_middle_of_an_epoch_and_resumed_is_the_uninterrupted_one_bit_for_bit(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = interrupted_run(settings(tmp_path), monkeypatch)
    assert read_checkpoint(stopped / "checkpoints" / "last.ckpt")["update"] == STOP
    assert train(resume=stopped, progress=False) == stopped
    assert differing(final_state(whole), final_state(stopped)) == []
    assert (whole / "model.safetensors").read_bytes() == (stopped / "model.safetensors").read_bytes()
    assert (whole / "test_values.npy").read_bytes() == (stopped / "test_values.npy").read_bytes()
    for name in ("routing.jsonl", "metrics.jsonl"):
        assert lines(whole, name) == lines(stopped, name), "the records are those of a run that was never stopped"


def test_averaged_weights_resume_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_(settings(tmp_path), ema=0.9)
    whole = train(config, directory=tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(objectives, "objective", interrupted_at(STOP))
        with pytest.raises(TrainingInterrupted):
            train(config, directory=tmp_path / "stopped", progress=False)
    train(resume=tmp_path / "stopped", progress=False)
    assert differing(final_state(whole), final_state(tmp_path / "stopped")) == []
    assert (whole / "model.safetensors").read_bytes() == (tmp_path / "stopped" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("update", [1, 5, 19, 20])
def test_it_does_not_matter_where_a_run_is_stopped(
    update: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first update, at a validation that ends an epoch, before the last update, and at the last itself."""
    config = settings(tmp_path)
    if update < 20:
        stopped = interrupted_run(config, monkeypatch, update)
        train(resume=stopped, progress=False)
    else:
        monkeypatch.setattr(objectives, "objective", interrupted_at(update))
        stopped = train(config, progress=False)  # there is nothing left to interrupt
    assert differing(final_state(whole), final_state(stopped)) == []


def test_random_numbers_that_are_not_restored_are_noticed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same comparison with the mistake planted: Lightning alone saves neither random numbers nor data order."""
    stopped = interrupted_run(settings(tmp_path), monkeypatch)
    monkeypatch.setattr(state, "set_random_state", lambda state: None)
    train(resume=stopped, progress=False)
    assert any(".model" in place for place in differing(final_state(whole), final_state(stopped)))


def test_a_killed_run_goes_on_from_its_last_checkpoint_and_forgets_the_lines_after_it(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two signals end a run in the middle of an update, as a kill does: the newest checkpoint is of update 10."""
    config = with_(settings(tmp_path), log_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(objectives, "objective", interrupted_at(STOP, times=2))
        with pytest.raises(TrainingInterrupted, match="stopped; continue with"):
            train(config, progress=False)
    killed = next(tmp_path.iterdir())
    assert lines(killed, "metrics.jsonl")[-1]["update"] == STOP - 1
    assert read_checkpoint(killed / "checkpoints" / "last.ckpt")["update"] == 10
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"update": 12, "cut of')
    train(resume=killed, progress=False)
    assert differing(final_state(whole), final_state(killed)) == []
    updates = [line["update"] for line in lines(killed, "metrics.jsonl") if line["split"] == "train"]
    assert updates == list(range(1, 21))


def test_a_request_to_terminate_is_heeded_like_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cluster sends before it kills."""
    monkeypatch.setattr(objectives, "objective", interrupted_at(STOP, number=signal.SIGTERM))
    with pytest.raises(TrainingInterrupted, match=f"after update {STOP}"):
        train(settings(tmp_path), directory=tmp_path / "run", progress=False)
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["update"] == STOP


def test_a_finished_run_is_finished(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    train(resume=copy, progress=False)
    assert lines(copy, "routing.jsonl") == lines(whole, "routing.jsonl")
    assert lines(copy, "metrics.jsonl") == lines(whole, "metrics.jsonl")
    assert json.loads((copy / "summary.json").read_text())["updates"] == 20


def test_a_finished_run_goes_on_with_more_updates_where_its_schedules_allow_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(tmp_path, GUMBEL, dropout=0.2, schedule="constant", warmup=0, ramp=0)
    run = train(config, progress=False)
    with caplog.at_level(logging.INFO, "headwise"):
        train(resume=run, progress=False)
    assert "finished already, after 20 updates" in caplog.text
    longer = with_(config, updates=30)
    train(longer, resume=run, progress=False)
    whole = train(longer, directory=tmp_path / "whole", progress=False)
    assert differing(final_state(whole), final_state(run)) == []
    train(resume=run, progress=False)
    assert json.loads((run / "summary.json").read_text())["updates"] == 30


def test_an_early_stop_is_not_undone_by_resuming(tmp_path: Path) -> None:
    run = train(tiny(tmp_path, warmup=0, patience=1, preset={"name": "uniform", "lr": 1e-12}), progress=False)
    assert json.loads((run / "summary.json").read_text())["updates"] == 10
    train(resume=run, progress=False)
    assert json.loads((run / "summary.json").read_text())["updates"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: replace(c, model=replace(c.model, width=32)),
            "model.width=32: the run to resume has model.width=16",
        ),
        (lambda c: replace(c, seed=1), "seed=1: the run to resume has seed=0"),
        (lambda c: with_(c, updates=10), "training.updates=10: the run to resume has training.updates=20"),
        (lambda c: with_(c, updates=40), "its schedule=cosine has come to its end, and only constant goes on"),
    ],
)
def test_a_run_is_not_resumed_with_a_changed_model_or_recipe(
    change: Callable[[RunConfig], RunConfig], message: str, whole: Path
) -> None:
    before = {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()}
    with pytest.raises(InputError) as error:
        train(change(settings(whole.parent)), resume=whole, progress=False)
    assert message in str(error.value)
    assert before == {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()}


def test_a_directory_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        train(resume=tmp_path)
    with pytest.raises(InputError, match="not a run directory"):
        train(resume=tmp_path / "nowhere")


def test_a_run_that_did_not_come_to_its_first_checkpoint_starts_afresh_and_says_so(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed while it wrote the very first one."""
    shutil.copy(whole / "config.yaml", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".next.ckpt.123.tmp").write_bytes(b"half")
    shutil.copy(whole / "metrics.jsonl", tmp_path)
    with caplog.at_level(logging.INFO, "headwise"):
        train(resume=tmp_path, progress=False)
    assert "no checkpoint yet, the run starts afresh" in caplog.text
    assert differing(final_state(whole), final_state(tmp_path)) == []
    assert lines(tmp_path, "metrics.jsonl") == lines(whole, "metrics.jsonl")
    assert not list((tmp_path / "checkpoints").glob(".*"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace_by_words(file: Path) -> None:
    file.write_text("not a checkpoint")


@pytest.mark.parametrize("damage", [truncate, empty, replace_by_words, Path.unlink])
def test_a_damaged_checkpoint_is_named_and_the_previous_good_one_used(
    damage: Callable[[Path], None],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopped = interrupted_run(settings(tmp_path), monkeypatch)
    last = stopped / "checkpoints" / "last.ckpt"
    damage(last)
    with caplog.at_level(logging.WARNING, "headwise"):
        train(resume=stopped, progress=False)
    assert str(last) in caplog.text
    assert "using the previous good checkpoint" in caplog.text
    assert differing(final_state(whole), final_state(stopped)) == []


def test_a_single_flipped_bit_in_a_weight_is_noticed(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    shutil.copy(whole / "checkpoints" / "last.ckpt", file)
    weight = read_checkpoint(file)["model"]["task.elements.project.weight"]
    content = bytearray(file.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"last\.ckpt: damaged"):
        read_checkpoint(file)


def test_without_a_good_checkpoint_both_reasons_are_given(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole / "checkpoints", folder)
    truncate(folder / "last.ckpt")
    empty(folder / "previous.ckpt")
    with pytest.raises(InputError) as error:
        newest_readable(folder)
    assert "last.ckpt" in str(error.value)
    assert "previous.ckpt" in str(error.value)
    assert "\n" not in str(error.value)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


@pytest.mark.parametrize("as_archive", [True, False])
def test_a_pickle_payload_is_refused_and_never_executed(
    as_archive: bool, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, trap = tmp_path / "run", tmp_path / "trap"
    shutil.copytree(whole, run)
    bait = read_checkpoint(run / "checkpoints" / "last.ckpt") | {"payload": Payload(trap)}
    for name in ("last.ckpt", "best.ckpt"):
        with (run / "checkpoints" / name).open("wb") as file:
            if as_archive:
                torch.save(bait, file)
            else:
                pickle.dump(bait, file)
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()  # the trap works when somebody walks into it
    trap.unlink()
    reason = "refused, it holds objects other than tensors and plain values" if as_archive else "not a checkpoint"
    with pytest.raises(InputError, match=reason):
        read_checkpoint(run / "checkpoints" / "last.ckpt")
    with pytest.raises(InputError, match=rf"best\.ckpt: .*{reason}"):
        train(resume=run, progress=False)
    assert "using the previous good checkpoint" in caplog.text
    assert not trap.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("update", [6, 7, 8])
def test_a_run_in_segments_stops_between_batches_and_goes_on_bit_for_bit(
    update: int, number: int, segmented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pressed at the end, at the beginning and in the middle of a batch of three segments."""
    end = -(-update // 3) * 3
    with monkeypatch.context() as patch:
        patch.setattr(objectives, "objective", interrupted_at(update, number=number))
        with pytest.raises(TrainingInterrupted, match=f"after update {end};"):
            train(in_segments(tmp_path), directory=tmp_path / "run", progress=False)
    train(resume=tmp_path / "run", progress=False)
    assert differing(final_state(segmented), final_state(tmp_path / "run")) == []


def test_planted_checkpoint_within_a_batch_has_lost_the_carried_state_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TrainingBatches, "between", True)
        stopped = interrupted_run(in_segments(tmp_path), patch, 7)
    with pytest.raises(InputError, match="position 7 lies within a batch of 3 segments"):
        train(resume=stopped, progress=False)


def test_a_run_that_ended_within_a_batch_is_finished(segmented: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(segmented, copy)
    assert train(resume=copy, progress=False) == copy
    assert differing(final_state(segmented), final_state(copy)) == []


def test_a_run_in_segments_is_saved_and_validated_at_the_end_of_batches(segmented: Path) -> None:
    validated = [line["update"] for line in lines(segmented, "metrics.jsonl") if "rank_tau" in line]
    assert validated == [6, 12, 15, 20]
    assert read_checkpoint(segmented / "checkpoints" / "previous.ckpt")["update"] == 15


def test_random_states_come_back_exactly() -> None:
    state = random_state()
    first = (torch.rand(3), np.random.rand(3), np.random.randn())
    set_random_state(state)
    second = (torch.rand(3), np.random.rand(3), np.random.randn())
    assert torch.equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert first[2] == second[2]


def test_training_leaves_the_callers_random_numbers_and_signals_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(tiny(tmp_path, updates=2), progress=False)
    assert torch.equal(torch.rand(2), expected)
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
