"""Words on a command line become a configuration, or one line that says which word is wrong and what is allowed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.sizes import SIZES, ModelConfig
from headwise.reasoning.controllers import HRMConfig, NoController
from headwise.routing import GATES
from headwise.routing.gates import Gumbel, Soft, TopK
from headwise.tasks import TASKS
from headwise.training import overrides
from headwise.training import presets as presets_module
from headwise.training.config import RunConfig
from headwise.training.configuration import load, load_arms
from headwise.training.overrides import parse
from headwise.training.presets import CONF, presets

ARMS = presets("arm")
PROMISED = [
    "baseline",
    "looped",
    "gated",
    "static",
    "random",
    "linear",
    "classical",
    "hrm",
    "hrm_token",
    "hrm_act",
    "pointer",
    "gated_12",
    "gated_elementwise",
    "composed",
]


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        load(list(words))
    message = str(caught.value)
    assert "\n" not in message
    return message


# What the files hold


def test_every_promised_arm_is_a_short_file_with_a_description() -> None:
    assert set(PROMISED) <= set(ARMS)
    for name, description in ARMS.items():
        assert description, f"arm/{name}.yaml has no comment on its first line"
        assert len((CONF / "arm" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()) <= 15


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_is_accepted_and_its_resolved_form_reads_back_as_the_same(name: str) -> None:
    config = load([*(["task=walk"] if name == "oracle" else []), f"arm={name}"])  # which needs to be told the way
    assert config.name == name
    assert RunConfig.from_plain(config.to_plain()) == config


def test_a_preset_of_a_task_may_bring_a_recipe_of_its_own() -> None:
    hints, plain = load(["task=sorting_hints"]), load(["task=sorting"])
    assert (hints.model.ffn, hints.training.updates, hints.training.preset.lr) == (128, 300, 0.005)
    assert plain.training == load([]).training
    assert load(["task=sorting_hints", "training.updates=7"]).training.updates == 7
    assert load(["task=sorting", "task.hint_span=1"]).training == plain.training


def test_a_task_brings_its_recipe_along_and_everything_that_is_said_goes_before_it() -> None:
    walk, plain = load(["task=walk"]), load([])
    assert (walk.model.width, walk.training.updates, walk.training.preset.lr) == (64, 3000, 0.002)
    assert walk.training.batch_size == plain.training.batch_size
    quick = load(["task=walk", "quick=true", "model.width=32"])
    assert (quick.model.width, quick.model.ffn, quick.training.updates) == (32, 128, 50)
    chosen = load(["task=walk", "training=gradual"])
    assert chosen.training == load(["training=gradual"]).training
    assert chosen.model == walk.model
    sized = load(["task=walk", "model.size=tiny", "model.structural_heads={r1: 2}"])
    assert (sized.model.width, sized.model.structural_heads) == (128, {"r1": 2})
    base = replace(walk, model=replace(walk.model, width=16)).to_plain()
    assert load(["seed=1"], base).model.width == 16, "a run that goes on keeps what it has"
    other = load_arms(["looped", "baseline:model.width=32"], ["task=walk"])
    assert [config.model.width for _, config in other] == [64, 32]


@pytest.mark.parametrize("name", presets("training"))
def test_a_recipe_is_accepted(name: str) -> None:
    assert load([f"training={name}"]).training == load(["arm=hrm", f"training={name}"]).training


def test_baseline_is_the_default_of_every_dataclass() -> None:
    config = load(["arm=baseline"])
    assert config.arm == Arm()
    assert config.model == ModelConfig()


def test_looped_is_the_loop_of_hrm_without_its_router() -> None:
    looped, hrm = load(["arm=looped"]).arm, load(["arm=hrm"]).arm
    assert looped.refinement == hrm.refinement
    assert isinstance(looped.controller, NoController)
    assert isinstance(hrm.controller, HRMConfig)


# What an override does


def test_a_value_may_be_set_that_the_file_does_not_mention() -> None:
    assert "k" not in (CONF / "arm" / "hrm.yaml").read_text(encoding="utf-8").split()
    assert load(["arm=hrm", "arm.gate.name=top_k", "arm.gate.k=3"]).arm.gate == TopK(k=3)


def test_the_order_of_the_words_does_not_matter_where_one_refines_the_other() -> None:
    words = ["arm=hrm", "arm.gate=top_k", "arm.gate.k=3", "model.size=small", "model.width=512"]
    assert load(words) == load(words[::-1])
    assert load(words).model == ModelConfig(width=512, heads=4, ffn=1024, depth=3)


def test_of_two_words_for_one_key_the_later_wins() -> None:
    assert load(["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("word", ["arm.gate=soft", "arm.gate.name=soft", "arm.gate={name: soft}"])
def test_another_name_takes_the_settings_of_the_old_one_away(word: str) -> None:
    assert load(["arm=pointer", "arm.gate.k=4"]).arm.gate == TopK(k=4)
    assert load(["arm=pointer", word]).arm.gate == Soft()


@pytest.mark.parametrize("word", ["arm.controller=hrm", "arm.controller.name=hrm", "arm.controller={name: hrm}"])
def test_the_same_name_again_keeps_the_settings(word: str) -> None:
    assert load(["arm=pointer", word]).arm.controller == load(["arm=pointer"]).arm.controller


def test_a_name_set_beside_a_setting_of_the_new_one() -> None:
    assert load(["arm=pointer", "arm.gate.k=1", "arm.gate=gumbel"]).arm.gate == Gumbel(k=1)


def test_a_mapping_merges_and_a_tilde_goes_back_to_the_default() -> None:
    steps = load(["arm=hrm"]).arm.refinement.steps
    merged = load(["arm=hrm", "arm.refinement={supervision: ramp}"]).arm.refinement
    assert (merged.steps, merged.supervision) == (steps, "ramp")
    assert load(["arm=hrm_act", "~arm.gate"]).arm.gate == Soft()


def test_a_model_size_is_a_shape_that_single_values_refine() -> None:
    assert load(["model.size=tiny"]).model == SIZES["tiny"]


def test_a_path_is_taken_as_it_is_typed() -> None:
    path = "/data/a b=c,[d]/ü"
    assert load([f"output={path}"]).output == path
    assert load([f"cache={path}"]).cache == path
    assert load(["cache=null"]).cache is None


def test_lists_numbers_words_and_null_are_read_as_hydra_reads_them() -> None:
    assert [parse(f"x={text}").value for text in ("[1,a]", "3e-4", "true", "null", "'a b'")] == [
        [1, "a"],
        3e-4,
        True,
        None,
        "a b",
    ]


def test_a_saved_run_is_a_base_that_keeps_what_is_not_named() -> None:
    base = load(["arm=pointer", "arm.gate.k=3", "seed=7", "task.length=12"]).to_plain()
    assert load([], base).to_plain() == base
    changed = load(["arm=hrm", "task.length=16"], base)
    assert (changed.name, changed.seed, changed.task.length) == ("hrm", 7, 16)
    assert changed.arm == load(["arm=hrm"]).arm


def test_what_is_put_together_once_stays_as_it_was_and_a_changed_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One composition serves all loads of the same files, for as long as these do not change."""
    steps = load(["arm=hrm"]).arm.refinement.steps
    assert load(["arm=hrm", f"arm.refinement.steps={steps + 1}"]).arm.refinement.steps == steps + 1
    assert load(["arm=hrm"]).arm.refinement.steps == steps
    shutil.copytree(CONF, tmp_path / "conf")
    for module in (presets_module, overrides):
        monkeypatch.setattr(module, "CONF", tmp_path / "conf")
    arm = tmp_path / "conf" / "arm" / "looped.yaml"
    before = load(["arm=looped"]).arm.refinement
    arm.write_text("refinement: {steps: 31}\n", encoding="utf-8")
    assert load(["arm=looped"]).arm.refinement.steps == 31 != before.steps


