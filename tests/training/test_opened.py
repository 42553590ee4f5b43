"""A run opened from Python: everything of it is there, and its gates are those that the model used."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.training.scoring import score
from tests.training.recipes import GUMBEL, PONDER, tiny


def test_a_finished_run_has_everything(tmp_path: Path) -> None:
    run = headwise.open_run(headwise.train(tiny(tmp_path, GUMBEL), progress=False))
    assert run.config == tiny(tmp_path, GUMBEL)
    assert run.summary["updates"] == run.metrics[-1]["update"] == 20
    assert run.routing[-1]["split"] == "test"
    assert len(run.data.split("test")) == 32
    assert len(run.examples("validation", 100)) == 16
    assert not run.model.training
    with pytest.raises(InputError, match="split=dev: choose one of train, validation, test"):
        run.examples("dev")


@pytest.mark.parametrize("arm", [GUMBEL, PONDER, {}])
def test_the_gates_of_an_example_are_those_that_it_was_scored_with(arm: dict[str, object], tmp_path: Path) -> None:
    run = headwise.open_run(headwise.train(tiny(tmp_path, arm), progress=False))
    kept = score(run.model, run.data.split("test"), 32, examples=2).examples
    for number, example in enumerate(run.examples("test", 2)):
        gates = run.gates(example)
        assert gates.shape[1:] == (1, 6, 2)
        if kept:
            expected = torch.tensor(kept[number])[:, :, :, :]  # [T, N, L|1, H]
            torch.testing.assert_close(gates, expected.expand_as(gates), atol=1e-4, rtol=0)
        else:
            assert torch.equal(gates, torch.ones(1, 1, 6, 2))


def test_a_run_that_is_not_finished_says_so_where_its_model_is_asked_for(tmp_path: Path) -> None:
    directory = headwise.train(tiny(tmp_path), progress=False)
    for name in ("summary.json", "model.json", "model.safetensors"):
        (directory / name).unlink()
    run = headwise.open_run(directory)
    assert run.summary == {}
    assert len(run.examples(number=3)) == 3
    with pytest.raises(InputError, match="finished model"):
        _ = run.model
    with pytest.raises(InputError, match="not a run directory"):
        headwise.open_run(tmp_path)


def test_several_examples_at_once_have_no_gates_of_one(tmp_path: Path) -> None:
    run = headwise.open_run(headwise.train(replace(tiny(tmp_path, GUMBEL)), progress=False))
    with pytest.raises(ValueError, match="one example"):
        run.gates(run.data.split("test").batch(torch.arange(2)))
