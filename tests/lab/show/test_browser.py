"""The page in a real browser: it plays and steps, everything has a name and can be read, and nothing is asked for."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.report.show import show_page
from headwise.lab.show.shown import Shown
from headwise.tasks import TASKS
from headwise.tasks.scenes import KINDS
from tests.lab.show.untrained import LOOPED, shown_of

Open = Callable[..., Any]
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


def page_of(*runs: Shown) -> str:
    return show_page("a task", "test example 0", runs, "headwise show runs/one")[0]


@pytest.mark.parametrize("name", TASKS)
def test_a_page_of_every_task_steps_without_a_complaint(name: str, opened: Open) -> None:
    one = shown_of(name)
    seen = opened(page_of(one))
    steps = len(one.watched.numbers)
    assert seen.frame == 0
    for frame in range(1, steps + 1):
        seen.page.keyboard.press("ArrowRight")
        assert seen.frame == frame
        assert seen.page.inner_text(".hw-said") == one.watched.scene.answers[frame - 1]["said"]
    token = next(place for place, word in enumerate(one.watched.scene.tokens) if word)
    seen.page.get_by_label("Token whose heads are shown").select_option(str(token))
    if one.watched.looks is not None:
        seen.page.locator(".hw-card").first.click()
        assert "looks with head 1" in seen.page.inner_text(".hw-looking")
    seen.page.keyboard.press("Escape")
    assert seen.problems == []
    assert seen.requests == []


def test_every_kind_of_scene_has_a_function_that_draws_it(opened: Open) -> None:
    seen = opened(page_of(shown_of("sorting")))
    assert seen.page.evaluate("headwiseShow.kinds") == list(KINDS)


def test_it_plays_to_the_end_and_may_be_stopped(opened: Open) -> None:
    seen = opened(page_of(shown_of("sorting")), reduced_motion="reduce")
    seen.wait(10)
    assert (seen.frame, seen.playing) == (0, False), "not by itself: its reader wants no motion"
    seen.page.get_by_role("button", name="Play").click()
    assert seen.playing
    seen.wait(1.5)
    assert seen.frame == 1
    seen.page.get_by_role("button", name="Pause").click()
    seen.wait(10)
    assert seen.frame == 1
    seen.page.get_by_role("button", name="Play").click()
    seen.wait(10)
    assert seen.frame == 3
    assert not seen.playing
    seen.page.get_by_role("button", name="Play").click()
    assert seen.frame == 0, "from the beginning again"


def test_it_plays_by_itself_where_its_reader_has_nothing_against_motion(opened: Open) -> None:
    seen = opened(page_of(shown_of("sorting")), reduced_motion="no-preference")
    seen.wait(10)
    assert seen.frame == 3
    assert seen.problems == []


def test_the_keys_step_play_and_jump(opened: Open) -> None:
    seen = opened(page_of(shown_of("sorting")))
    press = seen.page.keyboard.press
    press("End")
    assert seen.frame == 3
    press("ArrowRight")
    assert seen.frame == 3
    press("ArrowLeft")
    assert seen.frame == 2
    press("Home")
    assert seen.frame == 0
    press(" ")
    assert seen.playing
    press(" ")
    assert not seen.playing
    seen.page.get_by_label("Step", exact=True).focus()
    before = seen.frame
    press("ArrowRight")
    assert seen.frame == before + 1, "the slider moves once, not twice"


def test_a_swipe_steps(opened: Open) -> None:
    seen = opened(page_of(shown_of("sorting")), has_touch=True, viewport={"width": 390, "height": 844})
    seen.page.evaluate(
        """() => {
          const scene = document.querySelector(".hw-scene");
          const touch = x => new Touch({ identifier: 1, target: scene, clientX: x, clientY: 200 });
          scene.dispatchEvent(new TouchEvent("touchstart", { touches: [touch(300)] }));
          scene.dispatchEvent(new TouchEvent("touchend", { changedTouches: [touch(100)] }));
        }"""
    )
    assert seen.frame == 1


def test_what_is_drawn_is_what_was_watched(opened: Open) -> None:
    one = shown_of("sudoku")
    seen = opened(page_of(one))
    seen.page.keyboard.press("End")
    assert seen.page.locator(".hw-digit").all_text_contents() == one.watched.scene.answers[-1]["text"]
    assert one.watched.gates is not None
    mean = one.watched.gates[-1].mean(1)
    drawn = seen.page.locator(".hw-number").all_inner_texts()
    expected = ["off" if gate == 0 else f"{gate:.2f}" for gate in mean.flatten().tolist()]
    assert drawn == expected
    seen.page.locator(".hw-hit").nth(5).click()
    own = one.watched.gates[-1][:, 5].flatten().tolist()
    assert seen.page.locator(".hw-number").all_inner_texts() == ["off" if gate == 0 else f"{gate:.2f}" for gate in own]
    assert seen.page.get_by_label("Token whose heads are shown").input_value() == "5"


@pytest.mark.parametrize("name", ["maze", "parsing", "sorting", "language"])
def test_every_control_has_a_name_and_is_large_enough(name: str, opened: Open) -> None:
    seen = opened(page_of(shown_of(name)))
    for role in ("button", "slider", "combobox"):
        every = seen.page.get_by_role(role)
        named = seen.page.get_by_role(role, name=re.compile(r"\w"))
        assert every.count() == named.count() > 0
    for button in seen.page.locator(".hw-button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44
    assert seen.page.locator("svg[role=img]").count() == seen.page.locator("svg[role=img][aria-label]").count()


@pytest.mark.parametrize("name", TASKS)
def test_every_text_can_be_read_in_the_light_and_in_the_dark(name: str, opened: Open) -> None:
    seen = opened(page_of(shown_of(name)))
    seen.page.keyboard.press("End")
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        assert seen.page.evaluate(CONTRAST) == [], scheme


def test_the_check_of_contrast_finds_what_is_planted(opened: Open) -> None:
    page = page_of(shown_of("sorting")).replace("<footer>", '<footer><b style="color: #c8ccd2">pale</b>')
    assert any(line.startswith("pale: ") for line in opened(page).page.evaluate(CONTRAST))


@pytest.mark.parametrize("name", ["sorting", "maze", "parsing"])
def test_a_narrow_screen_scrolls_in_one_direction_only(name: str, opened: Open) -> None:
    seen = opened(page_of(shown_of(name)), viewport={"width": 360, "height": 740})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_two_runs_step_together_and_one_that_stopped_stays(opened: Open) -> None:
    longer = {**LOOPED, "refinement": {"steps": 5, "injection": "input"}}
    short, long = shown_of("sorting"), shown_of("sorting", longer)
    seen = opened(page_of(short, long))
    seen.page.keyboard.press("End")
    assert seen.frame == 5
    said = seen.page.locator(".hw-said").all_inner_texts()
    assert said[0] == f"{short.watched.scene.answers[-1]['said']} (stopped at step 3)"
    assert said[1] == long.watched.scene.answers[-1]["said"]
    assert "step 5 of 5" in seen.page.inner_text(".hw-where")


def test_the_check_of_requests_finds_what_is_planted(opened: Open) -> None:
    page = page_of(shown_of("sorting")).replace("<footer>", '<footer><img src="https://example.org/a.png">')
    seen = opened(page)
    seen.page.wait_for_load_state("load")
    assert seen.problems or seen.requests
