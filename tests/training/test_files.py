"""What to type to go on with a run: it must work as it stands."""

import shlex
from pathlib import Path

import pytest

from headwise import plugins
from headwise.training.files import resume_command
from headwise.training.interruption import TrainingInterrupted


def test_a_directory_with_a_space_is_quoted() -> None:
    assert shlex.split(resume_command(Path("my runs/a"))) == ["headwise", "train", "resume=my runs/a"]


def test_plugins_are_named_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was made with a plugin asks for it, so the command without it would be refused."""
    monkeypatch.setenv(plugins.VARIABLE, "one.py:two")
    words = shlex.split(resume_command(Path("a")))
    assert words == ["headwise", "train", "resume=a", "--plugin", "one.py", "--plugin", "two"]
    assert "--plugin one.py --plugin two" in str(TrainingInterrupted(Path("a"), 3))
