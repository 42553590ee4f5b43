"""A person draws and types; the page answers as torch does. In a real browser, without any other server."""

from pathlib import Path
from typing import Any

import torch

from headwise.tasks.maze.lattice import Mazes
from headwise.training.evaluation import load

from .conftest import Page

SIDE = 5
"""Cells on a side of the maze."""


def in_torch(run: Path, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    model = load(run)
    with torch.no_grad():
        return model.task.read_out(model(batch).states[-1], batch).flatten()


def asked(page: Page) -> dict[str, torch.Tensor]:
    """The question as the page puts it to the model."""
    script = """() => Object.fromEntries(Object.entries(playground.board.question()).map(
        ([name, t]) => [name, {type: t.type, sizes: [...t.dims], values: Array.from(t.data, Number)}]))"""
    kinds = {"bool": torch.bool, "int64": torch.int64}
    found = page.page.evaluate(script)
    return {name: torch.tensor(t["values"], dtype=kinds[t["type"]]).view(t["sizes"]) for name, t in found.items()}


def answer(page: Page) -> torch.Tensor:
    return torch.tensor(page.page.evaluate("() => Array.from(playground.thought.prediction)"))


def point(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a place of the maze is, in cells from its upper left corner."""
    box = page.page.locator(".maze").bounding_box()
    assert box is not None
    scale = box["width"] / (SIDE + 0.12)
    return box["x"] + (x + 0.06) * scale, box["y"] + (y + 0.06) * scale


def test_a_wall_that_is_drawn_is_a_wall_for_the_model_which_answers_as_torch_does(
    page: Page, runs: dict[str, Path]
) -> None:
    page.page.get_by_role("button", name="Clear").click()
    page.page.mouse.click(*point(page, 2.0, 1.5))  # between columns 2 and 3 of row 2
    page.page.get_by_role("radio", name="start").check()
    page.page.mouse.click(*point(page, 0.5, 0.5))
    page.page.get_by_role("radio", name="goal").check()
    page.page.mouse.click(*point(page, 4.5, 3.5))
    page.after(4)

    open_ = torch.ones(1, SIDE, SIDE, 4, dtype=torch.bool)
    open_[:, 0, :, 0] = open_[:, :, -1, 1] = open_[:, -1, :, 2] = open_[:, :, 0, 3] = False
    open_[0, 1, 1, 1] = open_[0, 1, 2, 3] = False
    expected = {"open": open_, "start": torch.tensor([0]), "goal": torch.tensor([3 * SIDE + 4])}
    found = asked(page)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name
    torch.testing.assert_close(answer(page), in_torch(runs["maze"], expected), atol=1e-4, rtol=1e-4)


def test_a_maze_of_the_page_is_as_those_of_the_task(page: Page) -> None:
    """Its passages lead both ways and reach every cell, and its way is as long as was trained on."""
    found = {name: values.numpy() for name, values in asked(page).items()}
    assert (found["open"][:, :, :-1, 1] == found["open"][:, :, 1:, 3]).all()
    assert (found["open"][:, :-1, :, 2] == found["open"][:, 1:, :, 0]).all()
    assert found["open"].sum() == 2 * (SIDE**2 - 1)  # a tree
    assert Mazes.solve(found["open"], found["start"], found["goal"]).length.item() >= 4


def test_a_typed_sudoku_is_answered_as_torch_does(page: Page, runs: dict[str, Path]) -> None:
    page.page.get_by_role("tab", name="Sudoku").click()
    page.ready("sudoku")
    page.page.get_by_role("button", name="Clear").click()
    for cell, digit in {(1, 1): 1, (2, 4): 3, (4, 2): 4}.items():
        page.page.get_by_label(f"row {cell[0]}, column {cell[1]}:").fill(str(digit))
    page.after(4)
    clues = torch.zeros(1, 16, dtype=torch.int64)
    clues[0, 0], clues[0, 7], clues[0, 13] = 1, 3, 4
    assert torch.equal(asked(page)["clues"], clues)
    expected = in_torch(runs["sudoku"], {"clues": clues})
    torch.testing.assert_close(answer(page), expected, atol=1e-4, rtol=1e-4)
    blank = page.page.get_by_label("row 3, column 3:")
    assert blank.get_attribute("placeholder") == str(expected.view(16, 4)[10].argmax().item() + 1)


def test_steps_are_taken_one_by_one_gone_back_to_and_beyond_those_trained(page: Page, runs: dict[str, Path]) -> None:
    page.after(4)
    step = page.page.get_by_role("slider", name="Step", exact=False).first
    page.page.keyboard.press(",")
    assert page.page.evaluate("playground.step") == 3
    page.page.get_by_role("button", name="One step forward").click()
    page.page.wait_for_function("playground.step === 4")
    page.page.get_by_role("slider", name="Steps to take").fill("6")
    page.page.get_by_role("button", name="Play").click()
    page.after(6)
    assert step.input_value() == "6"
    model = load(runs["maze"])
    own = model.backbone.refiner
    own.config = type(own.config)(**{**vars(own.config), "steps": 6})
    batch: dict[str, Any] = asked(page)
    with torch.no_grad():
        expected = model.task.read_out(model(batch).states[-1], batch).flatten()
    torch.testing.assert_close(answer(page), expected, atol=1e-4, rtol=1e-4)


def test_the_maze_is_drawn_with_the_keyboard_alone(page: Page) -> None:
    page.page.get_by_role("button", name="Clear").click()
    page.page.locator(".maze").focus()
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Shift+ArrowDown")
    assert not asked(page)["open"][0, 0, 1, 2]
    assert "walls: up, down" in (page.page.locator(".maze").get_attribute("aria-label") or "")
    page.page.keyboard.press("g")
    if asked(page)["start"].item() != 1:
        assert asked(page)["goal"].item() == 1


def test_a_finger_draws_a_row_of_walls_and_does_not_move_the_page(phone: Page) -> None:
    page = phone.page
    page.get_by_role("button", name="Clear").tap()
    page.locator(".maze").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    finger = page.context.new_cdp_session(page)
    way = [point(phone, x, 2.0) for x in (0.5, 1.0, 1.5, 2.0, 2.5)]  # between rows 2 and 3
    for kind, places in [("touchStart", way[:1]), *(("touchMove", [place]) for place in way[1:]), ("touchEnd", [])]:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]})
    below = asked(phone)["open"][0, 1, :, 2]
    assert below.tolist() == [False, False, False, True, True]
    assert page.evaluate("scrollY") == before
    page.get_by_role("radio", name="goal").check()
    page.locator(".maze").scroll_into_view_if_needed()
    page.touchscreen.tap(*point(phone, 3.5, 2.5))
    assert asked(phone)["goal"].item() == 2 * SIDE + 3


def test_every_control_has_a_name_and_nothing_overflows_a_narrow_screen(page: Page) -> None:
    page.page.set_viewport_size({"width": 340, "height": 700})
    nameless = page.page.evaluate("""() => [...document.querySelectorAll('button, input, [tabindex]')].filter(
        (one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length""")
    assert nameless == 0
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_can_be_told_apart_in_both_modes(page: Page) -> None:
    """Text has a contrast of 4.5 with what is behind it, as WCAG asks."""
    for mode in ("light", "dark"):
        page.page.emulate_media(color_scheme=mode)
        for text, behind in (("ink", "card"), ("quiet", "card"), ("quiet", "page"), ("accent-ink", "accent")):
            pair = [
                page.page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
                for name in (text, behind)
            ]
            light, dark = sorted((luminance(colour) for colour in pair), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (mode, text, behind)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour.strip()[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
