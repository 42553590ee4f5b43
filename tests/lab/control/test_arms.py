"""The arms of a control: one loop for all, a reference without a router, and what a task refuses left out."""

import pytest

from headwise.errors import InputError
from headwise.lab.control.arms import ARMS, choose
from headwise.routing.fixed_routers import StaticRouter
from headwise.training.configuration import load


def test_the_known_setting_has_all_arms_in_a_loop_of_as_many_steps_as_hops() -> None:
    chosen = choose()
    assert (chosen.known, chosen.left_out, [label for label, _ in chosen.arms]) == (True, {}, list(ARMS))
    for _, config in chosen.arms:
        assert config.entry.name == "walk"
        assert config.arm.refinement.steps == chosen.steps == config.task.hops
        assert config.arm.refinement.injection == "input"
        period = config.arm.controller.slow_period
        assert period is None or period < chosen.steps
    static = dict(chosen.arms)["static"]
    assert isinstance(static.arm.router, StaticRouter)
    assert 2 * static.arm.router.k == static.model.heads
    assert (chosen.reference[0], chosen.routed[0]) == ("looped", "gated")


def test_what_is_typed_goes_before_the_known_setting_and_so_does_a_quick_try() -> None:
    assert choose(settings=["model.ffn=12"]).reference[1].model.ffn == 12
    quick, whole = (choose(settings=words).reference[1] for words in (["quick=true"], []))
    assert quick.training.updates < whole.training.updates
    assert quick.task.nodes == whole.task.nodes


def test_a_task_without_a_route_has_no_oracle_and_the_reason_is_kept() -> None:
    chosen = choose(settings=["task=sorting", "model.width=64"])
    assert (chosen.known, chosen.steps) == (False, 6)
    assert [label for label, _ in chosen.arms] == [name for name in ARMS if name != "oracle"]
    assert "does not say which relation is to be followed" in chosen.left_out["oracle"]
    assert chosen.reference[1].model == load(["task=sorting", "model.width=64"]).model


def test_a_causal_task_keeps_the_arms_that_can_be_causal() -> None:
    chosen = choose(settings=["task=language"])
    assert {"looped", "gated", "hrm_token"} <= dict(chosen.arms).keys()
    assert {"hrm", "oracle"} <= chosen.left_out.keys()


def test_a_task_with_a_target_for_each_step_is_asked_for_its_hops_before_any_arm_is_built() -> None:
    words = ["task=walk", "task.hops=3", "task.targets=hops", "arm.refinement.supervision=uniform"]
    assert choose(["looped", "gated"], words).steps == 3


def test_a_name_alone_is_put_into_the_loop_and_settings_of_its_own_are_taken_as_they_are() -> None:
    chosen = choose(["looped", "linear", "gated:refinement.steps=2"], ["task=sorting"], steps=4)
    steps = {label: config.arm.refinement.steps for label, config in chosen.arms}
    assert steps == {"looped": 4, "linear": 4, "gated:refinement.steps=2": 2}
    assert chosen.routed[0] == "linear"


@pytest.mark.parametrize(
    ("names", "settings", "steps", "message"),
    [
        ([], [], None, r"arms=\[\]: name the reference"),
        (["looped", "hmr"], [], None, r"arm=hmr: unknown.*did you mean hrm"),
        (["gated", "looped"], [], None, r"arms=\[gated,looped\]: gated, the reference, has a router; name one without"),
        (["looped", "random"], [], None, r"none has a router that learns; name one as well, as gated"),
        (["looped", "gated"], ["task=sorting"], 1, r"steps=1: a loop takes 2 or more"),
        (["looped", "oracle", "gated"], ["task=sorting"], None, r"does not say which relation"),
        (None, ["task=wlak"], None, r"task=wlak: unknown.*did you mean walk"),
        (None, ["task=sorting", "model.structural_heads=2"], None, r"structural_heads=2: the task names no relations"),
        (None, ["task=sorting", "task.nodes=3"], None, r"task.nodes"),
        (None, ["arm=hrm"], None, r"arm: a comparison takes arms="),
        (None, ["task=walk", "task.hops=4"], 3, None),
    ],
)
def test_what_cannot_be_a_control_is_refused(
    names: list[str] | None, settings: list[str], steps: int | None, message: str | None
) -> None:
    if message is None:  # fewer steps than hops: the oracle cannot follow them all, and is left out
        assert "oracle" in choose(names, settings, steps).left_out
        return
    with pytest.raises(InputError, match=message):
        choose(names, settings, steps)
