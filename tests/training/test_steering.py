"""Runs whose routers are steered: what is written between updates, saved, resumed and recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from headwise.errors import InputError
from headwise.models.arm import check
from headwise.models.sizes import ModelConfig
from headwise.routing.balance import head_loads
from headwise.training.checkpoints import read_checkpoint
from headwise.training.evaluation import load
from headwise.training.run import train
from tests.laws.arms import TaskFacts
from tests.training.recipes import arm, tiny

ADAPTIVE = {
    "router": {"name": "learned"},
    "gate": {"name": "adaptive"},
    "balance": {"losses": ["load_balance", "complexity"], "bias_rate": 0.01, "target": 1.5},
}


def routing(run: Path, split: str = "validation") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "routing.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(tmp_path_factory.mktemp("steered"), ADAPTIVE, freeze_controller=0.5), progress=False)


def test_each_validation_says_per_layer_what_was_predicted_and_who_was_used(run: Path) -> None:
    lines = routing(run)
    assert len(lines) == 4
    (layer,) = lines[-1]["layers"]
    for name in ("threshold", "complexity", "budget", "sharpness", "heads_active"):
        assert layer[f"{name}_min"] <= layer[f"{name}_mean"] <= layer[f"{name}_max"]
        assert lines[-1][f"{name}_mean"] == pytest.approx(layer[f"{name}_mean"]), "one layer is all layers"
    assert layer["threshold_min"] >= 0.3
    assert layer["threshold_max"] <= 0.8
    assert sum(layer["load"]) == pytest.approx(layer["heads_active_mean"], abs=1e-4)
    assert layer["dead_heads"] == sum(share == 0 for share in layer["load"])
    assert set(layer["predictor_norms"]) == {"heads", "threshold", "complexity", "sharpness"}
    assert lines[-1]["gates"], "the keys that were there before still are"


def test_frozen_routers_are_not_steered_and_freed_ones_are(run: Path) -> None:
    frozen, freed = routing(run)[1]["layers"][0], routing(run)[2]["layers"][0]
    assert routing(run)[1]["update"] == 10
    assert frozen["multiplier"] == 0
    assert frozen["ranking_bias"] == [0, 0]
    assert not any(frozen["predictor_norms"].values())
    assert freed["multiplier"] != 0
    assert any(freed["ranking_bias"])
    assert all(freed["predictor_norms"].values())


def test_what_was_steered_is_saved_with_the_weights(run: Path) -> None:
    saved = read_checkpoint(run / "checkpoints" / "best.ckpt")["model"]
    (name,) = [name for name in saved if name.endswith("ranking_bias")]
    model = load(run)
    (router,) = model.backbone.routers()
    assert torch.equal(router.ranking_bias, saved[name])


def test_a_resumed_run_is_steered_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(tiny(tmp_path / "whole", ADAPTIVE), progress=False)
    cut = train(tiny(tmp_path / "parts", ADAPTIVE), progress=False)
    (cut / "checkpoints" / "last.ckpt").unlink()  # as if it had been killed before it wrote the last one
    again = train(resume=cut, progress=False)
    expected, actual = load(whole).state_dict(), load(again).state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert routing(whole) == routing(again)


def test_an_arm_without_balance_pays_nothing_for_it(tmp_path: Path) -> None:
    config = tiny(tmp_path, {"router": {"name": "learned"}, "gate": {"name": "relu"}})
    model = load(train(config, progress=False))
    (router,) = model.backbone.routers()
    assert {name for name, _ in router.named_buffers()} == {"temperature"}
    trace = model.train().backbone(torch.randn(2, 3, 16))
    assert trace.losses == {}
    assert trace.loads is None


def test_the_reported_load_is_that_of_the_gates(run: Path) -> None:
    backbone = load(run).backbone
    with torch.no_grad():
        (gates,) = backbone(torch.randn(3, 4, 16), record=True).gates[0]
    assert head_loads(gates, None).tolist() == pytest.approx((gates.weight != 0).float().mean((0, 1)).tolist())


LEARNED = {"router": "learned"}
REFUSED = [
    ({"router": "static", "balance": {"target": 2}}, "arm.balance.target=2.0", "learned"),
    ({"router": "random", "gate": "adaptive", "balance": {"target": 2}}, "arm.balance.target", "learned"),
    ({"router": "random", "gate": "top_k", "balance": {"losses": ["load_balance"]}}, "losses", "learned"),
    ({"router": "none", "balance": {"bias_rate": 0.1}}, "arm.balance.bias_rate=0.1", "ranks no heads"),
    ({**LEARNED, "gate": "soft", "balance": {"losses": ["load_balance"]}}, "load_balance", "top_k"),
    ({**LEARNED, "gate": "relu", "balance": {"losses": ["load_balance"]}}, "load_balance", "relu"),
    ({**LEARNED, "gate": "relu", "balance": {"losses": ["router_z"]}}, "router_z", "softmax"),
    ({**LEARNED, "gate": "sigmoid", "balance": {"bias_rate": 0.1}}, "bias_rate", "sigmoid"),
    ({**LEARNED, "gate": "top_p", "balance": {"losses": ["complexity"]}}, "complexity", "adaptive"),
    ({**LEARNED, "gate": "top_k", "balance": {"losses": ["sparsity"]}}, "sparsity", "relu"),
    ({**LEARNED, "gate": "top_k", "balance": {"target": 2}}, "arm.balance.target", "arm.gate.k"),
    ({**LEARNED, "gate": "top_k", "balance": {"losses": ["router_z", "router_z"]}}, "twice", "once"),
    (
        {"router": {"name": "learned", "granularity": "layer"}, "gate": "top_k", "balance": {"bias_rate": 0.1}},
        "granularity=layer",
        "token",
    ),
    ({**LEARNED, "gate": {"name": "top_p", "shared": 2}, "balance": {"target": 2}}, "target=2", "choose 3..8"),
    ({**LEARNED, "gate": "adaptive", "balance": {"target": 9}}, "target=9", "choose 1..8"),
    ({**LEARNED, "gate": {"name": "top_p", "shared": 7}}, "shared=7", "arm.gate.shared"),
]


@pytest.mark.parametrize(("plain", "named", "remedy"), REFUSED)
def test_what_cannot_work_is_refused_in_one_line(plain: dict[str, Any], named: str, remedy: str) -> None:
    with pytest.raises(InputError) as refusal:
        check(arm(plain), TaskFacts(), ModelConfig(heads=8))
    message = str(refusal.value)
    assert "arm." in message
    assert "\n" not in message
    assert named in message
    assert remedy in message


def test_an_unknown_loss_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"arm\.balance\.losses\[0\]=balance: choose one of load_balance, router_z"):
        arm({"balance": {"losses": ["balance"]}})
