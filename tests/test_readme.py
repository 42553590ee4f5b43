"""What the README tells a reader to type is typed here.

The `bash` and `python` blocks of a document run in their order, in one empty folder, as they are written, but with
HEADWISE_QUICK=1: that is `quick=true` on every run, so a command is shown to work and its numbers are not looked at.
A block that cannot run here says why in the line above it: `<!-- not run: it needs a GPU -->`. One with
`<!-- file: mine.py -->` above it is added to that file, for blocks below it to use.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import headwise
from headwise.commands.catalogue import commands
from headwise.training.overrides import parse

ROOT = Path(__file__).parents[1]
DOCS = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob("docs/*.md"))
RUNNABLE = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
BLOCK = re.compile(
    r"(?:^<!-- (?:not run:(?P<reason>[^\n]*)|file: (?P<file>[\w.]+) )-->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
SECONDS = 1500


@dataclass(frozen=True)
class Block:
    """One fenced block; `reason` is None where it is to be run, `file` the file that it belongs to, if it does."""

    line: int
    language: str
    code: str
    reason: str | None
    file: str | None = None


def blocks(text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        line = text[: match.start("code")].count("\n") + 1
        reason = match["reason"] and match["reason"].strip()
        found.append(Block(line, match["language"], match["code"], reason, match["file"]))
    return found


def runnable(name: str) -> list[Block]:
    """The blocks of a document that are typed here."""
    found = blocks((ROOT / name).read_text(encoding="utf-8"))
    return [block for block in found if block.language in RUNNABLE and block.reason is None and block.file is None]


DOCUMENTS = [
    name for name in ["README.md", "CONTRIBUTING.md", *DOCS] if blocks((ROOT / name).read_text(encoding="utf-8"))
]
TYPED = [name for name in DOCUMENTS if runnable(name)]


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "HEADWISE_QUICK": "1"}
    # A reader has all cores; documents that are typed at once share them
    at_once = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    environment["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // at_once, 1))
    return subprocess.run(
        [*RUNNABLE[block.language], block.code],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


PLANTED = """\
# A document

```bash
headwise list
```

Text.

<!-- not run: it needs a GPU -->
```bash
headwise train device=cuda
```

```
not a command
```

```python
print("hello")
```

<!-- file: mine.py -->
```python
ONE = 1
```
"""


def test_the_blocks_of_a_planted_document_are_found_with_their_lines_and_reasons() -> None:
    assert blocks(PLANTED) == [
        Block(4, "bash", "headwise list\n", None),
        Block(11, "bash", "headwise train device=cuda\n", "it needs a GPU"),
        Block(15, "", "not a command\n", None),
        Block(19, "python", 'print("hello")\n', None),
        Block(24, "python", "ONE = 1\n", None, "mine.py"),
    ]


def test_a_planted_command_that_fails_is_seen(tmp_path: Path) -> None:
    wrong = run(Block(1, "bash", "headwise train arm=hmr | cat\necho unreachable\n", None), tmp_path)
    assert wrong.returncode == 2
    assert "did you mean hrm?" in wrong.stderr
    assert wrong.stdout == ""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_block_that_is_not_run_says_why(name: str) -> None:
    found = blocks((ROOT / name).read_text(encoding="utf-8"))
    assert [block.line for block in found if block.reason == ""] == []


@pytest.mark.parametrize("file", sorted(["README.md", "CONTRIBUTING.md", *DOCS]))
def test_brackets_stand_in_quotes_so_that_every_shell_leaves_them_alone(file: str) -> None:
    """zsh refuses `sizes=[tiny,small]` as a pattern that meets no file, and bash takes one that does."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    commands = [line.strip().partition(" #")[0] for line in lines if line.strip().startswith("headwise ")]
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"", "", command) for command in commands]
    assert [command for command in bare if re.search(r"=\[", command)] == []


def test_every_page_that_shows_how_to_type_something_is_typed() -> None:
    assert {"README.md", "docs/concepts.md", "docs/extending.md", "docs/sorting.md"} <= set(TYPED)


def settings_of(name: str) -> list[tuple[str, list[str]]]:
    """Command and words of every run and comparison that a document names, in its text as in its blocks."""
    found = []
    for line in (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        match = re.match(r"\s*headwise (train|compare) (.*)", line)
        if match and not re.search(r"<|\.\.\.|--plugin|resume=", match[2].partition(" #")[0]):  # nothing is left out
            found.append((match[1], shlex.split(match[2], comments=True)))
    return found


def test_the_settings_of_a_planted_line_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    lines = [
        "    headwise train arm=hrm seed=1 # x",
        "headwise train ... seed=1",
        "headwise compare 'arms=[a,b]' \\",
        "  seeds=2",
    ]
    (tmp_path / "a.md").write_text("\n".join(lines))
    assert settings_of("a.md") == [("train", ["arm=hrm", "seed=1"]), ("compare", ["arms=[a,b]", "seeds=2"])]


@pytest.mark.readme
@pytest.mark.parametrize("name", [name for name in ["README.md", *DOCS] if settings_of(name)])
def test_the_settings_that_a_document_names_are_there(name: str) -> None:
    """Also where a run takes hours and is not typed here: findings do not outlive the keys that they were made with."""
    for command, words in settings_of(name):
        options = commands()[command].options.fields
        own = [word for word in words if re.split(r"[.=]", word)[0] not in options]
        if command == "train":
            headwise.configure(own)
        else:
            (arms,) = (parse(word).value for word in words if word.startswith("arms="))
            headwise.load_arms(arms, own)


@pytest.mark.readme
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", TYPED)
def test_the_commands_of_a_document_run(name: str, tmp_path: Path) -> None:
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        if block.file is not None:
            with (tmp_path / block.file).open("a", encoding="utf-8") as out:
                out.write(block.code + "\n\n")
        elif block.language in RUNNABLE and block.reason is None:
            done = run(block, tmp_path)
            assert done.returncode == 0, f"{name}:{block.line}\n{block.code}\n{done.stdout}\n{done.stderr}"
