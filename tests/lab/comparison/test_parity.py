"""Arms of equal size: exact counts, within 1 %, or refused with the numbers."""

from dataclasses import replace

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.parity import TOLERANCE, first_true, match, measure
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.flops import flops_per_example
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from tests.lab.conftest import ARMS, arm

DEFAULT = ModelConfig()
LENGTH = 20
OTHERS = [name for name in ARMS if name != "baseline"]


def pair(name: str, model: ModelConfig = DEFAULT) -> list[tuple[str, Arm, ModelConfig]]:
    return [("baseline", arm("baseline"), model), (name, arm(name), model)]


def test_the_plain_block_has_the_parameters_of_the_formula() -> None:
    d, f = DEFAULT.width, DEFAULT.ffn
    # Query, key, value without key bias, output; two layers of the FFN; two norms in the block and one at the end.
    formula = (3 * d * d + 2 * d) + (d * d + d) + (d * f + f + f * d + d) + 3 * 2 * d
    assert measure(DEFAULT, arm("baseline"), LENGTH).parameters == formula


def test_the_meta_device_counts_what_a_real_model_has() -> None:
    backbone = Backbone(DEFAULT, arm("hrm"))
    size = measure(DEFAULT, arm("hrm"), LENGTH)
    assert size.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    assert size.flops == flops_per_example(backbone, LENGTH)


@pytest.mark.parametrize("model", [DEFAULT, ModelConfig(width=64, heads=4, ffn=128), ModelConfig(256, 8, 1024, 3)])
@pytest.mark.parametrize("name", OTHERS)
def test_every_arm_gets_the_parameters_of_the_first_within_one_per_cent(name: str, model: ModelConfig) -> None:
    parity = match(pair(name, model), LENGTH)
    assert match(pair(name, model), LENGTH, "width") == parity, "another word for the same"
    first, other = parity.arms
    assert first.model == model
    assert abs(measure(other.model, other.arm, LENGTH).parameters / first.size.parameters - 1) <= TOLERANCE
    assert other.model.depth == model.depth
    assert (other.model.width // other.model.heads) % 2 == 0
    assert "parameters" in parity.matched
    assert other.parameter_ratio == other.size.parameters / first.size.parameters


def test_an_arm_without_further_parameters_keeps_its_shape() -> None:
    assert match(pair("looped"), LENGTH).arms[1].model == DEFAULT


def test_a_controller_costs_width_not_fairness() -> None:
    # The published routed arm had 67 % more parameters than its "parameter-matched" baseline.
    asked, got = measure(DEFAULT, arm("hrm"), LENGTH), match(pair("hrm"), LENGTH).arms[1]
    assert asked.parameters > 1.3 * match(pair("hrm"), LENGTH).arms[0].size.parameters
    assert got.model.width < DEFAULT.width


def test_a_router_of_a_few_dimensions_is_matched_although_the_search_begins_below_them() -> None:
    few = build(Arm, {"router": {"name": "learned", "reads": 12}, "gate": {"name": "sigmoid"}}, "arm")
    arms = [("baseline", arm("baseline"), DEFAULT), ("few", few, DEFAULT)]
    assert match(arms, LENGTH).arms[1].parameter_ratio == pytest.approx(1, abs=TOLERANCE)


def test_the_proportions_of_the_ffn_stay_near_those_asked_for() -> None:
    shape = match(pair("hrm"), LENGTH).arms[1].model
    assert shape.ffn / shape.width == pytest.approx(DEFAULT.ffn / DEFAULT.width, rel=0.15)


def test_parity_of_depth_keeps_the_width() -> None:
    model = ModelConfig(width=64, heads=4, ffn=256, depth=4)
    wide = build(Arm, ARMS["hrm"] | {"controller": {"name": "hrm", "width": 64}}, "arm")
    shape = match([("baseline", arm("baseline"), model), ("hrm", wide, model)], LENGTH, "depth").arms[1]
    assert shape.model.width == 64
    assert shape.model.depth == 3
    assert abs(shape.parameter_ratio - 1) <= TOLERANCE


@pytest.mark.parametrize("name", ["looped", "hrm"])
def test_parity_of_flops_makes_the_loop_pay_for_its_steps(name: str) -> None:
    parity = match(pair(name), LENGTH, "flops")
    assert abs(parity.arms[1].flops_ratio - 1) <= TOLERANCE
    assert parity.arms[1].size.parameters < parity.arms[0].size.parameters / 3
    assert parity.matched == ("flops",)


def test_a_deeper_arm_stays_deeper() -> None:
    deep = ModelConfig(depth=4)
    arms = [("baseline", arm("baseline"), DEFAULT), ("deep", arm("baseline"), deep)]
    shape = match(arms, LENGTH).arms[1]
    assert shape.model.depth == 4
    assert abs(shape.parameter_ratio - 1) <= TOLERANCE


def test_unmatched_arms_are_refused_with_the_numbers() -> None:
    with pytest.raises(
        InputError, match=r"parity=none: .*baseline 198.400 .*hrm 270.152 parameters \(1\.36x\)"
    ) as error:
        match(pair("hrm"), LENGTH, "none")
    assert "FLOPs" in str(error.value)
    assert "parity=parameters" in str(error.value)
    assert "\n" not in str(error.value)


def test_parity_none_accepts_arms_that_agree_by_nature() -> None:
    parity = match(pair("looped"), LENGTH, "none")
    assert parity.matched == ("parameters",)
    assert parity.arms[1].flops_ratio == pytest.approx(6, rel=0.01)


def test_a_controller_larger_than_the_whole_reference_is_refused() -> None:
    fat = build(Arm, ARMS["hrm"] | {"controller": {"name": "hrm", "width": 512}}, "arm")
    with pytest.raises(InputError, match="arm hrm cannot be brought within 1 %"):
        match([("baseline", arm("baseline"), DEFAULT), ("hrm", fat, DEFAULT)], LENGTH)


def test_an_unknown_mode_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="parity=height: unknown; choose one of parameters, width, depth, flops, none"):
        match(pair("looped"), LENGTH, "height")  # type: ignore[arg-type]


@pytest.mark.parametrize("smallest", [1, 2, 3, 17, 64])
def test_bisection_finds_the_first_true(smallest: int) -> None:
    assert first_true(lambda n: n >= smallest) == smallest


def test_parity_of_width_is_the_other_name_of_parameters() -> None:
    assert match(pair("hrm"), LENGTH, "width") == match(pair("hrm"), LENGTH, "parameters")


def test_without_a_feed_forward_layer_the_width_alone_is_the_knob_and_says_so() -> None:
    bare = ModelConfig(width=64, heads=8, ffn=0)
    assert match(pair("looped", bare), LENGTH).arms[1].model == bare
    message = r"by its width alone \(model.ffn=0 leaves no finer knob than steps of 8\) .*; change model.ffn, "
    with pytest.raises(InputError, match=message):
        match(pair("linear", bare), LENGTH)
    # A wide stack can be met by a step of one head's width.
    wide = ModelConfig(width=1024, heads=2, ffn=0)
    found = match(pair("linear", wide), LENGTH).arms[1]
    assert found.model.ffn == 0
    assert abs(found.parameter_ratio - 1) <= TOLERANCE
    with pytest.raises(InputError, match=r"by its number of blocks alone \(model.ffn=0"):
        match(pair("linear", replace(bare, depth=4)), LENGTH, "depth")
