"""What a run takes, said before it is trained."""

from pathlib import Path

import pytest
import torch

from headwise.cli import main
from headwise.errors import InputError
from headwise.lab.scaling.one_run import plan_run
from headwise.models.flops import flops_per_example, training_flops_per_example
from headwise.training.building import build_model, data_of
from headwise.training.config import RunConfig
from headwise.training.configuration import load

SMALL = ["task.train_examples=64", "task.length=6", "model.width=16", "model.heads=2", "model.ffn=16"]


def settings(*words: str) -> RunConfig:
    return load([*SMALL, "training.updates=50", "training.batch_size=8", *words])


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["arm=baseline"], 3),
        (["arm=looped"], 3),
        (["arm=trm"], 1 + 2 * 7 / 21),
        (["arm=hrm_original"], 1 + 2 * 2 / 6),
        (["arm=hrm", "arm.refinement.gradient=last"], 1 + 2 * 2 / 6),
    ],
)
def test_steps_without_gradient_cost_no_backward_pass(words: list[str], times: float) -> None:
    config = settings(*words)
    with torch.device("meta"):
        backbone = build_model(config, data_of(config).facts).backbone
    segment = flops_per_example(backbone, 6, config.arm.refinement.steps)
    assert training_flops_per_example(backbone, 6) == pytest.approx(times * segment)


def test_a_rate_gives_the_time_of_all_updates() -> None:
    plan = plan_run(settings(), teraflops=2.0)
    assert plan["flops"] == 50 * plan["flops_per_update"]
    assert plan["seconds"] == pytest.approx(plan["flops"] / 2e12)
    assert plan["parameters"] > 1000
    with pytest.raises(InputError, match="teraflops=0: choose a rate above 0"):
        plan_run(settings(), teraflops=0.0)


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "dry_run=true", *SMALL, "training.updates=3", "device=cpu"]) == 0
    said = capsys.readouterr().out
    assert "FLOPs in all" in said
    assert "this machine" in said
    assert main(["train", "teraflops=3"]) == 2
    assert "teraflops=3: is about dry_run=true" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
