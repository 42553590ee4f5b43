"""What a sweep tries: words with several values, the base among the settings, and what is refused."""

import math
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.lab.sweep.plan import choose, prepare
from headwise.lab.sweep.space import Settings, read_space, settings_of, shown
from headwise.tasks import TASKS
from headwise.training import configuration
from headwise.training.presets import files, presets
from tests.lab.sweep.conftest import PERIOD, STEPS, WORDS, space_of


def grid(*words: str) -> Settings:
    space = space_of(*words)
    return settings_of(space, list(space.grid()))


def test_a_grid_holds_every_combination_and_the_base_bears_its_label_and_comes_first() -> None:
    settings = grid(PERIOD, STEPS)
    labels = {f"controller.period={p},refinement.steps={s}" for p in (2, 3, 4) for s in (6, 9)}
    assert set(settings.configs) == labels
    assert settings.base == "controller.period=4,refinement.steps=6" == next(iter(settings.configs))
    for label, config in settings.configs.items():
        period, steps = (int(part.partition("=")[2]) for part in label.split(","))
        expected = configuration.load([*WORDS, f"arm.controller.period={period}", f"arm.refinement.steps={steps}"])
        assert config.to_plain() == {**expected.to_plain(), "name": label}


def test_a_base_that_is_no_combination_is_a_setting_of_its_own() -> None:
    settings = grid("arm.controller.period=2,3")
    assert list(settings.configs) == ["base", "controller.period=2", "controller.period=3"]
    assert settings.configs["base"].arm.controller == configuration.load(WORDS).arm.controller
    assert "base" not in settings.values


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("training.updates=10,20", ("10", "20")),
        ("training.updates=choice(10,20)", ("10", "20")),
        ("training.updates=range(10,31,10)", ("10", "20", "30")),
        ("training.preset.lr=range(0.1,0.35,0.1)", ("0.1", "0.2", "0.3")),
        ("arm=glob(hrm*)", ("hrm", "hrm_act", "hrm_original", "hrm_token")),
        ("arm=glob(hrm*,exclude=hrm_act)", ("hrm", "hrm_original", "hrm_token")),
        ("arm.gate=soft,{name: top_k, k: 2}", ("soft", "{name:top_k,k:2}")),
        ("training.preset.betas=[0.9,0.98],[0.8,0.9]", ("[0.9,0.98]", "[0.8,0.9]")),
    ],
)
def test_values_are_given_in_hydras_grammar(word: str, values: tuple[str, ...]) -> None:
    (swept,) = read_space([word]).swept
    assert swept.values == values


def test_a_path_with_a_comma_is_one_path() -> None:
    space = read_space(["task=maze", "task.file=a,b.npz", "cache=x,y", PERIOD, "arm=hrm"])
    assert space.keys == ("arm.controller.period",)
    assert (space.base.task.file, space.base.cache) == ("a,b.npz", "x,y")


def test_keys_are_named_without_their_group_unless_two_would_be_called_the_same() -> None:
    assert space_of("arm=hrm,hrm_token", PERIOD).names == ("arm", "controller.period")
    assert space_of("arm.controller.width=8,16", "model.width=32,64").names == ("controller.width", "width")
    names = space_of("arm.controller.dropout=0.1,0.2", "model.dropout=0,0.1", "training.ema=0.9,0.99").names
    assert names == ("controller.dropout", "dropout", "ema")
    assert read_space(["task=maze", "task.size=4,6", "model.size=tiny,small"]).names == ("task.size", "model.size")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"name": "top_k", "k": 2}, "top_k:k=2"),
        ({"name": "soft"}, "soft"),
        ({"steps": 1}, "steps=1"),
        ([0.9, 0.98], "0.9+0.98"),
        (None, "null"),
        (True, "true"),
        (5e-5, "5e-05"),
        (12, "12"),
    ],
)
def test_a_value_is_shown_in_a_few_characters(value: object, text: str) -> None:
    assert shown(value) == text


