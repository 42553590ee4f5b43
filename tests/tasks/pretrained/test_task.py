"""task=pretrained: equal to the model at the start, trains what it is told, saves that, resumes bit for bit."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.sizes import ModelConfig
from headwise.pretrained.contributions import observed
from headwise.pretrained.retrofit import retrofit
from headwise.pretrained.warm_start import observe
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.halting import EntropyHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.balance import BalanceConfig
from headwise.routing.fixed_routers import StaticRouter
from headwise.routing.gates import Sigmoid, Soft, TopK
from headwise.routing.mixtures import ReLU, SharedRouted
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit
from headwise.tasks.pretrained import data, language_model, references, starting
from headwise.tasks.pretrained.data import PretrainedData, split_tokens
from headwise.tasks.pretrained.starting import calibrating
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import RunConfig
from headwise.training.evaluation import evaluate, load
from headwise.training.run import train
from headwise.training.start import build
from tests.tasks.pretrained.runs import FEW, TOP, config, run_config
from tests.training.test_resume import differing, final_state, interrupted_run

pytest.importorskip("transformers", reason="the extra hf is not installed")
SOFT = Arm(LearnedRouter(), Soft())


def test_routers_at_zero_leave_the_model_as_it_was(tmp_path: Path) -> None:
    own, model = build(run_config(tmp_path, SOFT))
    batch = own.split("test").batch(torch.arange(3))
    with torch.no_grad():
        trace = model.eval()(batch, record=True)
        prediction = model.task.read_out(trace.states[-1], batch)
        plain = language_model.opened("tiny")[0](batch["tokens"]).logits
    torch.testing.assert_close(prediction, plain, rtol=0, atol=1e-5)
    metrics = model.task.metrics(prediction, batch)
    assert metrics["added"].abs().max() < 1e-5
    torch.testing.assert_close(metrics["loss"], own.references(own.split("test"))["untouched"])
    assert [gates.weight.shape for gates in trace.gates[0]] == [(3, 16, 4)] * 2


def test_the_references_are_those_of_the_same_blocks() -> None:
    own = PretrainedData(config(), 0)
    source = own.split("test")
    found = own.references(source)
    tokens = source.batch(torch.arange(3))["tokens"]
    seen = own.split("train").tokens.flatten()
    counts = torch.tensor([(seen == token).sum() + 1 for token in tokens[0, 1:]]).double()
    assert found["floor"][0].item() == pytest.approx(-(counts / (len(seen) + 256)).log().mean().item(), abs=1e-5)
    model = language_model.opened("tiny")[0]
    for block, value in zip(tokens, found["untouched"], strict=True):
        assert model(block[None], labels=block[None]).loss.item() == pytest.approx(value.item(), abs=1e-5)


def test_the_oracle_has_at_each_token_the_heads_that_add_most() -> None:
    """Layer by layer, so that what a layer adds is seen below the choices of those before it."""
    own = PretrainedData(config(keep=0.5), 0)
    source = own.split("test")
    tokens, model = source.batch(torch.arange(3))["tokens"], language_model.opened("tiny")[0]
    added = retrofit(model.base_model, Arm())
    gates: list[torch.Tensor | None] = [None] * len(added.sites)
    norms: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for layer in range(len(gates)):
            with added.forced(gates), observed(added.sites, lambda number, x, found: norms.update({number: found})):
                model(tokens)
            gates[layer] = (norms[layer] >= norms[layer].sort(-1).values[..., -2:-1]).float()
        with added.forced(gates):
            plain = language_model.nats(model(tokens).logits, tokens).mean(1)
    added.remove()
    found = own.references(source)
    torch.testing.assert_close(found["oracle"], plain)
    assert not found["oracle"].equal(found["untouched"])
    assert not any(module._forward_pre_hooks for module in model.modules())
    over = PretrainedData(config(keep=0.5, over="model"), 0).references(source)["oracle"]
    assert not over.equal(found["oracle"])
    assert "oracle" not in PretrainedData(config(), 0).references(source)


@pytest.mark.parametrize(
    ("settings", "arm", "trained"),
    [
        ({"train": "none"}, TOP, set()),
        ({"train": "routers"}, Arm(), set()),
        ({"train": "routers"}, TOP, {"headwise"}),
        ({"train": "all"}, TOP, {"headwise", "q_proj", "embed_tokens", "norm", "input_layernorm"}),
    ],
)
def test_what_is_trained_is_what_was_asked_for(settings: dict, arm: Arm, trained: set, tmp_path: Path) -> None:
    _, model = build(run_config(tmp_path, arm, **settings))
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parts = {part for name in names for part in name.split(".")}
    assert trained <= parts
    if trained <= {"headwise"}:
        assert all(".headwise." in name for name in names)
        assert bool(names) == bool(trained)


@pytest.mark.parametrize("train_what", ["routers", "lora", "all"])
def test_a_run_stopped_half_way_and_resumed_is_the_uninterrupted_one(
    train_what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if train_what == "lora":
        pytest.importorskip("peft", reason="the package peft is not installed")
    settings = run_config(tmp_path / "whole", replace(TOP, balance=BalanceConfig(bias_rate=0.01)), train=train_what)
    whole = train(settings, progress=False)
    stopped = interrupted_run(replace(settings, output=str(tmp_path / "parts")), monkeypatch, 3)
    train(resume=stopped, progress=False)
    assert differing(final_state(whole), final_state(stopped)) == []
    assert (whole / "model.safetensors").read_bytes() == (stopped / "model.safetensors").read_bytes()
    again = evaluate(whole)
    summary = json.loads((whole / "summary.json").read_text())
    assert again["metrics"] == pytest.approx(summary["metrics"], abs=1e-6)
    assert summary["value"] == pytest.approx(float(np.load(whole / "test_values.npy").mean()), abs=1e-6)


def test_what_is_not_trained_is_not_saved_and_what_lies_below_must_be_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(run_config(tmp_path, training={"ema": 0.9}), progress=False)
    content = read_checkpoint(run / "checkpoints" / "best.ckpt")
    for state in (content["model"], content["average"], load(run).state_dict()):
        assert state
        assert all(".headwise." in name for name in state)
    parameters = sum(value.numel() for value in load(run).parameters())
    assert sum(value.numel() for value in content["model"].values()) < parameters / 20
    monkeypatch.setattr(language_model, "digest", lambda name: "of others")
    with pytest.raises(InputError, match=r"task.model=tiny: its weights are not those that the run was trained on"):
        load(run)


@pytest.mark.parametrize("arm", [Arm(), Arm(StaticRouter(3))], ids=["untouched", "static"])
def test_an_arm_with_nothing_to_train_is_scored_as_it_is(arm: Arm, tmp_path: Path) -> None:
    run = train(run_config(tmp_path, arm), progress=False)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["updates"] == summary["selected_update"] == 0
    assert summary["heads_executed_mean"] == 4
    assert summary["heads_active_mean"] == (4 if arm == Arm() else 3)
    assert (abs(summary["metrics"]["added"]) < 1e-6) == (arm == Arm())
    assert train(resume=run, progress=False) == run


def test_routers_learn_under_a_budget(tmp_path: Path) -> None:
    arm = Arm(LearnedRouter(), ReLU())
    training = {"updates": 60, "preset": {"name": "uniform", "lr": 0.03}, "validate_every": 60}
    settings = run_config(tmp_path, arm, training, keep=0.75)
    assert settings.arm.balance.target == 3
    summary = json.loads((train(settings, progress=False) / "summary.json").read_text())
    assert 2 < summary["heads_active_mean"] < 3.8


@pytest.mark.parametrize(
    ("arm", "keep", "attribute", "value"),
    [
        (TOP, 0.5, "gate.k", 2),
        (Arm(StaticRouter(1)), 0.75, "router.k", 3),
        (Arm(LearnedRouter("layer"), TopK(1)), 0.75, "gate.k", 3),
        (Arm(LearnedRouter(), SharedRouted(1, 1)), 0.75, "gate.k", 2),
        (Arm(LearnedRouter(), ReLU()), 0.6, "balance.target", 2.4),
        (Arm(), 0.5, "router.granularity", None),
    ],
)
def test_a_share_becomes_a_number_of_heads(
    arm: Arm, keep: float, attribute: str, value: object, tmp_path: Path
) -> None:
    settings = run_config(tmp_path, arm, keep=keep)
    found: object = settings.arm
    for part in attribute.split("."):
        found = getattr(found, part)
    assert found == value
    assert settings.model.heads == 4
    assert RunConfig.from_plain(settings.to_plain()) == settings


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (Arm(LearnedRouter(), Unit(3)), Arm(LearnedRouter(), Unit(), balance=BalanceConfig(target=3, over="model"))),
        (Arm(LearnedRouter(), ReLU()), Arm(LearnedRouter(), ReLU(), balance=BalanceConfig(target=3, over="model"))),
        (Arm(StaticRouter(1)), Arm(StaticRouter(3))),
    ],
)
def test_a_share_of_the_model_is_a_budget_over_the_model(arm: Arm, expected: Arm, tmp_path: Path) -> None:
    assert run_config(tmp_path, arm, keep=0.75, over="model").arm == expected


def heads_on(arm: Arm, folder: Path, keep: float = 0.75) -> list[float]:
    """Of each layer, of a start over the model with a share of all heads."""
    _, model = build(run_config(folder, arm, start="ridge", keep=keep, over="model"))
    stack, loads = model.task._stack[0].retrofitted, []
    with torch.no_grad():
        for batch in split_tokens(config())[0].split(8):
            model.eval()({"tokens": batch})
            loads.append(torch.stack([load.sum() for load in stack.loads()]))
    found: list[float] = torch.stack(loads).mean(0).tolist()
    assert sum(found) / 8 == pytest.approx(keep, abs=0.05)
    return found


def test_a_start_over_the_model_has_that_share_on_and_more_where_heads_say_more(tmp_path: Path) -> None:
    first, second = heads_on(Arm(LearnedRouter(), Unit()), tmp_path)
    assert first != second


@pytest.mark.parametrize("arm", [Arm(LearnedRouter("layer"), Unit()), Arm(StaticRouter(3))], ids=["layer", "static"])
def test_what_is_fixed_starts_as_the_best_fixed_choice(
    arm: Arm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[float]()

    def chosen(*given: Any, over_model: bool) -> list[Tensor]:
        assert over_model
        asked.append(given[-1])
        return [torch.tensor([1.0, -1, 1, -1]), torch.ones(4) if given[-1] > 0.5 else -torch.ones(4)]

    monkeypatch.setattr(starting, "_CHOSEN", {})
    monkeypatch.setattr(starting, "best_fixed_choice", chosen)
    assert heads_on(arm, tmp_path / "one") == heads_on(arm, tmp_path / "two") == [2, 4]
    assert asked == [0.75]  # once for both
    assert heads_on(arm, tmp_path / "fewer", keep=0.25) == [2, 0]
    assert asked == [0.75, 0.25]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": Arm(LearnedRouter(), controller=HRMConfig())}, "arm.controller.name=hrm: .*applied once; use none"),
        ({"arm": Arm(LearnedRouter(), halting=EntropyHalting())}, "arm.halting.name=entropy: .*use fixed"),
        ({"arm": Arm(refinement=RefinementConfig(steps=3))}, "arm.refinement.steps=3: .*applied once; use 1"),
        ({"arm": Arm(LearnedRouter(), combine="mixture")}, "arm.combine=mixture: .*keeps its own attention"),
        ({"arm": Arm(LearnedRouter("sequence"))}, "granularity=sequence: in a causal model"),
        ({"keep": 0.1}, "task.keep=0.1: less than one of a layer's 4 heads; choose 0.25 or more"),
        ({"keep": 0.5, "arm": Arm(LearnedRouter(), Sigmoid())}, "gate sigmoid switches no head off"),
        ({"keep": 0.5, "over": "model"}, "gate top_k has as many heads on in each layer; use gate unit"),
        ({"over": "model"}, "task.over=model: says what task.keep is a share of"),
        ({"arm": Arm(LearnedRouter(), TopK(5))}, "top_k=5 but the block has 4 heads"),
        ({"model": "/nowhere"}, "model=/nowhere: no such folder"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        run_config(tmp_path, **{"arm": TOP} | changes)


def test_the_shape_is_the_models_own(tmp_path: Path) -> None:
    settings = run_config(tmp_path)
    assert (settings.model.width, settings.model.depth) == (16, 2)
    with pytest.raises(InputError, match=r"model.width=64: task.model=tiny has 16"):
        replace(settings, model=ModelConfig(width=64))


def test_adapters_need_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"task\.train=lora: needs the package peft"):
        run_config(tmp_path, train="lora")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("short", {}, r"task.data=.*: the text has 5 tokens, less than one block of 16"),
        ("a rose is a rose " * 4, {}, r"4 blocks of 16 tokens, but validation and test take 5"),
        ("  \n", {}, "holds no text"),
        ("word " * 200, {"context": 500}, r"task.context=500: tiny reads 256 tokens"),
        (None, {}, "cannot be read as text"),
    ],
)
def test_a_text_that_does_not_do_is_named(text: str | None, settings: dict, message: str, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=message):
        PretrainedData(config(data=str(file), **settings), 0)


def test_a_file_gives_its_end_to_test_and_no_block_to_two_splits(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("".join(chr(33 + number // 16) for number in range(16 * 40)))
    own = PretrainedData(config(data=str(file), train_blocks=10), 0)
    splits = [own.split(name).tokens for name in ("train", "validation", "test")]
    assert [len(tokens) for tokens in splits] == [10, FEW["validation_blocks"], FEW["test_blocks"]]
    rows = [tuple(row) for tokens in splits for row in tokens.tolist()]
    assert len(set(rows)) == len(rows)


def test_the_untouched_losses_are_kept_and_damage_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untouched() -> torch.Tensor:
        monkeypatch.setattr(references, "_KNOWN", {})  # of another process
        return data.PretrainedData(config(), 0, tmp_path).split("test").batch(torch.arange(3))["untouched"]

    first = untouched()
    (file,) = (tmp_path / "pretrained").iterdir()
    np.save(file, np.full(3, 7, np.float32))
    assert untouched().tolist() == [7] * 3
    file.write_bytes(b"half")
    assert untouched().equal(first)


def test_another_text_is_scored_beside(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("to be or not to be, that is the question " * 10)
    run = train(run_config(tmp_path / "runs", Arm(), other=str(other)), progress=False)
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert abs(metrics["other_added"]) < 1e-6
    assert metrics["other_loss"] != metrics["loss"]
    analysis = json.loads((run / "analysis.json").read_text())
    assert analysis["tables"][0]["rows"][0][:2] == [str(other), 3]


@pytest.mark.parametrize(
    "arm",
    [Arm(LearnedRouter(), Unit(3)), Arm(LearnedRouter("layer"), Unit(3)), Arm(StaticRouter(3))],
    ids=["token", "layer", "static"],
)
def test_a_start_from_contributions_keeps_the_heads_that_say_most(arm: Arm, tmp_path: Path) -> None:
    _, model = build(run_config(tmp_path, arm, start="ridge"))
    blocks = split_tokens(config())[0][:8]
    stack = model.task._stack[0].retrofitted
    kept, left = [], []
    for batch in blocks.split(1):
        seen = observe(stack, {"input_ids": batch})
        with torch.no_grad():
            model.eval()({"tokens": batch})
        for (_, norms), gates in zip(seen.values(), stack.gates(), strict=True):
            on = gates.active.expand(1, 16, 4)[0]
            assert (on.sum(1) == 3).all()
            kept.append(norms[on].log())
            left.append(norms[~on].log())
    assert torch.cat(kept).mean() > torch.cat(left).mean() + 0.05


def test_heads_are_chosen_from_blocks_all_over_the_text() -> None:
    blocks = torch.arange(400)[:, None].expand(-1, 256)
    seen = [int(block[0, 0]) for block in calibrating(blocks)]
    assert len(seen) == len(set(seen)) == 32
    assert (seen[0], seen[-1]) == (0, 399)
    assert max(b - a for a, b in itertools.pairwise(seen)) <= 13
    assert [int(block[0, 0]) for block in calibrating(blocks[:5])] == [0, 1, 2, 3, 4]
