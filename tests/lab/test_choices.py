"""Choices of heads side by side: what each costs is what forcing its heads costs, and what was measured is kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.lab.choices import study as module
from headwise.lab.choices.study import Settings, study
from headwise.lab.choices.ways import WAYS, Sources
from headwise.lab.kept import KEPT
from headwise.lab.report.choices_table import choices_text
from headwise.lab.report.write import write_report
from headwise.models.arm import Arm
from headwise.pretrained import choices
from headwise.pretrained.objectives import NextToken
from headwise.pretrained.retrofit import retrofit
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit
from tests.lab.report.test_pages import assert_self_contained
from tests.pretrained.architectures import tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")


def by_characters(text: str, **settings: Any) -> dict[str, list[int]]:
    """A tokenizer: a number between 3 and 63 for each character."""
    return {"input_ids": [3 + ord(character) % 61 for character in text]}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(module, "open_any", lambda name: (tiny("llama"), by_characters, True))
    letters = np.random.default_rng(0).integers(97, 123, 900)
    (tmp_path / "train.txt").write_text("".join(map(chr, letters)))
    (tmp_path / "test.txt").write_text("".join(map(chr, letters[::-1])))
    where = str(tmp_path / "test.txt"), str(tmp_path / "train.txt")
    return Settings("tiny", *where, None, (4, 3), blocks=3, context=16, calibration=8, seeds=2)


def test_every_way_is_scored_for_every_seed_and_nothing_is_lost_where_every_head_is_kept(
    asked: Settings, tmp_path: Path
) -> None:
    result = study(asked, tmp_path / "out")
    rows = result["tables"]["text"]["rows"]
    assert len(rows) == 2 * len(WAYS)
    for row in rows[: len(WAYS)]:  # 4 of 4
        assert row["added"] == pytest.approx(0, abs=1e-6), row
        assert row["on"] == 1
    for row in rows[len(WAYS) :]:
        # a threshold keeps its share on the texts that it was chosen from, on others about
        assert row["on"] == pytest.approx(0.75, abs=1e-6 if row["counted"] == "per layer" else 0.15), row
    assert json.loads((tmp_path / "out" / "choices.json").read_text())["tables"] == result["tables"]
    assert choices_text(result)
    page = write_report(tmp_path / "out").read_text()
    assert_self_contained(page)
    assert "router in closed form" in page
    (tmp_path / "out" / "choices.json").write_text('{"unit": "nats"}')
    with pytest.raises(InputError, match=r"choices.json: damaged: .*run `headwise choices` again"):
        write_report(tmp_path / "out")


LAYERS = {"gradient": [[1.0, 2, 3, 4], [5.0, 6, 7, 8]], "second_order": [[-1.0, 5, -3, 4], [3.0, -2, 1, 9]]}
ALONE: dict[str, list[list[float]]] = {"second_order": [[-1.0, 5, -3, 0], [3.0, -2, 1, 9]]}
"""The second order when one head is off: the last of the first layer was worth something beside it only."""
CHOSEN = {
    "gate gradient, once, per layer": [[0, 0, 1, 1], [0, 0, 1, 1]],
    "gate gradient, once, over layers": [[0, 0, 0, 0], [1, 1, 1, 1]],
    "second order, once, per layer": [[0, 1, 0, 1], [1, 0, 0, 1]],
    "second order, once, over layers": [[0, 1, 0, 1], [1, 0, 0, 1]],
    "little by little, once, over layers": [[0, 1, 0, 0], [1, 0, 1, 1]],
}


@pytest.mark.parametrize("label", CHOSEN)
def test_what_is_chosen_once_goes_by_its_measure(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*given: object, **named: object) -> dict[str, list[torch.Tensor]]:
        on = given[-1] if len(given) == 5 else None
        found = LAYERS if on is None or all(layer.all() for layer in on) else ALONE
        return {name: [torch.tensor(layer) for layer in layers] for name, layers in found.items()}

    monkeypatch.setattr("headwise.lab.choices.ways.head_measures", measured)
    monkeypatch.setattr("headwise.pretrained.fixed_choice.head_measures", measured)
    retrofitted = retrofit(tiny("llama"), Arm(router=LearnedRouter(), gate=Unit()))
    (way,) = (way for way in WAYS if way.label == label)
    rule = way.rule(Sources(retrofitted, [], NextToken(), seed=0), 2)
    x, norms = torch.zeros(1, 1, 8), torch.zeros(1, 1, 4)
    assert [rule(layer, x, norms).int().tolist() for layer in (0, 1)] == CHOSEN[label]


def test_what_was_measured_is_kept_and_seeds_may_be_added(
    asked: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    first = study(replace(asked, seeds=1), tmp_path / "out")
    scored: list[str] = []
    second = study(asked, tmp_path / "out", scored.append)
    assert {line.split("/")[1] for line in scored} == {"1"}
    kept = json.loads((tmp_path / "out" / KEPT).read_text())["points"]
    assert len(kept) == 2 * (len(WAYS) + sum(way.random for way in WAYS))
    assert second["tables"]["text"]["untouched"] == first["tables"]["text"]["untouched"]
    Path(asked.text).write_text("another text, as long as it may be" * 9)
    with pytest.raises(InputError, match="a text has changed"):
        study(asked, tmp_path / "out")
    with pytest.raises(InputError, match="blocks=3, not 2"):
        study(replace(asked, blocks=2), tmp_path / "out")


def test_a_rules_heads_are_gated_as_if_they_were_forced() -> None:
    retrofitted = retrofit(tiny("llama"), Arm(router=LearnedRouter(), gate=Unit()))
    tokens = list(torch.randint(3, 64, (2, 1, 12), generator=torch.Generator().manual_seed(0)))
    kept = choices.untouched(retrofitted, tokens, NextToken())
    on = [torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])]
    with choices.ruled(retrofitted, lambda layer, x, norms: on[layer].bool()) as shares:
        ruled = torch.tensor(choices.costs(retrofitted.model, tokens, NextToken(), kept))
    with retrofitted.forced(on):
        forced = torch.tensor(choices.costs(retrofitted.model, tokens, NextToken(), kept))
    torch.testing.assert_close(ruled, forced, rtol=0, atol=1e-6)
    assert ruled.abs().min() > 1e-6
    assert torch.stack(shares).mean() == pytest.approx((0.75 + 0.5) / 2)


def test_the_oracle_keeps_the_heads_that_add_most_and_chance_does_not_look() -> None:
    norms = torch.tensor([[[3.0, 1.0, 2.0, 0.5], [0.1, 0.2, 0.4, 0.3]]])
    seen = choices.Calibration([], [], [0.0], [norms[0].log()])
    x = torch.zeros(1, 2, 8)
    expected = [[[True, False, True, False], [False, False, True, True]]]
    assert choices.oracle(seen, 2, None)(0, x, norms).tolist() == expected
    assert choices.oracle(seen, None, 3 / 8)(0, x, norms).tolist() == [[[True, True, True, False], [False] * 4]]
    drawn = choices.chance(2, 0)
    assert (drawn(0, x, norms).sum(-1) == 2).all()
    scores = [torch.tensor([0.1, 0.4, 0.3]), torch.tensor([0.2, 0.9, 0.8])]
    once = choices.static(scores, None, 0.5)
    assert [once(layer, x, norms).tolist() for layer in (0, 1)] == [[False, True, False], [False, True, True]]


def test_over_the_model_what_heads_add_counts_beside_the_length_of_what_it_is_added_to() -> None:
    """Later layers add more to a longer stream: by norms alone all choices would go to them."""
    norms = torch.tensor([[[3.0, 1.0, 2.0, 0.5]]])
    longer = [norms[0].log(), norms[0].log() + 2]
    rule = choices.oracle(choices.Calibration([], [], [0.0, 2.0], longer), None, 0.5)
    x = torch.zeros(1, 1, 8)
    assert (
        rule(0, x, norms).tolist()
        == rule(1, x, norms * torch.tensor(2.0).exp()).tolist()
        == [[[True, False, True, False]]]
    )
    retrofitted = retrofit(tiny("llama"), Arm())
    tokens = torch.randint(3, 64, (3, 1, 12), generator=torch.Generator().manual_seed(0))
    embedded = retrofitted.model.get_input_embeddings()(tokens)
    found = choices.calibrate(retrofitted, list(tokens))
    assert found.lengths[0] == pytest.approx(embedded.norm(dim=-1).log().mean().item(), rel=1e-5)
    for level, logs, length in zip(found.levels, found.norms, found.lengths, strict=True):
        torch.testing.assert_close(level, logs.mean(0) - length)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keep": (5,)}, "keep=5: the layers have 4 heads; choose 1..4"),
        ({"blocks": 99}, "has 56 examples; choose blocks=1..56"),
        ({"calibration": 99}, "choose calibration=4..56"),
        ({"context": 5000}, "less than one block of 5000"),
        ({"text": "nowhere.txt"}, "data=nowhere.txt: cannot be read as text"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(
    asked: Settings, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:

    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        study(replace(asked, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_routers_over_layers_share_one_threshold_on_what_they_were_fitted_to() -> None:
    """Placed layer by layer first, they would no longer be comparable."""
    retrofitted = retrofit(tiny("llama"), Arm(router=LearnedRouter(), gate=Unit()))
    texts = torch.randint(3, 64, (8, 1, 12), generator=torch.Generator().manual_seed(0))
    sources = Sources(retrofitted, list(texts), NextToken(), 0)
    sources.placed(2, None)
    sources.placed(None, 0.5)
    found, constants, _ = sources.fitted
    for router, constant, length in zip(retrofitted.routers, constants, found.lengths, strict=True):
        moved = router.of_input.bias + length - constant
        torch.testing.assert_close(moved - moved[0], torch.zeros(4), rtol=0, atol=1e-5)
    first, second = (
        (router.of_input.bias - constant + length)[0]
        for router, constant, length in zip(retrofitted.routers, constants, found.lengths, strict=True)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)
