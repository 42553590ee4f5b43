"""`headwise doctor`: what it prints, how it ends, and what it refuses."""

import json
import time
from pathlib import Path

import pytest

from headwise import cli
from headwise.lab.doctor.findings import Diagnosis, Finding, Rules, Seen, apply

Captured = pytest.CaptureFixture[str]

SCRIPT = """
import torch
from torch import nn
from neighbour import Gated

def case():
    torch.manual_seed(0)
    model = Gated()
    loss = lambda model, batch: nn.functional.mse_loss(model(batch), batch.sum(-1, keepdim=True))
    return {"model": model, "loss": loss, "batches": [torch.randn(8, 4) for _ in range(4)]}

def planted():
    given = case()
    given["optimizer"] = torch.optim.Adam(Gated().parameters())
    return given

def nothing():
    pass

def a_model():
    return Gated()

def without_a_loss():
    return {"model": Gated(), "batches": []}

def with_a_word_too_many():
    return case() | {"optimiser": None}

def failing():
    raise KeyError("weights")

def with_a_failing_loss():
    return case() | {"loss": lambda model, batch: model(batch[:, :2]).mean()}

def leaving():
    raise SystemExit(3)

if __name__ == "__main__":
    raise RuntimeError("is not run")
"""

NEIGHBOUR = """
from torch import nn

class Gated(nn.Module):
    role = "backbone"

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.body(x).tanh())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR, encoding="utf-8")
    (tmp_path / "mine.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path / "mine.py"


def test_a_sound_model_ends_with_0_and_a_defect_with_1(script: Path, capsys: Captured) -> None:
    assert cli.main(["doctor", f"{script}:case"]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert cli.main(["doctor", f"{script}:planted"]) == 1
    out = capsys.readouterr().out
    for part in ("1 finding", "sure", "optimiser of another model", "headwise.optimizer_for", "would leave 4 of 4"):
        assert part in out


def test_json_holds_every_field_of_a_finding(script: Path, capsys: Captured) -> None:
    assert cli.main(["doctor", f"{script}:planted", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["target"] == f"{script}:planted"
    assert said["unexamined"] == {}
    (finding,) = said["findings"]
    assert finding.keys() == {"what", "where", "evidence", "confidence", "remedy", "command"}
    assert finding["command"] == f"headwise doctor {script}:planted"


def test_a_run_is_examined_within_thirty_seconds(sorting_run: Path, capsys: Captured) -> None:
    began = time.process_time()
    assert cli.main(["doctor", str(sorting_run)]) == 0
    assert time.process_time() - began < 30
    capsys.readouterr()


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("nowhere", ["nowhere: not found; give a run, a comparison or script.py:function"]),
        (".", ["not a run directory (it holds no config.yaml)"]),
        ("mine.py", ["which function?", "headwise.examine"]),
        ("gone.py:case", ["gone.py: not found"]),
        ("mine.py:cases", ["no function cases; it has case, planted", "did you mean case?"]),
        ("mine.py:", ["no function (none was named)"]),
        (
            "mine.py:nothing",
            ["returns nothing; expected a mapping with the arguments of headwise.examine"],
        ),
        ("mine.py:a_model", ["returns a Gated; expected a mapping"]),
        ("mine.py:without_a_loss", ["loss: missing; expected a function of (model, batch)"]),
        ("mine.py:with_a_word_too_many", ["optimiser: unknown; allowed: model, loss, batches, optimizer"]),
        ("mine.py:failing", ["mine.py: fails with KeyError: 'weights'"]),
        ("mine.py:with_a_failing_loss", ["the loss fails with RuntimeError: mat1 and mat2 shapes"]),
        ("mine.py:leaving", ["ends the program (exit 3)"]),
    ],
)
def test_what_cannot_be_examined_is_one_line(
    target: str, parts: list[str], script: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(script.parent)
    before = sorted(script.parent.iterdir())
    assert cli.main(["doctor", target]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    for part in parts:
        assert part in line
    assert [file for file in sorted(script.parent.iterdir()) if file.name != "__pycache__"] == before


def test_a_directory_of_other_work_asks_for_a_run_in_it(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    assert cli.main(["doctor", str(tmp_path)]) == 2
    assert "holds runs of a comparison or a ladder; give a run in it" in capsys.readouterr().err


def test_the_surest_findings_come_first_and_a_rule_that_fails_stops_no_other() -> None:
    rules = Rules("a test")

    def add(name: str, look: object) -> None:
        rules(name, symptom="", diagnosis="", remedy="", command="look {target}")(look)  # type: ignore[arg-type]

    add("maybe", lambda evidence: [Seen("a", "b", "possible")])
    add("broken", lambda evidence: [evidence["missing"]])
    add("certain", lambda evidence: [Seen("a", "b", "sure")])
    found = apply(rules, {}, "it")
    assert [finding.what for finding in found.findings] == ["certain", "maybe"]
    assert found.findings[0] == Finding("certain", "a", "b", "sure", "", "look it")
    assert found.unexamined == {"broken": "KeyError: 'missing'"}
    assert not Diagnosis("it", found.findings[1:]).alarming
