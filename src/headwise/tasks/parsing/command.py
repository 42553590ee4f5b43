"""`headwise parse`: trees for text or CoNLL-U, as CoNLL-U.

Sentences are read, parsed and written some thousand at a time, in their order, so that a file may be of any size.
Loading a run is the business of layers to the right, so the function that does it is an argument.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import IO, Any

from conllu import Token, TokenList

from headwise.errors import InputError
from headwise.files import open_stream, user_path
from headwise.schema import FilePath, argument
from headwise.tasks.base import Ending, TaskModel, Writing
from headwise.tasks.parsing.metrics import corpus_scores
from headwise.tasks.parsing.model import ParsingTask
from headwise.tasks.parsing.prediction import Parser, Precision, Tree
from headwise.tasks.parsing.reading import Input, Item, Tokens, sentences_of, texts, told_apart
from headwise.tasks.parsing.sentences import Block, Sentence, lines_of, with_predictions
from headwise.tasks.scenes import counted

FIRST, MOST = 256, 4096
"""Sentences of the first chunk, so that an answer comes soon, and of the largest: chunks double in between."""


@dataclass(frozen=True)
class Options:
    """Parse a text or a CoNLL-U file with the model of a run of task=parsing.

    Writes CoNLL-U. A sentence that cannot be read, or is too long for the encoder, is reported on standard error and
    the others are parsed; the exit code is 1 then.

    Args:
        run: the run's directory, or the name of a model (headwise list weights).
        file: what is parsed, with ./ in front where its name has a =; standard input where it is left out.
        input: `conllu`; `text`, one sentence a line; `auto` (default) looks at the first lines.
        tokens: of text: `words` (default) are parted by white space; `punctuation` parts marks at their ends as well.
        precision: of encoder and blocks: `auto` (default) is bf16 where the CPU has instructions for it and the first
            sentences take less time so, which it says; else fp32. The scorer is always fp32. On EWT bf16 changes 0.1 %
            of the heads, UAS by 0.0004.
        score: compare with the heads of the input; scores go to standard error. Keeps all trees in memory.
    """

    run: FilePath = argument()
    file: FilePath | None = argument(None)
    input: Input = "auto"
    tokens: Tokens = "words"
    precision: Precision = "auto"
    score: bool = False


def run(options: Options, load: Callable[[str], TaskModel]) -> Writing:
    """Parse a file, or standard input.

    A sentence that cannot be read, or is too long for the encoder, is reported on standard error and the others are
    parsed; the exit code is 1 then. What cannot be read is left out. What can be read but not parsed is written, in its
    place, with `_` for head and relation and a comment that says why.

    Args:
        options: what is parsed, by which model, and how.
        load: run directory -> model; `headwise.training.evaluation.load`.

    Returns:
        The sentences in CoNLL-U; at the end {"sentences", "words", "seconds", "precision", "problems": [...],
        "scores": {...}}.

    Raises:
        InputError: a run of another task, a file that is missing, empty or not UTF-8.
    """
    if options.file is not None and not user_path(options.file).exists():  # said before a model is loaded
        raise InputError(f"{options.file}: not found")
    model = load(options.run)
    if not isinstance(model.task, ParsingTask):
        raise InputError(f"{options.run}: a model of the task {model.task.name}; parse needs one of parsing")
    return _writing(Parser(model, options.precision), options)


def _writing(parser: Parser, options: Options) -> Writing:
    report, begun, name = _Report(), time.monotonic(), options.file or "stdin"
    with nullcontext(sys.stdin.buffer) if options.file is None else open_stream(user_path(options.file)) as source:
        for chunk in _chunks(_items(source, name, options)):
            blocks = [(block, found) for block, found in chunk if block is not None]
            trees = iter(parser([found if isinstance(found, Sentence) else block.unparsed for block, found in blocks]))
            written = []
            for block, found in chunk:
                if isinstance(found, InputError):
                    report.problem(found)
                if block is None:
                    continue
                tree = next(trees)
                report.add(found, tree)
                written.append(_written(block, tree))
            yield "".join(written)
    report.seconds = time.monotonic() - begun
    return report.end(name, options.score, parser)


def _items(source: IO[bytes], name: str, options: Options) -> Iterator[Item]:
    kind, lines = told_apart(lines_of(source, name), options.input)
    if kind == "conllu" and options.tokens != "words":
        raise InputError(f"tokens={options.tokens}: has no effect on CoNLL-U, where words are given; leave it out")
    if kind == "text" and options.score:
        raise InputError(f"score=true: {name} is text, which has no heads to compare with; give CoNLL-U")
    return texts(lines, name, options.tokens) if kind == "text" else sentences_of(lines, name, options.score)


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """The items, some at a time; those in front of a mistake that ends the input come before it."""
    size, chunk, problem = FIRST, [], None
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == size:
                yield chunk
                size, chunk = min(2 * size, MOST), []
    except InputError as error:
        problem = error
    if chunk:
        yield chunk
    if problem:
        raise problem


def _written(block: Block, tree: Tree | InputError) -> str:
    if isinstance(tree, Tree):
        return with_predictions(block, tree.heads, tree.relations)
    blank = {"head": "_", "deprel": "_", "deps": "_"}
    tokens = [Token(token, **blank) if isinstance(token["id"], int) else token for token in block.tokens]
    comments = [*block.comments, f"# not_parsed = {' '.join(str(tree).split())}"]
    return "".join(f"{comment}\n" for comment in comments) + TokenList(tokens).serialize()


@dataclass
class _Report:
    """What happened, for standard error and for `--json`."""

    sentences: int = 0
    words: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    gold: list[Sentence] = field(default_factory=list)
    predicted: list[Sentence] = field(default_factory=list)

    def problem(self, problem: InputError) -> None:
        self.problems.append(" ".join(str(problem).split()))
        _say(self.problems[-1])

    def add(self, found: Sentence | InputError, tree: Tree | InputError) -> None:
        """A sentence as it was read, and what the parser made of it."""
        if isinstance(tree, InputError):
            return self.problem(tree)
        self.sentences += 1
        self.words += len(tree.heads)
        if isinstance(found, Sentence) and found.heads:
            self.gold.append(found)
            self.predicted.append(Sentence(found.forms, tree.heads, tree.relations, found.where))
        return None

    def end(self, name: str, score: bool, parser: Parser) -> Ending:
        """Say how it went.

        Raises:
            InputError: there was nothing.
        """
        if not self.sentences and not self.problems:
            raise InputError(f"{name}: empty; expected sentences, one a line, or CoNLL-U")
        data: dict[str, Any] = {"sentences": self.sentences, "words": self.words, "seconds": self.seconds}
        data["precision"] = parser.precision
        measured = f"; {parser.choice}" if parser.choice is not None else ""
        failed = f"; {len(self.problems)} with a problem" if self.problems else ""
        rate = self.sentences / max(self.seconds, 1e-9)
        _say(
            f"{counted(self.sentences, 'sentence')}, {counted(self.words, 'word')} in {self.seconds:.1f} s, "
            f"{rate:.0f} a second" + measured + failed
        )
        if score:
            data["scores"] = scores = corpus_scores(self.gold, self.predicted) if self.gold else {}
            shares = [f"{key} {100 * scores[key]:.2f}" for key in ("UAS", "LAS", "CLAS", "UCM", "LCM") if scores]
            over = f"over the {len(self.gold)} sentences with heads"
            _say(f"{', '.join(shares)} {over}" if scores else "no heads to compare with")
        return Ending(data | {"problems": self.problems}, int(bool(self.problems)))


def _say(line: str) -> None:
    print("headwise:", line, file=sys.stderr)
