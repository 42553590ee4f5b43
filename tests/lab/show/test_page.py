"""The page: its data say what was watched, it is small, and nothing in it comes from outside."""

import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from headwise.lab.report.show import LARGEST, show_page
from headwise.lab.show.packing import FRAMES, ONE, packed, unpacked
from headwise.lab.show.shown import Shown
from headwise.tasks import TASKS
from tests.lab.show.untrained import LOOPED, shown_of

AMPLE = 10**7


def data_of(page: str) -> list[dict[str, Any]]:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    runs: list[dict[str, Any]] = json.loads(found)["runs"]
    return runs


def page_of(*runs: Shown) -> str:
    return show_page("a task", "test example 0", runs, "headwise show runs/one")[0]


@pytest.mark.parametrize("name", TASKS)
def test_a_page_of_every_task_is_small_and_loads_nothing(name: str) -> None:
    page = page_of(shown_of(name))
    assert len(page.encode()) < LARGEST
    assert re.findall(r'(?:src|href|action)\s*=|@import|url\(|https?://(?!www\.w3\.org/2000/svg")', page) == []
    assert re.findall(r"fetch\(|XMLHttpRequest|WebSocket|import\(|sendBeacon|localStorage", page) == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_gates_and_looks_come_back_as_they_were() -> None:
    watched = shown_of("sorting", LOOPED, length=6).watched
    found = packed(watched, AMPLE)
    gates, looks = found["gates"], found["looks"]
    own = unpacked(gates["data"], np.uint16, gates["shape"]) / gates["one"]
    assert watched.gates is not None
    assert watched.looks is not None
    np.testing.assert_allclose(own[:, :, 1:], watched.gates.numpy(), atol=1 / gates["one"])
    np.testing.assert_allclose(own[:, :, 0], watched.gates.mean(2).numpy(), atol=1 / gates["one"])
    assert ((own[:, :, 1:] == 0) == (watched.gates == 0).numpy()).all(), "off is off, and on is on"
    weights = unpacked(looks["weight"], np.uint8, looks["shape"]) / ONE
    np.testing.assert_allclose(weights, watched.looks.numpy(), atol=0.5 / ONE + 1e-6)
    assert found["kept"] == list(range(6))
    assert found["notes"] == []


def test_a_gate_that_is_nearly_off_is_not_off() -> None:
    watched = shown_of("sorting", LOOPED, length=6).watched
    assert watched.gates is not None
    watched.gates[0, 0, 0] = torch.tensor([0.0, 1e-9, 1.0, 4.0])
    gates = packed(watched, AMPLE)["gates"]
    first = unpacked(gates["data"], np.uint16, gates["shape"])[0, 0, 1]
    assert first[0] == 0
    assert first[1] == 1


@pytest.mark.parametrize("budget", [20_000, 3_000])
def test_what_does_not_fit_is_left_out_and_said(budget: int) -> None:
    watched = shown_of("maze", LOOPED, size=8, family="percolation", min_path_length=1).watched
    found = packed(watched, budget)
    looks, gates = found["looks"], found["gates"]
    kept = sum(len(text) * 3 / 4 for text in (looks.get("at", ""), looks["weight"]))
    assert kept <= budget
    assert any(re.search(r"\d places with the most weight are kept, \d+%", note) for note in found["notes"])
    assert watched.looks is not None
    at = unpacked(looks["at"], np.uint8, [*looks["shape"][:4], looks["places"]])
    expected = watched.looks[:, :, :, found["kept"]].topk(looks["places"], -1).indices.numpy()
    assert (at == expected).all()
    fewer = len(found["kept"]) < len(found["tokens"])
    assert fewer == any("Single tokens" in note for note in found["notes"])
    assert gates["shape"][2] == 1 + len(found["kept"])
    if budget == 3_000:
        assert fewer
        solid = watched.scene.question["solid"]
        assert not set(found["kept"]) & set(solid), "cells that are open come first"


def test_of_many_answers_some_are_shown_the_last_among_them() -> None:
    looped = {"refinement": {"steps": 3 * FRAMES, "injection": "input"}}
    found = packed(shown_of("sorting", looped, length=4).watched, AMPLE)
    assert len(found["answers"]) == FRAMES
    assert found["steps"][0] == 1
    assert found["steps"][-1] == 3 * FRAMES
    assert any(f"Of {3 * FRAMES} answers {FRAMES} are shown" in note for note in found["notes"])


def test_the_largest_grids_still_fit() -> None:
    looped = {**LOOPED, "refinement": {"steps": 12, "injection": "input"}}
    sides = {"size": 25, "train_mazes": 2, "validation_mazes": 2, "test_mazes": 2}
    one = shown_of("maze_characters", looped, **sides)
    page = page_of(one, one)
    assert len(page.encode()) < LARGEST
    assert len(data_of(page)) == 2


def test_words_of_a_text_cannot_end_the_script_that_holds_them() -> None:
    one = shown_of("parsing")
    words = ["</script><b>", "&amp;", *one.watched.scene.tokens[2:]]
    one.watched.scene.question["words"][:] = words  # type: ignore[index]
    page = page_of(one)
    (run,) = data_of(page)
    assert run["question"]["words"] == words
    assert "</script><b>" not in page
