"""The command line as a user meets it: what it prints, where, and how it ends."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import pytest

from headwise import cli
from headwise.commands.catalogue import commands
from headwise.commands.result import Result, key_values, readable
from headwise.sources import REQUIRED
from headwise.tasks import TASKS
from tests.commands.test_help import imported

# A model and data so small that a run takes a second
SMALL = ["model.width=16", "model.heads=2", "model.ffn=16", "task.length=6", "task.train_examples=32"]
SMALL += ["task.validation_examples=16", "task.test_examples=16", "training.loggers=[]"]
SHORT = [*SMALL, "training.updates=2", "training.batch_size=8"]
SUMMARY_KEYS = [
    "task",
    "arm",
    "seed",
    "metric",
    "value",
    "floor",
    "ceiling",
    "parameters",
    "flops_per_example",
    "train_seconds",
    "refinement_steps_mean",
    "heads_active_mean",
    "heads_executed_mean",
]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: Captured, *words: str) -> str:
    """The one line with which the command line refuses these words."""
    assert cli.main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("headwise: ")
    return lines[0]


# Help


def test_help_names_every_command_those_of_tasks_included(capsys: Captured) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in commands().items():
        assert f"  {name} " in out
        assert command.summary in out
    assert {"parse", "generate", "data mazes"} <= set(commands())
    assert cli.main([]) == 2


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself_and_each_of_its_options(name: str, capsys: Captured) -> None:
    """What is shown, read from the source, is what the dataclass says when it is imported."""
    command = commands()[name]
    assert cli.main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: headwise {name}")
    assert "--json" in out
    options = importlib.import_module(command.module).Options
    assert list(command.options.fields) == [field.name for field in dataclasses.fields(options)]
    for field in dataclasses.fields(options):
        shown = command.options.fields[field.name]
        assert shown.meaning, f"{name}: {field.name} is not explained"
        if shown.kind == "option":
            assert f"  {field.name}=" in out
            assert shown.allowed, f"{name}: {field.name} does not say what it may be"
            assert (shown.default is REQUIRED) == (field.default is dataclasses.MISSING)
            assert shown.default is REQUIRED or imported(shown.default) == field.default


def test_the_first_word_of_two_explains_both(capsys: Captured) -> None:
    assert cli.main(["data", "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: headwise data get <name>" in out
    assert "usage: headwise data mazes output=..." in out
    assert "headwise data get" in refused(capsys, "data")


# Results


def test_train_then_evaluate_then_report(capsys: Captured, folder: Path) -> None:
    assert cli.main(["train", "arm=hrm", *SHORT, "--json", "seed=1"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert set(SUMMARY_KEYS) <= set(summary)
    assert (summary["arm"], summary["seed"], summary["updates"]) == ("hrm", 1, 2)
    (run,) = (folder / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text(encoding="utf-8")) == summary
    assert captured.err

    assert cli.main(["evaluate", str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["value"] == pytest.approx(summary["value"], abs=1e-6)
    assert cli.main(["evaluate", str(run), "task.length=8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ceiling"] != summary["ceiling"]

    assert cli.main(["report", str(run), "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["report"]).is_file()


def test_train_without_json_prints_a_table_and_the_run_directory(capsys: Captured, folder: Path) -> None:
    assert cli.main(["train", *SHORT]) == 0
    out = capsys.readouterr().out
    (run,) = (folder / "runs").iterdir()
    assert f"run directory: runs/{run.name}" in out
    assert "ceiling" in out
    table = out.partition("run directory")[0].splitlines()
    assert len([line for line in table if line.strip()]) == 10, "ten rows, and progress is for standard error"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "make more of it free, or the work smaller"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), r"to load what .*libtorch_cpu\.so"),
    ],
)
def test_memory_that_runs_out_is_one_line(
    error: Exception, said: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", out)
    assert cli.main(["train"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"headwise: there is not enough memory.*{said}", line)


def test_what_a_cluster_leaves_in_the_environment_does_not_matter(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "x")
    assert cli.main(["train", *SHORT]) == 0


def test_compare_prints_the_comparison_that_it_writes(capsys: Captured, folder: Path) -> None:
    words = ["compare", "task=sorting", 'arms=[baseline,"hrm:refinement.steps=5"]', "seeds=2", "jobs=1", *SHORT]
    assert cli.main([*words, "output=both", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["arms"]) == ["baseline", "hrm:refinement.steps=5"]
    assert all(len(arm["values"]) == 2 for arm in result["arms"].values())
    assert result["pairs"][0]["verdict"]
    assert json.loads((folder / "both" / "comparison.json").read_text(encoding="utf-8")) == result
    assert (folder / "both" / "report.html").is_file()
    assert cli.main([*words, "output=both"]) == 0
    assert "hrm:refinement.steps=5" in capsys.readouterr().out


def test_show_prints_the_resolved_settings_and_trains_nothing(capsys: Captured, folder: Path) -> None:
    assert cli.main(["train", "arm=hrm", "arm.gate=top_k", "quick=true", "--show", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["arm"]["gate"] == {"name": "top_k", "k": 2, "renormalise": False}
    assert settings["quick"] is True
    assert list(folder.iterdir()) == []


def test_list_names_everything_with_one_line_each(capsys: Captured) -> None:
    assert cli.main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"arms", "tasks", "gates", "controllers", "halting", "presets"} <= set(found)
    for kind, lines in found.items():
        assert lines, kind
        for name, line in lines.items():
            assert line, f"{kind}: {name} has no description"
            assert "(" not in line or not line.startswith(name.title()), f"{kind}: {name} shows a signature: {line}"
    assert cli.main(["list", "gates"]) == 0
    out = capsys.readouterr().out
    assert "top_k" in out
    assert "hrm" not in out


# Mistakes: one line, exit code 2, nothing written


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["<command>", "--help"]),
        (["trian"], ["trian", "unknown command", "compare", "did you mean train?"]),
        (["train", "--quick"], ["--quick", "unknown option"]),
        (["train", "arm=hmr"], ["arm=hmr", "baseline", "did you mean hrm?"]),
        (["train", "task=maize"], ["task=maize", "sorting"]),
        (["train", "arm.refinement.stps=3"], ["arm.refinement.stps=3", "unknown key", "did you mean steps?"]),
        (["train", "training.updates=0"], ["updates=0", "1 or more"]),
        (["train", "arm=pointer", "arm.gate.k=9"], ["9", "8 heads", "1..8", "arm.gate.k"]),
        (["train", "task.mask_rate=0.95"], ["task.mask_rate=0.95", "at least 2", "mask_rate <="]),
        (["train", "arm=baseline", "arm.controller=hrm"], ["arm.controller.name=hrm", "arm.router.name=learned"]),
        (
            ["train", "arm=hrm", "arm.halting=ponder", "arm.refinement.supervision=ramp"],
            ["arm.refinement.supervision=ramp", "use last"],
        ),
        (["train", "training.warmup=2"], ["warmup=2", "longer than the run"]),
        (["train", "resume=nothing"], ["nothing", "not a run directory"]),
        (["train", "train"], ["train train: not a setting", "key=value"]),
        (["evaluate"], ["which run?"]),
        (["evaluate", "nothing"], ["nothing", "not a run directory"]),
        (["report"], ["which directory?"]),
        (["report", "nothing"], ["nothing"]),
        (["compare", "task=sorting"], ["arms= is missing", "write headwise compare 'arms=[first,second]'"]),
        (["compare", "arms=baseline"], ["arms=baseline: expected a list", "write 'arms=[baseline]'"]),
        (["compare", "arms=[baseline,hmr]"], ["arm=hmr", "did you mean hrm?"]),
        (["compare", "arms=[baseline,hrm]", "seeds=0"], ["seeds=0", "1 or more"]),
        (
            ["compare", "arms=[baseline,hrm]", "seeds=some"],
            ["seeds=some: expected a whole number or a list"],
        ),
        (["compare", "arms=[baseline,hrm]", "seeds=[1,1]"], ["seeds=", "different"]),
        (["compare", "arms=[baseline,hrm]", "jobs=0"], ["jobs=0", "1 or more"]),
        (["compare", "arms=[baseline,hrm]", "parity=size"], ["parity=size", "parameters, width, depth"]),
        (["compare", "arms=[baseline,looped,hrm]", "parity=none"], ["parameters"]),
        (
            ["compare", "arms=[baseline,hrm:refinement.steps=12]"],
            ["arms=", """write 'arms=[baseline,"hrm:refinement.steps=12"]'"""],
        ),
        (["compare", "arms=[baseline]", "arm=hrm"], ["arms=[first,second]"]),
        (["list", "gatse"], ["gatse", "did you mean gates?"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], parts: list[str], capsys: Captured, folder: Path
) -> None:
    message = refused(capsys, *words)
    for part in parts:
        assert part in message
    assert list(folder.iterdir()) == []


def test_resuming_with_a_changed_model_is_refused_and_leaves_the_run_as_it_was(capsys: Captured, folder: Path) -> None:
    assert cli.main(["train", "arm=hrm", *SHORT]) == 0
    (run,) = (folder / "runs").iterdir()
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    capsys.readouterr()
    message = refused(capsys, "train", f"resume={run}", "model.width=32")
    assert "model.width=32" in message
    assert "model.width=16" in message
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_an_output_that_cannot_be_written_is_one_line(capsys: Captured, folder: Path) -> None:
    (folder / "taken").write_text("a file", encoding="utf-8")
    assert "taken" in refused(capsys, "train", *SHORT, "output=taken")
    assert (folder / "taken").read_text(encoding="utf-8") == "a file"


def test_a_run_that_diverges_says_where_and_ends_with_code_1(capsys: Captured) -> None:
    assert cli.main(["train", *SMALL, "training.updates=20", "training.preset.lr=1e25"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("headwise: update ")
    assert "gradients blew up in" in captured.err
    assert "Traceback" not in captured.err


def test_a_comparison_with_a_failed_run_ends_with_code_1(capsys: Captured, folder: Path) -> None:
    words = ["compare", "arms=[baseline,gated]", "seeds=1", "jobs=1", *SMALL, "training.updates=20", "output=both"]
    assert cli.main([*words, "training.preset.lr=1e25", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["arms"]["baseline"]["failures"]


def test_a_message_of_several_lines_becomes_one(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(options: object) -> Result:
        raise cli.InputError("first line\n  second line")

    monkeypatch.setattr("headwise.commands.report.run", fails)
    assert refused(capsys, "report", "x") == "headwise: first line second line"


def test_what_libraries_print_on_the_way_stays_out_of_the_result(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chatty(options: object) -> Result:
        print("GPU available: False")
        return Result({"fine": True, "ceiling": float("nan")}, [])

    monkeypatch.setattr("headwise.commands.report.run", chatty)
    assert cli.main(["report", "x", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"fine": True, "ceiling": None}
    assert "GPU available" in captured.err


# A task's own commands


def test_a_task_may_bring_commands_that_are_loaded_when_called(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found without importing anything of the task; `run` is given what loads a model."""
    monkeypatch.setitem(TASKS._members, "recital", "tests.recital:ENTRY")
    commands.cache_clear()
    try:
        assert cli.main(["shuffle", "cards", "length=3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"name": "cards", "length": 3, "loads": True}
        assert cli.main(["shuffle", "cards"]) == 0
        assert "length  20" in capsys.readouterr().out
        assert "did you mean shuffle?" in refused(capsys, "shufle")
        assert "lenght=3: unknown key; allowed in shuffle: length" in refused(capsys, "shuffle", "cards", "lenght=3")
    finally:
        commands.cache_clear()


# How values are written


def test_brackets_in_a_value_are_not_taken_for_a_style(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def brackets(options: object) -> Result:
        return Result({}, [key_values({"router": "W·[x_i ; context]"}), "runs/[red]x"])

    monkeypatch.setattr("headwise.commands.report.run", brackets)
    assert cli.main(["report", "x"]) == 0
    out = capsys.readouterr().out
    assert "W·[x_i ; context]" in out
    assert "runs/[red]x" in out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (266376, "266,376"),
        (0.50143, "0.5014"),
        (49065984.0, "49,065,984"),
        ([1, 0.5], "1, 0.5"),
    ],
)
def test_values_are_written_as_a_person_would(value: object, text: str) -> None:
    assert readable(value) == text
