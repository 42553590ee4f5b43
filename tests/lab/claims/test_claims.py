"""The book of claims: every claim can be read and its commands run; a mistake in a user's own is one line."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwise import cli
from headwise.commands.claims_run import check
from headwise.errors import InputError
from headwise.lab.claims.claim import Command, book, file_of, last_verdict, read_claim
from headwise.lab.claims.retest import CommandFailedError, described, retest
from tests.lab.comparison.workers import STARTED
from tests.processes import within

Captured = pytest.CaptureFixture[str]
MINE: dict[str, Any] = {
    "title": "Cats are liquid",
    "source": "a friend",
    "says": "All of them.",
    "needed": "A cat.",
    "minutes": 0.1,
    "commands": {"kinds": {"run": "list arms"}},
    "rules": [{"name": "measure", "of": "kinds", "at": ["arms", "cat"], "at_least": 1}],
}
CLAIMS = [
    "iteration-sorting",
    "easy-lengths",
    "controller-rate",
    "uas-100",
    "discrete-routing",
    "soft-top-p",
    "saving-46",
]
CLAIMS += [
    "aux-weights",
    "overhead",
    "cached-heads",
    "throughput",
    "maze-scaling",
    "deep-supervision",
    "two-time-scales",
]


def written(folder: Path, **changes: Any) -> Path:
    """A claim of a user's own; a change to None leaves the key out."""
    plain = {key: value for key, value in (MINE | changes).items() if value is not None}
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return file


def answering(monkeypatch: pytest.MonkeyPatch, *results: Any) -> None:
    """Let commands print these results in turn, without running anything."""
    left, real = list(results), subprocess.Popen

    class Process:
        returncode = 0

        def communicate(self) -> tuple[str, None]:
            printed = left.pop(0)
            return (printed if isinstance(printed, str) else json.dumps(printed)), None

    def begun(words: list[str], *arguments: Any, **settings: Any) -> Any:
        return Process() if words[0] == sys.executable else real(words, *arguments, **settings)

    monkeypatch.setattr(subprocess, "Popen", begun)


def test_the_fourteen_claims_are_in_the_book() -> None:
    assert set(CLAIMS) <= set(book())


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_of_the_book_could_be_run_both_ways(name: str, tmp_path: Path) -> None:
    claim = read_claim(file_of(name))
    assert claim.title
    assert not claim.title.endswith(".")
    for quick in (False, True):
        check(file_of(name), tmp_path, quick)
    for key, command in claim.commands.items():
        words = command.words(tmp_path, Path(), quick=False)
        assert words[0] == "check-laws" or any(word.startswith(f"output={tmp_path}") for word in words), key
    assert not list(tmp_path.iterdir())


def test_places_stand_for_the_directories_of_results_and_of_the_claim(tmp_path: Path) -> None:
    command = Command("check-laws {here}/gate.py 'output={folder}/a b'", "quick=true")
    assert command.words(Path("/out"), Path("/in"), quick=False) == ["check-laws", "/in/gate.py", "output=/out/a b"]
    assert command.words(Path("/out"), Path("/in"), quick=True)[-1] == "quick=true"


def test_a_verdict_says_what_was_found_by_which_command_when_and_on_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, {"arms": {"cat": 2}}, {"arms": {"cat": 0}})
    verdict = retest(written(tmp_path), tmp_path / "out")
    assert verdict == json.loads((tmp_path / "out" / "mine" / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["outcome"] == "holds"
    assert verdict["evidence"] == [{"outcome": "holds", "text": "arms, cat: 2; asked for: at least 1"}]
    assert [each["command"] for each in verdict["commands"]] == ["headwise list arms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", verdict["date"])
    assert "cores" in verdict["machine"]
    assert "version" in verdict["headwise"]
    # What is taken up again took what it took at first
    file = tmp_path / "out" / "mine" / "verdict.json"
    verdict["commands"][0]["seconds"] = 500.0
    file.write_text(json.dumps(verdict), encoding="utf-8")
    again = retest(written(tmp_path), tmp_path / "out")
    assert (again["outcome"], again["seconds"]) == ("does not hold", 500.0)


def test_no_kept_verdict_names_a_place_of_the_machine_that_it_was_tested_on() -> None:
    kept = [json.loads(file.with_suffix(".json").read_text()) for file in book().values() if last_verdict(file)]
    for verdict in kept:
        assert not [each["command"] for each in verdict["commands"] if re.search(r"(=|\s)/", each["command"])]
        assert not verdict["quick"]


def test_a_quick_try_has_a_directory_of_its_own_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"arms": {"cat": 2}})
    assert retest(written(tmp_path), tmp_path / "out", quick=True)["outcome"] == "no verdict"
    assert [path.name for path in (tmp_path / "out" / "mine").iterdir()] == ["quick"]


