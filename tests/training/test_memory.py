"""What a model takes is known before it is built: too large a one is refused at once, with figures."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwise.errors import InputError, OutOfMemoryError
from headwise.models.sizes import ModelConfig
from headwise.training import memory
from headwise.training.building import build_model, data_of
from headwise.training.memory import memory_named, weights_memory
from headwise.training.run import train
from tests.training.recipes import GUMBEL, tiny


@pytest.mark.parametrize(
    "shape",
    [
        {"width": 200_000, "heads": 2},
        {"ffn": 10**9},
        {"depth": 10**6},
        {"width": 4_000_000_000, "heads": 2},
        {"ffn": 2**62},
    ],
)
def test_a_model_without_room_is_refused_before_there_is_a_directory(shape: dict[str, int], tmp_path: Path) -> None:
    config = replace(tiny(tmp_path / "runs", GUMBEL), model=ModelConfig(**({"width": 128, "heads": 2} | shape)))
    began = time.process_time()
    figures = r"model \(width=.*(this machine has [\d.,]+ GB|more parameters than can be counted).*; choose"
    with pytest.raises(InputError, match=figures):
        train(config, progress=False)
    assert time.process_time() - began < 5
    assert not (tmp_path / "runs").exists()


def test_the_estimate_of_any_depth_is_what_the_model_has(tmp_path: Path) -> None:
    config = replace(tiny(tmp_path, GUMBEL), model=ModelConfig(width=16, heads=2, ffn=24, depth=5))
    facts = data_of(config).facts
    model = build_model(config, facts)
    need = weights_memory(config, facts)
    assert need.parameters == sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    assert need.gradients == sum(parameter.nbytes for parameter in model.parameters())


def test_figures_are_those_of_the_model_and_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "capacity", lambda device: 3 * 10**9)
    monkeypatch.setattr(memory, "process_memory", lambda device: 0)
    config = replace(tiny(tmp_path), model=ModelConfig(width=2048, heads=2, ffn=8192, depth=4))
    # 4 blocks of 12 D² weights, each with a gradient and two moments of 4 bytes
    with pytest.raises(InputError, match=r"20[12]\.\d million parameters take 3\.\d GB .* this machine has 3\.0 GB"):
        train(config, progress=False)


def test_an_update_without_room_is_one_line(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size \(8\)"), memory_named(config):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match=r"^shape"), memory_named(config):
        raise RuntimeError("shape mismatch")
