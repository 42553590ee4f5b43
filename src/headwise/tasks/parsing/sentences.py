"""CoNLL-U: sentences for the model, and the file around them, which comes back out as it went in.

A file is read block by block, one sentence each. The model sees the words; comments, multiword tokens (1-2) and empty
nodes (1.1) are passed over and kept in the block. A mistake is an `InputError` that begins with file:line.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from conllu import Token, TokenList
from conllu.exceptions import ParseException
from conllu.parser import DEFAULT_FIELDS, parse_id_value, parse_int_value

from headwise import files
from headwise.errors import InputError

# The other columns stay text: features and the like are of no use here, and as text they come back byte for byte.
_NUMBER = re.compile("[1-9][0-9]{0,8}")

LONGEST_LINE = 4 * files.MEBIBYTE
"""Bytes. A word with all that is known of it has some hundred, a sentence as plain text some thousand."""
LONGEST_NUMBER = 20
"""Characters: two numbers of nine digits, and what stands between them."""

log = logging.getLogger("headwise")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The words of a sentence and its tree.

    Attributes:
        forms: the words.
        heads: of each word its head's number: 0 the root, 1..L the words. Empty where the tree was not read.
        relations: of each word its relation to the head; empty as `heads`.
        where: file:line of the first line, for messages.
    """

    forms: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Block:
    """A sentence as it stands in a file.

    Attributes:
        comments: its first lines, as written.
        tokens: its other lines: words, multiword tokens and empty nodes.
        where: file:line of the first line.
    """

    comments: tuple[str, ...]
    tokens: TokenList
    where: str

    @property
    def words(self) -> list[Token]:
        """The tokens that the model sees."""
        return [token for token in self.tokens if isinstance(token["id"], int)]

    @property
    def unparsed(self) -> Sentence:
        """The words alone, whatever tree the block has."""
        return Sentence(tuple(token["form"] for token in self.words), (), (), self.where)


def read(path: Path) -> list[Sentence]:
    """The sentences of a file to train on or to score against; each has a tree.

    Raises:
        InputError: missing, empty, not UTF-8, malformed, or something other than a tree: file, line and what is wrong.
    """
    return parsed(files.read_bytes(path), path)


def parsed(content: bytes, path: Path) -> list[Sentence]:
    """As `read`, of a file's content."""
    sentences = []
    for _, found in parse_lines(lines_of(io.BytesIO(content), str(path)), str(path)):
        if isinstance(found, InputError):
            raise found
        sentences.append(found)
    if not sentences:
        raise InputError(f"{path}: empty; expected sentences in CoNLL-U")
    return sentences


def lines_of(file: IO[bytes], name: str) -> Iterator[str]:
    """The lines of a file as text, whatever its length; a byte order mark is left out.

    Args:
        file: in bytes.
        name: for messages.

    Raises:
        InputError: a line is not UTF-8, is no text, or has more than `LONGEST_LINE` bytes; names line and byte (from 0,
            of the whole file).
    """
    start, number = 0, 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{name}:{number}"
        if (nul := line.find(b"\0")) >= 0:
            raise InputError(f"{where}: byte {start + nul} is 0; expected text in UTF-8")
        if len(line) > LONGEST_LINE:
            raise InputError(f"{where}: a line of more than {LONGEST_LINE // files.MEBIBYTE} MiB")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = start + error.start
            raise InputError(f"{where}: byte {byte} (0x{line[error.start]:02x}) is not UTF-8") from None
        yield text.removeprefix("\ufeff") if number == 1 else text
        start += len(line)


def parse_lines(
    lines: Iterable[str], name: str, annotated: bool = True
) -> Iterator[tuple[Block | None, Sentence | InputError]]:
    """Sentence by sentence, the good and the bad, so that a caller may report one and go on with the next.

    Args:
        lines: of a CoNLL-U file, with or without their line ends.
        name: of the file, for messages.
        annotated: whether heads and relations are read, and must be a tree; without, whatever those columns hold is
            passed over and the sentence has none.

    Yields:
        The block, None where its lines cannot be read, and its sentence or what is wrong with it.
    """
    warned = False
    for first, block_lines in _blocks(lines):
        block = None
        try:
            block, numbers = _block(block_lines, name, first)
            if not warned and (odd := _odd_end(block, block_lines, first)):
                log.warning("%s:%d: odd white space at the end of the line; kept (said of the first only)", name, odd)
                warned = True
            yield block, _annotated(block, name, numbers) if annotated else block.unparsed
        except InputError as problem:
            yield block, problem