def test_a_command_without_a_result_ends_the_test_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "Segmentation fault")
    with pytest.raises(CommandFailedError, match="claims mine: command kinds ended with exit code 0 and no result"):
        retest(written(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out" / "mine" / "verdict.json").exists()


def test_a_claim_of_ones_own_is_run_kept_and_shown(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, rules=[{"name": "measure", "of": "kinds", "at": ["arms", "cat"], "at_most": 1}])
    answering(monkeypatch, {"arms": {"cat": 2}})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claims", "run", str(file), "keep=true"]) == 0
    out = capsys.readouterr().out
    assert "does not hold" in out
    assert "arms, cat: 2; asked for: at most 1" in out
    page = (tmp_path / "claims" / "report.html").read_text(encoding="utf-8")
    for part in ("Cats are liquid", "does not hold", "A cat.", "headwise list arms"):
        assert part in page
    assert described(file)["verdict"]["outcome"] == "does not hold"
    assert cli.main(["claims", str(file)]) == 0
    assert "does not hold" in capsys.readouterr().out
    assert cli.main(["report", "claims"]) == 0


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert file_of("~/mine.yaml") == file


def test_the_book_is_listed_and_a_claim_shown_in_full(capsys: Captured) -> None:
    assert cli.main(["claims", "--json"]) == 0
    assert {claim["name"] for claim in json.loads(capsys.readouterr().out)} == set(book())
    assert cli.main(["claims", "iteration-sorting"]) == 0
    out = capsys.readouterr().out
    assert "+18.7 %" in out
    assert "headwise compare task=sorting" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "mine.yaml: title: missing; it has no default"),
        ({"rules": None}, "mine.yaml: rules: missing"),
        ({"rules": []}, "mine.yaml: rules: none; give one or more"),
        ({"commands": {}}, "mine.yaml: commands: none; name one or more"),
        ({"tittle": "x"}, "mine.yaml: tittle=x: unknown key"),
        ({"minutes": "long"}, "mine.yaml: minutes=long: expected a number"),
        ({"rules": [{"name": "diference"}]}, "did you mean difference?"),
        ({"rules": [{"name": "measure", "of": "kinds", "at": ["x"]}]}, "at_least and at_most are both missing"),
        (
            {"rules": [{"name": "measure", "of": "other", "at": ["x"], "at_least": 1}]},
            "no command other; there are kinds",
        ),
        ({"rules": ["measure"]}, "expected a name, one of difference, growth"),
        ({"commands": {"kinds": {"run": "train task=chess"}}}, "commands.kinds: task=chess: unknown"),
        ({"commands": {"kinds": {"run": "control task=chess"}}}, "commands.kinds: task=chess: unknown"),
        ({"commands": {"kinds": {"run": "compare task=sorting arms=[hmr]"}}}, "did you mean hrm?"),
        ({"commands": {"kinds": {"run": "trian task=sorting"}}}, "commands.kinds: trian task=sorting: unknown command"),
        ({"commands": {"kinds": {"run": "list kinds 'a"}}}, "run=list kinds 'a: No closing quotation (commands.kinds)"),
    ],
)
def test_a_mistake_in_a_claim_is_one_line_and_nothing_is_run(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, **changes)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claims", "run", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["claims", "iteration-sort"], "did you mean iteration-sorting?"),
        (["claims", "run"], "which claim? all, a file, or of"),
        (["claims", "run", "nowhere.yaml"], "claims nowhere.yaml: no such file"),
        (["claims", "run", "all", "keep=true", "quick=true"], "a quick try gives no verdict to keep"),
    ],
)
def test_a_claim_that_is_not_there_is_one_line(words: list[str], message: str, capsys: Captured) -> None:
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_verdict_beside_a_claim_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    file = written(tmp_path)
    file.with_suffix(".json").write_text('{"outcome": 3}', encoding="utf-8")
    assert cli.main(["claims", str(file)]) == 2
    assert "mine.json" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"mine\.json"):
        described(file)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("number", "ignored"),
    [(signal.SIGINT, True), (signal.SIGTERM, False)],  # ignored in the background of a shell
)
def test_a_stop_reaches_the_command_once_and_says_how_to_go_on(
    number: signal.Signals, ignored: bool, tmp_path: Path
) -> None:
    run = "train task=sorting task.length=5 training.updates=100000 training.loggers=[] device=cpu output={folder}"
    file = written(tmp_path, commands={"kinds": {"run": run}})
    words = [sys.executable, "-m", "headwise", "claims", "run", str(file)]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    try:
        assert within(STARTED, lambda: process.poll() is not None or any(tmp_path.glob("claims/mine/*/metrics.jsonl")))
        assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=STARTED)
    finally:
        process.kill()  # and what it started ends with it
    assert process.returncode == 130
    assert f"continue with: headwise claims run {file}" in said
    assert list(tmp_path.glob("claims/mine/*/checkpoints/last.ckpt"))
