"""A finished run as a model of transformers: it says what the run says, and is saved and pruned like any."""

import json
from pathlib import Path

import pytest
import torch

from headwise.cli import main
from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.pretrained.saving import save_retrofitted
from headwise.routing.fixed_routers import StaticRouter
from headwise.training.evaluation import load
from headwise.training.retrofits import load_retrofitted
from headwise.training.run import train
from tests.tasks.pretrained.runs import TOP, run_config
from tests.training.recipes import tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
TOKENS = torch.randint(3, 200, (2, 11), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("trained", ["routers", "lora", "all"])
def test_what_was_tuned_is_in_the_model_that_is_taken_out(trained: str, tmp_path: Path) -> None:
    if trained == "lora":
        pytest.importorskip("peft", reason="the package peft is not installed")
    run = train(run_config(tmp_path / "runs", TOP, train=trained), progress=False)
    model = load(run)
    with torch.no_grad():
        expected = model.task.read_out(model({"tokens": TOKENS}).states[-1], {})
        taken = load_retrofitted(run)
        found = taken.model(TOKENS).logits
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(taken.remove()(TOKENS).logits, expected), "the routers choose"
        again = load_retrofitted(save_retrofitted(load_retrofitted(run), tmp_path / "routed"))
        assert torch.equal(again.model(TOKENS).logits, found)


def test_a_run_is_pruned_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(run_config(tmp_path / "runs", Arm(StaticRouter(3))), progress=False)
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question " * 10)
    words = ["by=heads", "length=16", "blocks=2", "prompt=8", "rounds=1", "--json"]
    assert main(["prune", str(run), f"data={text}", f"output={tmp_path / 'smaller'}", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [layer["removed"] for layer in found["layers"]] == [1, 1]
    assert found["losses"]["data"]["after"] == pytest.approx(found["losses"]["data"]["before"], abs=1e-5)


def test_a_run_of_another_task_has_no_such_model(tmp_path: Path) -> None:
    run = train(tiny(tmp_path, updates=2), progress=False)
    with pytest.raises(InputError, match="a run of task=sorting; only one of pretrained has a model in it"):
        load_retrofitted(run)
