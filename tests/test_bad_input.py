"""What a command line or a file of settings may hold that nobody meant: one line, exit code 2, in bounded time.

Kinds come from public bug reports of configuration libraries: numbers of thousands of digits, brackets without end,
YAML that refers to itself. Whatever it is, the line is short, and nothing is written.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headwise import cli
from headwise.training import overrides, presets
from headwise.training.configuration import load

Captured = pytest.CaptureFixture[str]
LONGEST_LINE = 500

DAMAGED = {
    "a scalar": b"hello\n",
    "a list": b"- router\n- gate\n",
    "a cycle": b"router: &r\n  name: *r\n",
    "a cycle of lists": b"&a [*a]\n",
    "a mapping that holds itself": b"&a\nrouter: *a\n",
    "a tag": b"router: !!python/object/apply:os.system [echo]\n",
    "a tag of its own": b"router: !mine {name: learned}\n",
    "not UTF-8": b"router: {name: \xff\xfe}\n",
    "UTF-16": "router: {name: learned}\n".encode("utf-16"),
    "truncated": b"router: {name: learned, granul",
    "NUL": b"router: {name: \x00}\n",
    "keys that cannot be one": b"? [a, b]\n: 1\n? {c: d}\n: 2\n",
    "keys that are no words": b"1: 2\nnull: 3\n",
    "an unknown default": b"defaults: [nowhere]\nrouter: {name: learned}\n",
    "defaults of another kind": b"defaults: 7\n",
    "a reference to nothing": b"router: {name: '${nowhere}'}\n",
    "a reference to the environment": b"router: {name: '${oc.env:HOME}'}\n",
    "many digits": b"router: {name: static, k: " + b"9" * 5000 + b"}\n",
    "many hexadecimal digits": b"router: {name: static, k: 0x" + b"f" * 9000 + b"}\n",
    "out of range": b"router: {name: static, k: 99999999999999999999}\n",
    "infinity": b"refinement: {steps: .inf}\n",
    "two documents": b"router: {name: learned}\n---\ngate: {name: soft}\n",
    "references that grow": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefghij"),
    "brackets 2,000 deep": b"router: " + b"[" * 2000 + b"]" * 2000 + b"\n",
    "brackets 200,000 deep": b"router: " + b"[" * 200_000,
    "blocks 2,000 deep": b"".join(b" " * i + b"k:\n" for i in range(1400)),
}


def line(capsys: Captured, *words: str) -> str:
    """The one line with which these words are refused."""
    assert cli.main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (said,) = captured.err.splitlines()
    assert said.startswith("headwise: ")
    assert len(said) <= LONGEST_LINE, f"{len(said)} characters"
    return said


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Words


@pytest.mark.parametrize(
    "word",
    [
        "seed=" + "9" * 5000,
        "seed=-" + "9" * 4000,
        "seed=99999999999999999999",
        "seed=9223372036854775808",
        "model.width=" + "1" * 300,
        "training.updates=1e400",
        "training.preset.lr=1e400",
        "training.preset.lr=" + "9" * 400,
        "training.preset.lr=[nan]",
        "training.losses={ponder: inf}",
        "training.losses={ponder: nan}",
        *(f"seed={'[' * depth}" for depth in (1, 2_000, 600_000)),
        *(f"seed={'[' * depth}{']' * depth}" for depth in (20, 2_000, 6_000)),
        f"seed={'{a:' * 2000}1{'}' * 2000}",
        f"arm={'(' * 3000}",
        "arm." * 2000 + "k=1",
        "arm." * 12 + "k=1",
        "x" * 1_000_000 + "=1",
        "seed=" + "x" * 1_000_000,
        "seed=[" + "1," * 20_000 + "1]",
        "seed=" + "\\" * 5000,
        "seed='",
        'seed="',
        "seed=]",
        "seed=a\0b",
        "output=a\0b",
        "output=",
        "=1",
        "=",
        "~",
        "~=",
        "+seed=1",
        "++seed=1",
        "seed@x=1",
        "seed=${oc.env:HOME}",
        "arm.gate={name: soft, name: top_k}",
        "arm.gate={1: 2}",
        "task=[sorting]",
        "task={name: [sorting]}",
        "task=null",
        "task.name=null",
        "arm=null",
        "training=7",
        "model=7",
        "device=gpu",
        "9" * 5000,
        "x" * 100_000,
    ],
    ids=lambda word: f"{word[:24]}...{len(word)}",
)
def test_a_word_that_nobody_meant_is_one_short_line(word: str, capsys: Captured, folder: Path) -> None:
    line(capsys, "train", word)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["compare", "ladder", "scale"])
@pytest.mark.parametrize(
    "arms", ["null", "7", "[1]", "[[baseline]]", "{a: b}", "[" * 3000, '["' + "x" * 100_000 + '"]']
)
def test_arms_that_are_none_are_one_short_line(command: str, arms: str, capsys: Captured, folder: Path) -> None:
    line(capsys, command, f"arms={arms}")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "value"), [("null", None), ("True", True), ("TRUE", True), ("1e-3", 0.001), ("'7'", "7")]
)
def test_all_commands_read_a_value_alike(text: str, value: object) -> None:
    """Four parsers had four opinions on null and True, one of them a text `True` that is taken for yes."""
    from headwise.commands.catalogue import commands
    from headwise.commands.words import read
    from tests import recital_any

    (command,) = {command for command in commands().values() if command.name == "generate"}
    assert read(command, recital_any.Options, [f"value={text}"]).value == value
    assert overrides.parse(f"value={text}").value == value


# What the shell makes of words


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["arms=[baseline,", "hrm]"], "'arms=[baseline,hrm]'"),
        (["arms=[baseline,", "looped,", "hrm]", "seeds=2"], "'arms=[baseline,looped,hrm]'"),
        (["arms=[baseline,", "hrm:refinement.steps=5]"], """'arms=[baseline,"hrm:refinement.steps=5"]'"""),
        (["arms=[baseline,hrm:refinement.steps=5]"], """'arms=[baseline,"hrm:refinement.steps=5"]'"""),
        (["arms=[baseline,hrm"], "'arms=[baseline,hrm]'"),
        (["arms=baseline"], "'arms=[baseline]'"),
    ],
)
def test_what_the_remedy_says_can_be_typed(words: list[str], remedy: str, capsys: Captured) -> None:
    """The word between `write` and the end, given back as the shell would give it, is read as was meant."""
    said = line(capsys, "compare", *words)
    assert f"write {remedy}" in said
    (typed,) = shlex.split(remedy)
    arms = overrides.parse(typed).value
    assert arms[0] == "baseline"
    assert all(isinstance(arm, str) for arm in arms)


def test_a_pattern_that_met_two_runs_or_none_is_named(capsys: Captured, folder: Path) -> None:
    said = line(capsys, "evaluate", "runs/one/a b", "runs/one/c", "task.length=12")
    assert "takes one run, got 2: runs/one/a b runs/one/c" in said
    assert "headwise evaluate 'runs/one/a b'" in said
    assert "no run met the pattern" in line(capsys, "evaluate", "runs/one/*")


def test_a_text_without_quotes_is_named(capsys: Captured) -> None:
    assert "how: a word too many" in line(capsys, "generate", "runs/one", "tell", "how")


# Files of settings


@pytest.fixture
def conf(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `conf` in which files may be damaged."""
    copied = folder / "conf"
    shutil.copytree(presets.CONF, copied)
    for module in (presets, overrides):
        monkeypatch.setattr(module, "CONF", copied)
    return copied