def test_random_settings_are_different_lie_in_their_intervals_and_follow_from_the_seed() -> None:
    words = ["training.preset.lr=tag(log,interval(1e-5,1e-1))", "training.warmup=interval(0,0.5)"]
    words += ["training.updates=int(interval(3,9))", PERIOD]
    space = space_of(*words)
    drawn = space.sample(60)
    assert len(set(drawn)) == 60
    rates, warmups, updates, periods = ([float(text) for text in column] for column in zip(*drawn, strict=True))
    assert 1e-5 <= min(rates) <= max(rates) <= 1e-1
    # On a log scale half of them lie below the geometric mean, where a uniform draw has one in a hundred
    assert 15 < sum(rate < 1e-3 for rate in rates) < 45
    assert 0 <= min(warmups) <= max(warmups) <= 0.5
    assert set(updates) == {3, 4, 5, 6, 7, 8, 9}
    assert set(periods) == {2, 3, 4}
    assert drawn == space_of(*words).sample(60)
    assert drawn != space_of(*words, "seed=1").sample(60)


def test_a_sample_of_more_than_there_are_is_all_of_them() -> None:
    assert space_of(PERIOD).sample(10) == [("2",), ("3",), ("4",)]
    assert sorted(space_of("training.updates=int(interval(3,5))").sample(10)) == [("3",), ("4",), ("5",)]


def test_a_combination_that_is_refused_is_left_out_with_its_reason() -> None:
    settings = grid("arm.controller.period=4,8", "arm.refinement.steps=6,12")
    label = "controller.period=8,refinement.steps=6"
    assert label not in settings.configs
    assert len(settings.configs) == 3
    assert "the slow module runs once" in settings.left_out[label]


def test_of_a_sample_any_combination_that_is_refused_is_left_out() -> None:
    """There a value may be met once, so that its refusal says nothing of the value."""
    space = space_of("arm.controller.period=int(interval(2,9))", "training.preset.lr=0.1,0.2")
    settings = settings_of(space, [("3", "0.1"), ("9", "0.1"), ("8", "0.2")])
    assert list(settings.configs) == ["base", "controller.period=3,preset.lr=0.1"]
    assert len(settings.left_out) == 2
    with pytest.raises(InputError, match="period=9"):
        settings_of(space, [("9", "0.1")])


def test_what_is_typed_goes_before_the_preset() -> None:
    space = read_space(["arm.controller.period=2,5", "task=sorting", "task.length=7"], "period")
    assert [one.values for one in space.swept] == [("2", "5")]
    assert space.base.task.length == 7
    assert space.base.arm.refinement.steps == 12
    fixed = read_space(["arm.controller.period=3", "arm.refinement.steps=9,12"], "period")
    assert fixed.keys == ("arm.refinement.steps",)
    assert fixed.base.arm.controller.slow_period == 3
    # A key that is swept instead keeps the preset's value for the base
    assert read_space(["arm=looped,looped_gated"], "steps").base.name == "looped_gated"


@pytest.mark.parametrize("name", presets("sweep"))
def test_every_preset_can_be_trained_and_says_what_it_is(name: str) -> None:
    space = read_space([], name)
    settings = settings_of(space, list(space.grid()))
    assert 4 <= len(settings.configs) <= 6
    assert not settings.left_out
    assert presets("sweep")[name]
    assert all(isinstance(value, str | int) for value in read_yaml(files("sweep")[name]).values())
    (swept,) = space.swept
    assert space.base.entry.name == "sorting"
    assert swept.key.startswith(("arm.", "training."))


