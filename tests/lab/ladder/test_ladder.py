"""The ladder: it passes what is sound, and names each defect that was planted in an earlier system or in ours."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwise import cli
from headwise.errors import InputError
from headwise.lab.ladder.checks import Limits, active_range
from headwise.lab.ladder.climb import ladder
from headwise.lab.ladder.finite_differences import disagreement
from headwise.lab.outputs import LADDER
from headwise.lab.report.ladder_table import ladder_text
from headwise.routing import mixtures
from headwise.routing.attention import RoutedAttention
from headwise.routing.mixtures import preceding
from headwise.routing.routers import Learned
from headwise.training import fit
from headwise.training.configuration import load, load_arms
from headwise.training.optim import optimizer_for
from headwise.training.start import build

# Two seconds a rung, and enough to leave the floor of the synthetic corpus
TINY = [
    "task=language",
    "model.width=32",
    "model.heads=4",
    "model.ffn=32",
    "training.updates=60",
    "training.batch_size=32",
    "training.validate_every=60",
    "training.log_every=5",
    "training.preset.lr=0.005",
    "training.loggers=[]",
    "device=cpu",
]
MOH = "moh:gate.k=2"
ADAPTIVE = "adaptive:balance.target=2"


def climb(output: Path, arms: list[str], *words: str, **limits: Any) -> dict[str, Any]:
    return ladder(load_arms(arms, [*TINY, *words]), Limits(**limits), output)


def named(result: dict[str, Any], arm: str) -> dict[str, dict[str, Any]]:
    rung = next(rung for rung in result["rungs"] if rung["arm"] == arm)
    return {check["name"]: check for check in rung["checks"]}


def failed(result: dict[str, Any]) -> tuple[str, str]:
    """Arm and check at which the ladder stopped."""
    rung = result["rungs"][-1]
    assert not rung["passed"]
    assert not result["passed"]
    return rung["arm"], next(check["name"] for check in rung["checks"] if not check["passed"])


class IgnoresGates(torch.autograd.Function):
    """The defect of the published adaptive model: forward masked, backward dense."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, gates: Tensor) -> Tensor:
        return heads * gates.unsqueeze(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def combine_with_a_dense_backward(self: RoutedAttention, heads: Tensor, gates: Tensor | None) -> Tensor:
    if gates is not None:
        heads = IgnoresGates.apply(heads, gates)  # type: ignore[no-untyped-call]
    out: Tensor = self.output(heads.flatten(2))
    return out


def inclusive_with_the_wrong_sign(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The published soft form, sigmoid((C inclusive - theta)·s), in place of sigmoid((theta - C exclusive)·s)."""
    before, rank = preceding(scores)
    return 2 * 0.55 - (before + scores.softmax(-1)), rank


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return climb(tmp_path_factory.mktemp("ladder") / "clean", ["baseline", MOH, ADAPTIVE])


def test_sound_arms_pass_every_check_and_the_file_says_so(clean: dict[str, Any]) -> None:
    assert clean["passed"], clean["verdict"]
    assert clean["verdict"] == f"every check passed: baseline, {MOH}, {ADAPTIVE}"
    assert [rung["arm"] for rung in clean["rungs"]] == ["baseline", MOH, ADAPTIVE]
    directory = Path(clean["directory"])
    written = json.loads((directory / LADDER).read_text())
    assert written == clean
    for rung in written["rungs"]:
        assert (directory / rung["run"] / "summary.json").is_file()
        for check in rung["checks"]:
            assert {"name", "passed", "value", "allowed"} <= check.keys()
            assert check["passed"]
            assert not check["says"]
    assert named(clean, "baseline")["active heads"]["value"] == 4
    assert named(clean, MOH)["active heads"]["value"] == 3
    sample = named(clean, ADAPTIVE)["sample"]
    assert "User :" in sample["note"]
    assert sample["value"]
    for rung in clean["rungs"]:
        assert named(clean, rung["arm"])["gradient of gates"]["value"] < 1e-5


def test_an_arm_in_segments_is_asked_for_its_gradients_over_all_of_them(tmp_path: Path) -> None:
    """In the first segment alone the recurrent weights of its slow module, run once in two, would have none."""
    arm = "hrm_token:refinement.steps=2,refinement.segments=3"
    result = climb(tmp_path / "ladder", [arm], tolerance=1.0)
    assert named(result, arm)["gradient of every role"]["passed"], result["verdict"]


def test_causes_come_before_symptoms(clean: dict[str, Any]) -> None:
    names = [check["name"] for check in clean["rungs"][0]["checks"]]
    order = ["optimiser", "gradient of gates", "order of gates", "parameters moved", "gradient norm", "sample"]
    assert sorted(names, key=lambda name: order.index(name) if name in order else -1)[-len(order) :] == order
    assert [name for name in names if name in order] == order


def test_the_table_shows_every_rung_and_check(clean: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(width=150, file=io.StringIO(), record=True)
    for part in ladder_text(clean):
        console.print(part)
    text = console.export_text()
    assert "gradient of head outputs" in text
    assert "adaptive" in text
    assert clean["verdict"] in text


def test_the_same_output_goes_on_and_other_settings_are_refused(
    clean: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(*args: Any, **kwargs: Any) -> Path:
        raise AssertionError("trained again")

    again = ladder(load_arms([MOH], TINY), output=clean["directory"], train=no_training)
    assert again["passed"]
    (Path(clean["directory"]) / LADDER).write_text(json.dumps(clean))
    with pytest.raises(InputError, match=r"holds runs of .*training.updates=60, now 61"):
        climb(Path(clean["directory"]), [MOH], "training.updates=61")


def test_a_backward_pass_that_ignores_the_gates_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoutedAttention, "combine", combine_with_a_dense_backward)
    result = climb(tmp_path / "ladder", [ADAPTIVE, MOH], "training.updates=3")
    assert failed(result) == (ADAPTIVE, "gradient of gates")
    assert "gradient with respect to gates does not agree with finite differences" in result["verdict"]
    assert "ignores the gates" in result["verdict"]
    checks = named(result, ADAPTIVE)
    assert checks["gradient of gates"]["value"] == pytest.approx(1), "no gradient at all"
    assert checks["gradient of head outputs"]["value"] > 0.05
    assert len(result["rungs"]) == 1, "it stops there"


def test_a_backward_pass_wrong_for_head_outputs_alone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def combine(self: RoutedAttention, heads: Tensor, gates: Tensor | None) -> Tensor:
        if gates is not None:  # the gates' own gradient is right, that of the heads dense
            heads = heads + (heads.detach() * (gates.unsqueeze(-1) - 1))
        out: Tensor = self.output(heads.flatten(2))
        return out

    monkeypatch.setattr(RoutedAttention, "combine", combine)
    result = climb(tmp_path / "ladder", [MOH], "training.updates=3")
    assert failed(result) == (MOH, "gradient of head outputs")
    assert named(result, MOH)["gradient of gates"]["value"] < 1e-5


def test_dropout_that_a_task_brings_along_is_no_disagreement() -> None:
    words = ["task=parsing", "task.encoder={name: scratch, word: 8, characters: 8, hidden: 8, layers: 1}"]
    config = load([*words, "model.width=8", "model.heads=2", "model.ffn=8", "model.depth=1", "model.dropout=0.2"])
    data, model = build(config)
    errors = disagreement(model, data.split("train").batch(torch.arange(4)))
    assert max(errors.gates + errors.heads) < 1e-5


@pytest.mark.parametrize("training", ["straight_through", "soft"])
def test_an_inverted_soft_top_p_is_named(training: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixtures, "preceding", inclusive_with_the_wrong_sign)
    arm = f"adaptive:gate.training={training},balance.target=2"
    result = climb(tmp_path / "ladder", [arm], "training.updates=3")
    assert failed(result) == (arm, "order of gates")
    assert "the order of gates is broken" in result["verdict"]


def test_a_wrong_sign_in_the_gradient_alone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hard rule is right and so is every forward pass: only what trains the router is upside down."""
    right = mixtures._soft_and
    monkeypatch.setattr(mixtures, "_soft_and", lambda under, within, s: right(-under, -within, s))
    result = climb(tmp_path / "ladder", [ADAPTIVE], "training.updates=3")
    assert failed(result) == (ADAPTIVE, "order of gates")
    assert "in the soft form that trains it" in result["verdict"]
    assert "at evaluation" not in result["verdict"]


def without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Learned.__init__

    def frozen(self: Learned, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self.requires_grad_(False)

    monkeypatch.setattr(Learned, "__init__", frozen)


def with_detached_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Learned.logits
    monkeypatch.setattr(Learned, "logits", lambda self, *inputs: logits(self, *inputs).detach())


@pytest.mark.parametrize("freeze", [without_gradient, with_detached_logits])
def test_a_frozen_router_is_named(
    freeze: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze(monkeypatch)
    result = climb(tmp_path / "ladder", ["baseline", MOH])
    assert failed(result) == (MOH, "gradient of every role")
    assert f"{MOH}: the router is frozen: no gradient reaches the role controller" in result["verdict"]
    assert "router.of_input.weight" in result["verdict"]


def test_a_router_that_the_optimiser_leaves_where_it_was_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_controller(model: nn.Module, preset: Any) -> torch.optim.Optimizer:
        optimizer = optimizer_for(model, preset)
        for group in optimizer.param_groups:
            group["initial_lr"] *= group["role"] != "controller"
        return optimizer

    monkeypatch.setattr(fit, "optimizer_for", without_controller)
    result = climb(tmp_path / "ladder", [MOH], "training.updates=10")
    assert failed(result) == (MOH, "parameters moved")
    assert "the router is frozen: these parameters did not move in 10 updates" in result["verdict"]


def test_a_router_frozen_by_the_schedule_is_excepted_and_mentioned(tmp_path: Path) -> None:
    result = climb(tmp_path / "ladder", [MOH], "training.freeze_controller=0.999")
    moved = named(result, MOH)["parameters moved"]
    assert moved["passed"]
    assert "frozen by training.freeze_controller: backbone" in moved["note"]


@pytest.mark.parametrize("checked", [True, False])
def test_one_optimiser_for_two_models_is_named(checked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether training refuses it or, as in the original, nothing does."""
    shared: list[torch.optim.Optimizer] = []

    def cached(model: nn.Module, preset: Any) -> torch.optim.Optimizer:
        shared.append(shared[0] if shared else optimizer_for(model, preset))
        return shared[-1]

    monkeypatch.setattr(fit, "optimizer_for", cached)
    if not checked:
        monkeypatch.setattr(fit, "check_optimizer", lambda optimizer, model: None)
    result = climb(tmp_path / "ladder", ["baseline", MOH])
    assert result["rungs"][0]["passed"]
    assert failed(result) == (MOH, "optimiser")
    assert "one optimiser shared by two models" in result["verdict"]


def test_a_failed_rung_is_trained_again_once_it_is_mended(tmp_path: Path) -> None:
    arms, output = ["baseline"], tmp_path / "ladder"
    broken = climb(output, arms, gradient_norm=1e-6)
    assert failed(broken) == ("baseline", "gradient norm")
    assert "allowed 1e-06" in broken["verdict"]
    first = (output / "runs/baseline/seed0/summary.json").stat().st_mtime_ns
    assert climb(output, arms)["passed"]
    assert (output / "runs/baseline/seed0/summary.json").stat().st_mtime_ns > first


def test_a_loss_that_falls_behind_or_stays_at_the_floor_is_named(tmp_path: Path) -> None:
    slow = climb(tmp_path / "slow", ["baseline"], "training.updates=1")
    assert failed(slow) == ("baseline", "loss against floor")
    assert "learned nothing" in slow["verdict"]


def test_training_that_diverges_is_named_after_its_causes(tmp_path: Path) -> None:
    def diverges(config: Any, resume: Any = None, *, directory: Path | None = None, progress: bool = True) -> Path:
        raise FloatingPointError("loss nan")

    result = ladder(load_arms(["baseline"], TINY), output=tmp_path / "ladder", train=diverges)
    assert failed(result) == ("baseline", "training")
    assert result["verdict"] == "baseline: training failed: FloatingPointError: loss nan"
    names = [check["name"] for check in result["rungs"][0]["checks"]]
    assert names[-1] == "training"
    assert "gradient of gates" in names


@pytest.mark.parametrize(
    ("arm", "least", "most"),
    [
        ("baseline", 8, 8),
        ("static", 4, 4),
        ("moh", 4, 4),
        ("gated", 8, 8),
        ("adaptive", 1, 8),
        ("adaptive:gate.shared=1,gate.maximum=4", 2, 5),
        ("top_p:gate.shared=2", 3, 8),
        ("relu", 0, 8),
    ],
)
def test_the_range_of_active_heads_follows_from_the_gate_function(arm: str, least: int, most: int) -> None:
    ((_, config),) = load_arms([arm], ["task=language"])
    assert active_range(config) == (least, most)


def test_an_oracle_may_close_all_heads_but_those_that_see_everything() -> None:
    ((_, config),) = load_arms(["oracle"], ["task=walk"])
    assert active_range(config) == (2, 8)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["arms=[baseline,mho]"], ["arm=mho", "did you mean moh?"]),
        (["arms=[]"], ["arms=[]", "at least one"]),
        (["arms=baseline"], ["arms=baseline", "expected a list"]),
        (["arms=[baseline,baseline]"], ["named twice"]),
        (["arms=[baseline,hrm]"], ["arm.router.granularity=sequence", "causal"]),
        (["arms=[moh]", "model.heads=2", "model.width=32"], ["shared", "2 heads"]),
        (["tolerance=2"], ["tolerance=2", "0 to 1"]),
        (["gradient_norm=0"], ["gradient_norm=0", "above 0"]),
        (["gradient_norm=much"], ["gradient_norm=much", "expected a number"]),
        (["training.updates=0"], ["updates=0", "1 or more"]),
        (["arm=moh"], ["arms=[first,second]"]),
        (["task.corpus=missing.txt"], ["missing.txt"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ladder"
    assert cli.main(["ladder", "task=language", f"output={output}", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in parts), captured.err
    assert not output.exists()


def test_the_command_prints_json_and_ends_in_1_where_a_rung_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "training.updates=1", "arms=[baseline,moh]", f"output={tmp_path / 'ladder'}", "--json"]
    assert cli.main(["ladder", *words]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"].startswith("baseline: loss is")
    assert not result["rungs"][0]["passed"]
    assert result == json.loads((tmp_path / "ladder" / LADDER).read_text())
