"""`headwise completion`: the script by which a shell completes what is typed, and what that script asks."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headwise.commands.typed import Candidate
from headwise.files import read_text
from headwise.schema import argument

if TYPE_CHECKING:  # which loads rich, as long again as an answer takes
    from headwise.commands.result import Result

SCRIPTS = Path(__file__).parent / "shells"
MEANING = 60
"""Characters of what is said of a candidate, where the shell shows it beside it."""


@dataclass(frozen=True)
class Options:
    """Print the script that completes commands, keys and values in a shell

    It is read by the shell at its start, for example with eval "$(headwise completion bash)" in ~/.bashrc
    (docs/terminal.md).

    Args:
        shell: bash, zsh or fish.
    """

    shell: Literal["bash", "zsh", "fish"] = argument()


def run(options: Options) -> "Result":
    """The script, as text."""
    from headwise.commands.result import Result

    script = read_text(SCRIPTS / f"headwise.{options.shell}")
    return Result({"shell": options.shell, "script": script}, [script.rstrip("\n")])


def answer(words: Sequence[str]) -> str:
    """What a script gets that has asked `headwise --complete <shell> ...`: a line for each word that may follow.

    bash sends its COMP_WORDBREAKS and the line up to the cursor, and gets what it is to insert. The others send the
    words before the cursor and the one at it, as it is typed in fish, and get the words whole; zsh before each a 1
    where it is finished, both behind each what it means.
    """
    # Parsing makes a million small objects that all live: looking for garbage among them takes a third of the time
    gc.disable()
    from headwise.commands.candidates import candidates
    from headwise.commands.shell_words import read_line

    shell, *rest = words or [""]
    if shell == "bash" and len(rest) == 2:
        line = read_line(rest[1], rest[0])
        found = candidates(line.words[1:], line.current)
        replies = [line.replacement(each.text, each.ends) for each in found]
        if line.quote and len(found) == 1 and not found[0].ends:
            replies.append(f"{replies[0]}...")  # behind the only one bash would close the quote
        return "".join(f"{reply}\n" for reply in replies)
    *before, current = rest or [""]
    if shell == "zsh":
        found = candidates(before, current)
        return "".join(f"{int(each.ends)}\t{each.text}\t{_said(each)}\n" for each in found)
    found = candidates(before, read_line(current).current)
    return "".join(f"{each.text}\t{_said(each)}\n" for each in found)


def _said(candidate: Candidate) -> str:
    """The first sentence of what a candidate means, on one line."""
    text = " ".join(candidate.meaning.split()).partition(". ")[0].rstrip(".")
    return text if len(text) <= MEANING else f"{text[: MEANING - 3].rsplit(' ', 1)[0]}..."