# quick=true


def test_quick_changes_values_that_the_resolved_configuration_shows() -> None:
    quick, full = load(["quick=true"]), load([])
    assert quick.quick
    assert not full.quick
    assert quick.training.updates < full.training.updates
    assert quick.arm == full.arm


def test_what_is_typed_wins_over_quick_in_any_order() -> None:
    assert load(["training.updates=7", "quick=true"]).training.updates == 7
    assert load(["training={updates: 7}", "quick=true"]).training.updates == 7


def test_the_environment_can_make_every_run_quick_unless_the_words_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWISE_QUICK", "1")
    assert load([]) == load(["quick=true"])
    assert not load(["quick=false"]).quick
    full = load(["quick=false"]).to_plain()
    assert load([], full).to_plain() == full, "a saved run is not cut down afterwards"


def test_every_task_has_quick_values() -> None:
    assert set(presets("quick")) == {*TASKS, "default"}


# Arms of a comparison


def test_arms_of_a_comparison_carry_overrides_of_their_own() -> None:
    labels = ["baseline", "hrm:refinement.steps=12", "hrm:gate={name:top_k,k:2},controller.period=2:model.depth=2"]
    arms = dict(load_arms(labels, ["seed=3", "task.length=12"]))
    assert list(arms) == labels
    assert [config.name for config in arms.values()] == labels
    assert all((config.seed, config.task.length) == (3, 12) for config in arms.values())
    second, third = (arms[label] for label in labels[1:])
    assert second.arm.refinement.steps == 12
    assert third.arm.gate == TopK(k=2)
    assert third.arm.controller == HRMConfig(period=2)
    assert third.model.depth == 2
    assert second.model == arms["baseline"].model