GROUPS = ("arm", "task", "training")
"""Their files are read by one function, so each kind of damage meets one of them, in turn."""


@pytest.mark.parametrize(("group", "kind"), [(GROUPS[i % 3], kind) for i, kind in enumerate(DAMAGED)])
def test_a_damaged_file_of_a_group_is_one_line(group: str, kind: str, conf: Path, capsys: Captured) -> None:
    (conf / group / "mine.yaml").write_bytes(DAMAGED[kind])
    line(capsys, "train", f"{group}=mine", "--show")


@pytest.mark.parametrize("kind", DAMAGED)
def test_the_damaged_settings_of_a_run_are_one_line(kind: str, folder: Path, capsys: Captured) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_bytes(DAMAGED[kind])
    line(capsys, "evaluate", "run")
    line(capsys, "train", "resume=run")


def test_a_pipe_in_place_of_a_file_is_one_line_and_not_waited_for(conf: Path, folder: Path, capsys: Captured) -> None:
    os.mkfifo(conf / "arm" / "mine.yaml")
    assert "not a regular file" in line(capsys, "train", "arm=mine")
    (folder / "run").mkdir()
    os.mkfifo(folder / "run" / "config.yaml")
    line(capsys, "evaluate", "run")


def test_a_file_may_refine_another(conf: Path) -> None:
    (conf / "arm" / "mine.yaml").write_text("defaults: [hrm, _self_]\nrefinement: {steps: 9}\n", encoding="utf-8")
    mine, hrm = load(["arm=mine"]).arm, load(["arm=hrm"]).arm
    assert (mine.refinement.steps, mine.controller) == (9, hrm.controller)


# Paths, the environment, other terminals


def test_a_tilde_is_the_home_in_every_command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    home = folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    config = load(["output=~/x", "cache=~/y", "task=language", "task.corpus=~/text.txt"])
    assert (config.output, config.cache) == (str(home / "x"), str(home / "y"))
    assert config.task.corpus == str(home / "text.txt")
    for words in (["evaluate", "~/run"], ["train", "resume=~/run"], ["report", "~/run"], ["generate", "~/run", "a"]):
        assert f"{home}/run" in line(capsys, *words)
    assert "no such home" in line(capsys, "train", "output=~nobody-of-that-name/x")
    assert sorted(folder.iterdir()) == [home]


def test_null_is_no_path(capsys: Captured) -> None:
    assert cli.main(["train", "resume=null", "cache=null", "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cache"] is None
    assert "output=None: expected a path" in line(capsys, "train", "output=null")


def test_a_file_where_benchmarks_should_go_is_refused_before_they_run(folder: Path, capsys: Captured) -> None:
    (folder / "taken").touch()
    assert "output=taken: a file; choose a directory" in line(capsys, "bench", "compaction", "output=taken")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1:strict"])
def test_a_terminal_that_lacks_characters_gets_the_results_all_the_same(encoding: str, folder: Path) -> None:
    """`H·softmax(z)` has a dot that ASCII lacks; the original died of it when all work was done."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "headwise", "list", "gates"], capture_output=True, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert b"softmax(z)" in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "headwise", "list", "\N{GREEK SMALL LETTER ALPHA}"], capture_output=True, env=environment
    )
    assert wrong.returncode == 2
    assert b"Traceback" not in wrong.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_standard_output_is_one_line(folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "headwise", "list"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "headwise: standard output: cannot be written (No space left on device)\n"
