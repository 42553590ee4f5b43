"""A batch shared by several processes, or computed in parts: the same losses and weights as in one."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.training.config import RunConfig
from headwise.training.processes import Processes, ProcessLostError, launch
from headwise.training.run import train
from tests.processes import alive, within
from tests.training import test_streaming
from tests.training.recipes import SEGMENTS, tiny, with_
from tests.training.shared_runs import Weights, all_of, ends_badly, killed, stopped, trained

ROUTED = {
    "router": "learned",
    "controller": {"name": "hrm", "period": 2},
    "refinement": {"steps": 3, "injection": "input", "supervision": "uniform"},
}
STEERED = {
    "router": "learned",
    "gate": "adaptive",
    "balance": {"losses": ["load_balance", "complexity", "router_z"], "bias_rate": 0.01, "target": 1.5},
}
# The slow module fires in every other segment alone, so some updates leave its weights without a gradient.
SELDOM = SEGMENTS | {"controller": {"name": "hrm", "period": 4}}
STREAMS = {
    "router": "learned",
    "gate": "adaptive",
    "balance": {"bias_rate": 0.01, "target": 1.5},
    "refinement": {
        "recursion": {"name": "two_streams", "period": 2, "networks": 2},
        "initial_state": {"name": "random"},
        "noise": 0.1,
        "steps": 4,
        "segments": 2,
        "gradient": "truncated",
        "window": 2,
    },
}
ARMS = {
    "plain": {},
    "routed": ROUTED,
    "steered": STEERED,
    "segmented": SEGMENTS,
    "seldom": SELDOM,
    "streams": STREAMS,
}
STREAMING = {f"streaming_{name}": name for name in test_streaming.ARMS}
CLOCK = ("seconds", "samples_per_second", "tokens_per_second", "peak_memory_mb")


def config(output: Path, name: str, **training: Any) -> RunConfig:
    """Batches of 8 and, at the end of an epoch, of 3 examples: fewer than four parts."""
    if name in STREAMING:  # judgements start near undecided
        stream = test_streaming.config(output, STREAMING[name], **training)
        return replace(stream, arm=replace(stream.arm, halting=replace(stream.arm.halting, bias=0.003)))
    small = tiny(output, ARMS[name], entropy={"direction": "diverse"}, **({"updates": 12} | training))
    return replace(small, task=replace(small.task, train_examples=11))


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [value for line in lines for key, value in line.items() if key not in CLOCK and isinstance(value, float)]


def close(a: Weights, b: Weights) -> bool:
    return all(np.allclose(a[name], b[name], rtol=0, atol=1e-9) for name in b)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Weights]]:
    """Each arm in one process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, {name: trained(config(folder, name), folder / name) for name in (*ARMS, *STREAMING)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Each arm in two processes, one of them sharded; a stopped run, one continued, one that diverges."""
    folder = tmp_path_factory.mktemp("shared")
    stopped(config(folder, "plain"), folder / "continued", 8)
    configs = {name: config(folder, name) for name in (*ARMS, *STREAMING)}
    configs["sharded"] = config(folder, "routed", shard=True, ema=0.9)
    return folder, launch(2, "cpu", all_of, configs, folder)


@pytest.mark.parametrize("name", [*ARMS, *STREAMING])
def test_two_processes_train_what_one_trains(
    name: str, alone: tuple[Path, dict[str, Weights]], shared: tuple[Path, dict[str, Any]]
) -> None:
    assert close(shared[1][name], alone[1][name])
    assert losses(shared[0] / name) == pytest.approx(losses(alone[0] / name), abs=1e-9)


@pytest.mark.parametrize("name", STREAMING)
def test_two_processes_see_the_same_stream_as_one(
    name: str, alone: tuple[Path, dict[str, Weights]], shared: tuple[Path, dict[str, Any]]
) -> None:
    two, one = (test_streaming.lines(folder / name) for folder in (shared[0], alone[0]))
    assert all(a == pytest.approx(b, abs=1e-9) for a, b in zip(two, one, strict=True))
    assert any(0 < line["halted_share"] < 1 for line in two if line["split"] == "train")


def test_sharded_weights_train_and_average_to_those_of_one_process(
    shared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole = trained(config(tmp_path, "routed", ema=0.9), tmp_path / "whole")
    assert close(shared[1]["sharded"], whole)


def test_a_run_stopped_on_two_continues_on_one_and_the_other_way_round(
    alone: tuple[Path, dict[str, Weights]], shared: tuple[Path, dict[str, Any]]
) -> None:
    folder, found = shared
    assert found["stopped"] == 8
    assert close(trained(config(folder, "plain"), folder / "stopped", resume=True), alone[1]["plain"])
    for name in ("stopped", "continued"):
        assert losses(folder / name) == pytest.approx(losses(alone[0] / "plain"), abs=1e-9)


def test_numbers_that_are_not_finite_in_one_process_end_the_run_in_all(shared: tuple[Path, dict[str, Any]]) -> None:
    assert shared[1]["spoiled"] == 4


@pytest.mark.parametrize("name", ["plain", "routed", "segmented"])
def test_a_batch_computed_in_parts_is_the_same_update(
    name: str, alone: tuple[Path, dict[str, Weights]], tmp_path: Path
) -> None:
    in_parts = trained(config(tmp_path, name, accumulate=3), tmp_path / "run")
    assert close(in_parts, alone[1][name])
    assert losses(tmp_path / "run") == pytest.approx(losses(alone[0] / name), abs=1e-9)


def test_a_killed_process_ends_the_run_with_its_name_and_the_run_resumes(
    alone: tuple[Path, dict[str, Weights]], tmp_path: Path
) -> None:
    run = config(tmp_path, "plain")
    with pytest.raises(ProcessLostError, match="process 1 of 2 was killed by SIGKILL"):
        launch(2, "cpu", killed, run, tmp_path / "run")
    assert close(trained(run, tmp_path / "run", resume=True), alone[1]["plain"])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in Linux's /proc")
def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from headwise.training.processes import launch; "
        f"from tests.training.shared_runs import deaf; launch(2, 'cpu', deaf, Path({str(tmp_path)!r}))"
    )

    def living() -> list[int]:
        return [pid for file in tmp_path.glob("*.pid") if alive(pid := int(file.stem))]

    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        assert within(600, lambda: len(living()) == 2)
        parent.kill()
        # They would live for as long as they are let: a busy machine only has them die later
        assert within(120, lambda: not living())
    finally:
        parent.kill()
        parent.wait()
        for pid in living():
            os.kill(pid, signal.SIGKILL)


def test_torchrun_trains_one_run_and_prints_it_once(tmp_path: Path) -> None:
    words = ["task.length=6", "task.train_examples=40", "task.validation_examples=16", "task.test_examples=16"]
    words += ["model.width=16", "model.heads=2", "model.ffn=16", "training.loggers=[]"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "headwise.cli", "train"]
    done = subprocess.run(
        [*command, "--json", *words, "quick=true", "training.updates=4", f"output={tmp_path}", "device=cpu"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["updates"] == 4
    (run,) = tmp_path.iterdir()
    assert len((run / "test_values.npy").read_bytes()) > 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for threads in Linux's /proc")
def test_nothing_of_a_group_outlives_it() -> None:
    """A thread of it that gives a tensor back while the interpreter ends would abort the process."""
    program = """if True:
        import pathlib, torch
        from headwise.training.processes import joined

        def update():
            step = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
            step(torch.ones(1, 2)).sum().backward()
            cycle = [step]
            cycle.append(cycle)

        def threads():
            return {part.read_text().strip() for part in pathlib.Path("/proc/self/task").glob("*/comm")}

        with joined("cpu"):
            update()
            assert any("gloo" in name for name in threads())
        print(*(name for name in threads() if "gloo" in name))
    """
    of_one = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | of_one | {"MASTER_PORT": "0"},
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stdout + done.stderr


def test_what_happens_to_a_process_that_has_said_all_is_no_loss() -> None:
    assert launch(2, "cpu", ends_badly) == "done"


def test_one_process_has_nothing_to_shard(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.shard=true: one process shares nothing"):
        train(with_(config(tmp_path, "plain"), shard=True), progress=False)


def test_an_error_of_the_first_process_is_raised_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others must not wait for what will never come."""
    sent: list[list[Any]] = []
    monkeypatch.setattr("torch.distributed.broadcast_object_list", lambda outcome: sent.append(list(outcome)))

    def refuse() -> None:
        raise InputError("no place")

    with pytest.raises(InputError, match="no place"):
        Processes(0, 2).of_first(refuse)
    assert isinstance(sent[0][1], InputError)


def test_a_signal_that_came_in_one_process_counts_in_all() -> None:
    assert Processes().any(False, True) == (False, True)
    assert signal.SIGINT
