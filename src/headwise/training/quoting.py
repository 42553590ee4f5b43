"""Brackets and quotes in the words of a command line, and what the shell made of them."""

import itertools
import re
import shlex
from collections.abc import Sequence

from headwise.errors import InputError
from headwise.schema import short

_CLOSES = {"(": ")", "[": "]", "{": "}"}
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_PLAIN_ITEM = re.compile(r"[\w.+-]+|" + _QUOTED.pattern)


def key_of(word: str) -> str:
    """The key of a `key=value` that need not be readable."""
    return word.partition("=")[0].strip()


def refuse_parted(words: Sequence[str]) -> None:
    """Refuse words that are the parts of one, which the shell parted at its spaces: `arms=[baseline,` and `hrm]`.

    Raises:
        InputError: with the word as it has to be typed.
    """
    for index, word in enumerate(words):
        if "=" not in word or not unclosed(word):
            continue
        for end in range(index + 2, len(words) + 1):
            whole = "".join(words[index:end])
            if not unclosed(whole):
                typed = shlex.join(words[index:end])
                remedy = f"; write {shlex.quote(with_quotes(whole))}" if len(whole) <= 160 else "; put it into quotes"
                raise InputError(f"{short(typed)}: parted at its spaces by the shell{remedy}")


def unclosed(word: str) -> list[str]:
    """Brackets that are opened and not closed, outside of quotes; a bracket closed without one counts as open."""
    waiting: list[str] = []
    for character in _QUOTED.sub("", word):
        if character in _CLOSES:
            waiting.append(_CLOSES[character])
        elif character in _CLOSES.values() and (not waiting or waiting.pop() != character):
            return [character]
    return waiting


def depth(word: str) -> int:
    steps = (1 if c in _CLOSES else -1 if c in _CLOSES.values() else 0 for c in _QUOTED.sub("", word))
    return max(itertools.accumulate(steps, initial=0))


def with_quotes(word: str) -> str:
    """The word with quotes around those items of its list that need them: `arms=[a,"hrm:refinement.steps=5"]`."""
    key, _, text = word.partition("=")
    if not (text.startswith("[") and text.endswith("]")):
        return word
    items = [item.strip() for item in re.split(r",(?![^\[{(]*[\]})])", text[1:-1])]
    quoted = [item if _PLAIN_ITEM.fullmatch(item) else f'"{item}"' for item in items]
    return f"{key}=[{','.join(quoted)}]"