def test_an_arm_of_a_comparison_may_have_a_name_of_its_own() -> None:
    labels = ["baseline", "slow=hrm:controller.period=5", "mask = baseline:router={name: learned, granularity: layer}"]
    arms = dict(load_arms([*labels, "again=gated"], ["task.length=12"]))
    assert list(arms) == ["baseline", "slow", "mask", "again"]
    assert [arms[name].name for name in ("slow", "mask")] == ["slow", "mask"]
    assert arms["slow"].arm == load(["arm=hrm", "arm.controller.period=5"]).arm
    assert arms["mask"].arm.router.granularity == "layer"
    assert arms["again"].arm == load(["arm=gated"]).arm


@pytest.mark.parametrize(
    ("labels", "words", "parts"),
    [
        ([], [], ["arms=[]", "baseline"]),
        (["hrm", "hrm"], [], ["hrm is named twice"]),
        (["hmr"], [], ["arm=hmr", "hrm", "did you mean hrm?"]),
        (["hrm:task.length=3"], [], ["task.length=3", "equal for all arms"]),
        (["hrm:training.updates=3"], [], ["training.updates=3", "equal for all arms"]),
        (["hrm:refinement.stps=3"], [], ["arm.refinement.stps=3", "did you mean steps?"]),
        (["hrm:refinement.steps"], [], ["refinement.steps", "key=value"]),
        (["hrm"], ["arm=baseline"], ["arms=[first,second]"]),
        (["my arm=hrm"], [], ["my arm before = is no name", "letters, digits"]),
        (["=hrm"], [], ["nothing before = is no name"]),
        (["a=hrm", "a=gated"], [], ["a is named twice"]),
        (["a=hmr"], [], ["arm=hmr", "did you mean hrm?"]),
        (["a="], [], ["arm="]),
        ([" " * 50_000 + "x"], [], ["longer than"]),
        (["./a=b.yaml"], [], ["a=b.yaml: not found"]),
    ],
)
def test_a_wrong_arm_of_a_comparison_is_one_line(labels: list[str], words: list[str], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_arms(labels, words)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


# Bad input: the key, the value, what is allowed


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["arm=hmr"], ["arm=hmr", "unknown", "baseline", "did you mean hrm?"]),
        (["task=srting"], ["task=srting", "unknown", "did you mean sorting?"]),
        (["training=gradaul"], ["training=gradaul", "uniform", "did you mean gradual?"]),
        (["arm.gaet.k=2"], ["arm.gaet", "unknown key", "router, gate", "did you mean gate?"]),
        (["sede=1"], ["sede=1", "unknown key", "did you mean seed?"]),
        (["training.udpates=5"], ["training.udpates=5", "did you mean updates?"]),
        (["task.lenght=5"], ["task.lenght=5", "did you mean length?"]),
        (["model.size=smal"], ["model.size=smal", "tiny", "did you mean small?"]),
        (["model.size=[1]"], ["model.size=[1]", "tiny"]),
        (["arm=hrm", "arm.gate=topk"], ["arm.gate.name=topk", *GATES, "did you mean top_k?"]),
        (["arm=hrm", "arm.gate.name=[a]"], ["arm.gate.name=['a']", "expected a word"]),
        (["arm=hrm", "arm.gate={name: [a]}"], ["arm.gate.name=['a']", "expected a word"]),
        (["arm=hrm", "arm.gate.k=2"], ["arm.gate.k=2", "unknown key"]),
        (["arm=pointer", "arm.gate.k=9"], ["9", "8 heads", "1..8", "arm.gate.k"]),
        (["arm=hrm", "arm.refinement.gradient=ful"], ["gradient=ful", "full, truncated, last", "did you mean full?"]),
        (["arm=hrm", "arm.refinement.steps=0"], ["steps=0", "at least 1", "arm.refinement"]),
        (["arm=hrm", "arm.refinement.steps=2.5"], ["steps=2.5", "a whole number"]),
        (["arm=hrm", "arm.refinement.steps=2"], ["period", "steps"]),
        (["arm=baseline", "arm.controller=hrm"], ["arm.controller.name=hrm", "arm.router.name=learned"]),
        (["arm=gated_12", "arm.router.reads=129"], ["arm.router.reads=129", "128 dimensions", "1..128"]),
        (["arm=gated_12", "arm.router.reads=0"], ["reads=0", "at least 1", "arm.router"]),
        (["arm=gated_12", "arm.router.granularity=layer"], ["arm.router.reads=12", "reads no input", "use null"]),
        (["arm=hrm", "arm.router.reads=12"], ["arm.router.reads=12", "the controller alone", "granularity=token"]),
        (["arm.output_gate=headwise"], ["arm.output_gate=headwise", "none, elementwise"]),
        (["arm.composition_rank=-1"], ["composition_rank=-1", "at least 1, or 0"]),
        (["arm.composition_rank=9"], ["arm.composition_rank=9", "8 heads", "1..8"]),
        (["arm.composition_rank=1", "model.heads=1"], ["arm.composition_rank=1", "single head", "more model.heads"]),
        (
            ["arm=hrm_token", "arm.composition_rank=2", "arm.refinement.reuse=heads"],
            ["arm.composition_rank=2", "reuse=heads", "use reuse=keys_values or none"],
        ),
        (
            ["task=maze", "arm.composition_rank=2", "model.structural_heads=2"],
            ["arm.composition_rank=2", "where it may not", "model.structural_heads=0"],
        ),
        (["model.width=wide"], ["model.width=wide", "a whole number"]),
        (["model.heads=7"], ["heads=7", "width=128", "divisor"]),
        (["training.warmup=1.5"], ["warmup=1.5", "longer than the run", "warmup < 1"]),
        (["training.updates=0"], ["updates=0", "1 or more"]),
        (["training.preset.lr=-1"], ["lr=-1", "above 0"]),
        (["training.preset.lr=nan"], ["training.preset.lr=nan", "a finite number"]),
        (["task.mask_rate=0.95"], ["task.mask_rate=0.95", "at least 2", "mask_rate <= 0.9"]),
        (["task.mask_rate=2"], ["task.mask_rate=2", "0..1"]),
        (["seed=-1"], ["seed=-1", "0 or more"]),
        (["seed=one"], ["seed=one", "a whole number"]),
        (["device=gpu"], ["device=gpu", "auto, cpu, cuda, mps", "did you mean cuda?"]),
        (["seed.x=1"], ["seed={'x': 1}", "a whole number"]),
        (["arm.gate.k=1,2"], ["arm.gate.k=1,2", "[1,2]"]),
        (["arm.refinement.steps=range(1,4)"], ["arm.refinement.steps=range(1,4)", "several values"]),
        (["steps"], ["steps", "key=value"]),
        (["arm..gate=1"], ["arm..gate=1", "cannot be read"]),
        (["name=ü"], ["name=ü", "cannot be read", "write 'name=\"ü\"'"]),
        (["~arm.refinement.stps"], ["~arm.refinement.stps", "not set"]),
        (["quick=maybe"], ["quick=maybe", "true or false"]),
    ],
)
def test_a_mistake_is_one_line_with_the_key_the_value_and_what_is_allowed(words: list[str], parts: list[str]) -> None:
    message = refusal(*words)
    for part in parts:
        assert part in message
