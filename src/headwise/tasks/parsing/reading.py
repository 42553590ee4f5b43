"""What is to be parsed: CoNLL-U or plain text, from bytes that come in, block by block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Literal

from headwise.errors import InputError
from headwise.tasks.parsing.sentences import Block, Sentence, from_words, parse_lines

Input = Literal["auto", "conllu", "text"]
Tokens = Literal["words", "punctuation"]
Item = tuple[Block | None, Sentence | InputError]

_COMMENT = re.compile(r"#\s*(sent_id|text|newdoc|newpar|global\.columns)\b")
_MARKS = re.compile(r"(\W)\1*|_+")  # one mark, or the same several times: ... !!! --


def told_apart(lines: Iterator[str], kind: Input) -> tuple[Literal["conllu", "text"], Iterator[str]]:
    """Which of the two the lines are, and all of them.

    CoNLL-U is what begins with a comment that CoNLL-U has (`# text = ...` and the like), or whose first line without a
    `#` has a tab in it.
    """
    if kind != "auto":
        return kind, lines
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        if _COMMENT.match(line) or (line.strip() and not line.startswith("#")):
            return "conllu" if line.startswith("#") or "\t" in line else "text", chain(seen, lines)
    return "text", iter(seen)


def texts(lines: Iterable[str], name: str, tokens: Tokens) -> Iterator[Item]:
    """One sentence a line; an empty line is none.

    Args:
        lines: of text.
        name: of the file, for messages.
        tokens: `words` parts at white space; `punctuation` besides parts marks at both ends of a word from it and notes
            that no space stood there.
    """
    count = 0
    for number, line in enumerate(lines, start=1):
        if words := line.split():
            count += 1
            block = _block([_parts(word) if tokens == "punctuation" else [word] for word in words], str(count))
            block = replace(block, where=f"{name}:{number}")
            yield block, block.unparsed


def sentences_of(lines: Iterable[str], name: str, annotated: bool) -> Iterator[Item]:
    """CoNLL-U, as `sentences.parse_lines` says; but with `annotated` a block without any head is no mistake."""
    for block, found in parse_lines(lines, name, annotated):
        if isinstance(found, InputError) and block and all(word["head"] == "_" for word in block.words):
            found = block.unparsed
        yield block, found


def _block(words: list[list[str]], sent_id: str) -> Block:
    block = from_words([part for parts in words for part in parts], sent_id)
    tokens = iter(block.tokens)
    for parts in words:
        for _ in parts[1:]:
            next(tokens)["misc"] = "SpaceAfter=No"
        next(tokens)
    return replace(block, comments=(block.comments[0], f"# text = {' '.join(map(''.join, words))}"))


def _parts(word: str) -> list[str]:
    """Marks in front, the word, marks behind: (U.S., -> ( U.S . ,  and don't stays whole."""
    first = next((place for place, one in enumerate(word) if one.isalnum()), len(word))
    last = next((place for place in range(len(word), first, -1) if word[place - 1].isalnum()), first)
    front, core, behind = word[:first], word[first:last], word[last:]
    parts = [match.group() for match in _MARKS.finditer(front)]
    return parts + [core] * bool(core) + [match.group() for match in _MARKS.finditer(behind)]