def with_predictions(block: Block, heads: Sequence[int], relations: Sequence[str]) -> str:
    """The block in CoNLL-U with another tree, and a blank line at its end.

    Comments, multiword tokens, empty nodes and the other columns stay byte for byte. DEPS is the exception: an enhanced
    graph made for another tree would contradict this one and be scored as if it had been predicted, and a graph for
    some words only is not valid. So a word that has one gets its predicted arc there; empty nodes keep theirs.

    Args:
        heads: int, per word, 0 the root.
        relations: per word.

    Raises:
        ValueError: not one head and one relation per word.
    """
    words = len(block.words)
    if not len(heads) == len(relations) == words:
        raise ValueError(f"{block.where}: {words} words, {len(heads)} heads and {len(relations)} relations")
    predicted = iter(zip(heads, relations, strict=True))
    lines = list(block.comments)
    for token in block.tokens:
        number, *columns = token.values()
        if isinstance(number, int):
            head, columns[6] = next(predicted)
            columns[5] = str(head)
            columns[7] = "_" if columns[7] == "_" else f"{head}:{columns[6]}"
        else:
            number = "".join(map(str, number))
        lines.append("\t".join([str(number), *columns]))
    return "\n".join(lines) + "\n\n"


def from_words(words: Sequence[str], sent_id: str = "1") -> Block:
    """A block around words that come from no CoNLL-U file; the columns that nobody filled in hold `_`.

    Raises:
        InputError: no words, or one with white space in it.
    """
    if not words:
        raise InputError(f"sentence {sent_id}: no words")
    if odd := next((word for word in words if word.split() != [word]), None):
        raise InputError(f"sentence {sent_id}: {odd!r} is not one word; split the text at white space")
    blank = dict.fromkeys(DEFAULT_FIELDS, "_")
    tokens = TokenList([Token(blank, id=number, form=word) for number, word in enumerate(words, start=1)])
    return Block((f"# sent_id = {sent_id}", f"# text = {' '.join(words)}"), tokens, f"sentence {sent_id}")