@pytest.mark.parametrize("name", ["steps", "period", "top_k"])
def test_presets_serve_other_tasks_too(name: str) -> None:
    space = read_space(["task=maze", "task.size=6"], name)
    assert space.base.entry.name == "maze"
    assert space.base.training.updates == configuration.load(["task=maze"]).training.updates
    assert len(settings_of(space, list(space.grid())).configs) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no setting has several values"),
        (["arm.controller.period=2,2"], "2 stands there twice"),
        (["arm.controller.period=2", "training.updates=4,0x4"], r"training\.updates=0x4"),
        (["arm.controller.perod=2,3"], r"arm\.controller\.perod=2: unknown key.*did you mean period\?"),
        (["arm.controller.period=2,9"], r"arm\.controller\.period=9: with 6 refinement steps"),
        (["arm=baseline,hrm", PERIOD], "arm=baseline: refused in every setting"),
        (["arm.gate=soft,{name: soft}"], "the same setting twice"),
        (["arm.controller=hrm,{name: hrm, period: 4}"], r"controller=hrm and .*period=4 are the same setting"),
        (["task=sorting,maze"], "a sweep has one task"),
        (["task.name=sorting,maze"], "several values; a run takes one"),
        (["seed=0,1"], "seeds= says"),
        (["output=a,b"], "no setting has several values"),
        (["quick=true,false"], "one for all runs"),
        ([PERIOD, "arm.controller.period=3,4"], r"arm\.controller\.period: swept twice"),
        (["arm=glob(zz*)"], "no values"),
        (["training.schedule=glob(c*)"], "a pattern stands for presets, of task, arm, training"),
        (["training.preset.lr=interval(0.1,1)"], r"an interval has no end of values.*sampler=random"),
        (["training.preset.lr=interval(1,0.1)"], "from a number to a larger one"),
        (["training.preset.lr=tag(log,interval(0,1))"], "above 0, as it is on a log scale"),
        (["training.updates=range(1,9,0)"], "cannot be read"),
        (["training.preset.lr=range(0.1,0.9,0)"], "cannot be read"),
        (["training.updates=range(1,10000)"], "more than 500 values"),
    ],
)
def test_a_mistake_is_said_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        grid(*words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (("grid", 3), "number=3: a grid has as many settings as there are"),
        (("random", None), "sampler=random: says with number="),
        (("optuna", 0), "sampler=optuna: says with number="),
    ],
)
def test_a_number_of_settings_goes_with_a_sampler(how: tuple[object, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose(space_of(PERIOD), *how, 3, 3, 500)  # type: ignore[arg-type]


def test_more_runs_than_allowed_are_refused_before_any_setting_is_made() -> None:
    wide = space_of("training.updates=range(1,101)", "training.batch_size=range(1,101)")
    assert wide.size == 10_000
    with pytest.raises(InputError, match=r"10000 settings with 3 seeds and 3 to confirm: 30006 runs.*max_runs=30006"):
        choose(wide, "grid", None, 3, 3, 500)
    assert len(choose(wide, "random", 20, 3, 3, 500)) == 20
    with pytest.raises(InputError, match="max_runs=500"):
        choose(wide, "random", 200, 3, 3, 500)
    assert math.isinf(space_of("training.warmup=interval(0,0.5)").size)
    with pytest.raises(InputError, match="interval"):
        choose(space_of("training.warmup=interval(0,0.5)", PERIOD), "grid", None, 3, 3, 500)


def test_two_settings_that_differ_in_punctuation_alone_are_refused(tmp_path: Path) -> None:
    space = read_space(["task=language", "task.corpus=no.txt", "task.response_marker='A:','A;'"])
    with pytest.raises(InputError, match="two settings need two names"):
        prepare(space, list(space.grid()), output=tmp_path)


def test_a_label_that_no_directory_can_bear_is_cut_to_a_digest_that_stays_the_same() -> None:
    keys = ("lr", "clip_norm", "weight_decay")
    words = [f"training.preset.{key}=0.00123,0.00456" for key in keys]
    words += [f"arm.controller.{key}" for key in ("period=2,3", "width=16,17", "dropout=0.125,0.25")]
    space = space_of(*words, "training.warmup=0.01234,0.02345", "training.freeze_controller=0.01234,0.02345")
    labels = [space.label(values) for values in space.grid()]
    assert len(set(labels)) == 2**8
    assert {len(label) for label in labels} == {len("setting-") + 10}
    assert space.label(next(space.grid())) == labels[0]


def test_tasks_of_every_kind_have_one_name_to_sweep_their_settings_under() -> None:
    for name in TASKS:
        assert read_space([f"task={name}", "training.updates=10,20"]).base.entry.name == name