def _blocks(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines between blank lines, and the number of the first of them."""
    block: list[str] = []
    first = 1
    for number, line in enumerate(lines, start=1):
        if line := line.rstrip("\r\n"):
            block.append(line)
            continue
        if block:
            yield first, block
        first, block = number + 1, []
    if block:
        yield first, block


def _block(lines: list[str], name: str, first: int) -> tuple[Block, list[int]]:
    """The lines of a sentence, read; and of each word the number of its line in the file."""
    comments: list[str] = []
    tokens: list[Token] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, start=first):
        if not line.startswith("#"):
            tokens.append(_token(line, f"{name}:{number}"))
            if isinstance(tokens[-1]["id"], int):
                numbers.append(number)
        elif tokens:
            raise InputError(f"{name}:{number}: a comment among the words; comments stand before the first")
        else:
            comments.append(line)
    _check_order(tokens, name, first + len(comments))
    if not numbers:
        raise InputError(f"{name}:{first}: a sentence without words")
    return Block(tuple(comments), TokenList(tokens), f"{name}:{first}"), numbers


def _odd_end(block: Block, lines: list[str], first: int) -> int | None:
    """The number of the first word's line that ends in white space other than a space (SpacesAfter= a no-break one)."""
    odd = (number for number, line in enumerate(lines, start=first) if line != line.rstrip())
    return next((number for number in odd if number >= first + len(block.comments)), None)


def _token(line: str, where: str) -> Token:
    columns = line.count("\t") + 1
    if columns != len(DEFAULT_FIELDS):
        raise InputError(f"{where}: columns parted by tabs: {columns}; CoNLL-U has {len(DEFAULT_FIELDS)}")
    if "\t\t" in line or line.startswith("\t") or line.endswith("\t"):
        raise InputError(f"{where}: an empty column; write _ where there is nothing")
    if "  " in line or line != line.strip(" "):
        raise InputError(f"{where}: a space at an end of the line, or two spaces in a row")
    text, *others = line.split("\t")
    return Token(zip(DEFAULT_FIELDS, [_identity(text, where), *others], strict=True))


def _identity(text: str, where: str) -> Any:
    """The number of a word, or the library's triple for a range or an empty node."""
    if _NUMBER.fullmatch(text):  # most lines: the library's answer in a tenth of its time
        return int(text)
    try:
        identity = parse_id_value(text) if len(text) <= LONGEST_NUMBER else None
    except ParseException:
        identity = None
    if identity is None:
        raise InputError(f"{where}: {_short(text)} is no word's number; expected 3, 3-4 or 3.1")
    return identity


def _check_order(tokens: list[Token], name: str, first: int) -> None:
    """Words 1, 2, 3; a range before its first word, none within another; empty nodes 3.1, 3.2 behind word 3."""
    word, empty, covered = 0, 0, 0
    for number, token in enumerate(tokens, start=first):
        identity = token["id"]
        if isinstance(identity, int):
            if identity != word + 1:
                raise InputError(f"{name}:{number}: word {identity} where {word + 1} was expected")
            word, empty = identity, 0
            continue
        start, kind, end = identity
        if kind == "-":
            if start != word + 1 or start <= covered:
                raise InputError(f"{name}:{number}: range {start}-{end} where word {word + 1} was expected")
            covered = end
        else:
            if (start, end) != (word, empty + 1):
                raise InputError(f"{name}:{number}: node {start}.{end} where {word}.{empty + 1} was expected")
            empty = end
    if covered > word:
        raise InputError(f"{name}:{first}: a range ends at word {covered}, the sentence at {word}")


def _annotated(block: Block, name: str, numbers: list[int]) -> Sentence:
    """The sentence of a block with its tree."""
    words = block.words
    heads = []
    for word, (token, number) in enumerate(zip(words, numbers, strict=True), start=1):
        head = _head(token["head"], f"{name}:{number}")
        if not 0 <= head <= len(words):
            raise InputError(f"{name}:{number}: head {_short(head)} of word {word} is out of range 0..{len(words)}")
        if head == word:
            raise InputError(f"{name}:{number}: word {word} is its own head")
        if token["deprel"] == "_":
            raise InputError(f"{name}:{number}: word {word} has no relation to its head (_ in column 8)")
        heads.append(head)
    roots = [str(word) for word, head in enumerate(heads, start=1) if head == 0]
    if len(roots) != 1:
        found = f"words {', '.join([*roots[:10], *['...'] * (len(roots) > 10)])} are roots" if roots else "no root"
        raise InputError(f"{block.where}: {found}; a tree has one word with head 0")
    if cycle := find_cycle(heads):
        path = " -> ".join(map(str, [*cycle[:10], *(["..."] if len(cycle) > 10 else []), cycle[0]]))
        raise InputError(f"{block.where}: no tree; the heads of {path} go round in a circle")
    forms = tuple(token["form"] for token in words)
    return Sentence(forms, tuple(heads), tuple(token["deprel"] for token in words), block.where)


def _head(text: str, where: str) -> int:
    if text == "_":
        raise InputError(f"{where}: no head (_ in column 7); a sentence to train on or to score against needs its tree")
    try:
        head = parse_int_value(text) if len(text) <= LONGEST_NUMBER else None
    except ParseException:
        head = None
    if head is None:
        raise InputError(f"{where}: head {_short(text)} is not a number (column 7)")
    return head


def find_cycle(heads: Sequence[int]) -> list[int]:
    """The words of a cycle in the order of its arcs, or none. Every word is passed once: O(L)."""
    seen = [0] * (len(heads) + 1)  # 0 not yet, else the word from which it was reached
    for start in range(1, len(heads) + 1):
        word = start
        while word and not seen[word]:
            seen[word] = start
            word = heads[word - 1]
        if word and seen[word] == start:
            cycle = [word]
            while heads[cycle[-1] - 1] != word:
                cycle.append(heads[cycle[-1] - 1])
            return cycle
    return []


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:20] + "..."
