"""The settings of the task `parsing`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from headwise.schema import FilePath, named
from headwise.tasks.parsing.pretrained import Pretrained
from headwise.tasks.parsing.scratch import Scratch

ENCODERS: dict[str, type] = {"scratch": Scratch, "pretrained": Pretrained}

Decoder = Literal["tree", "argmax"]


@dataclass(frozen=True)
class ParsingConfig:
    """Which treebank, read by which encoder, scored how.

    Args:
        treebank: `synthetic` (default; generated, needs no file), the name of a folder in the folder of data sets such
            as `ud_en_ewt`, or the path of a folder with files *-ud-{train,dev,test}.conllu.
        root: the folder of data sets; null takes the environment variable HEADWISE_DATA.
        train, validation, test: files of single splits, instead of those of the treebank.
        test_words: test on the sentences of so many words only, the fewest and the most, [21,40]; null takes all.
        train_sentences: train on the first so many sentences only; null takes all.
        encoder: sentences to word vectors, in front of the backbone: `scratch` (default) or `pretrained`.
        arcs: width of the arc scorer's two perceptrons; default 256 (Dozat & Manning 2017 take 500 for a large model).
        labels: width of the relation scorer's two perceptrons; default 100, as there.
        dropout: on word vectors and in the perceptrons; default 0.33, as there.
        decoder: `tree` (default; the best tree with a single root) or `argmax` (the best head of each word, which may
            form no tree).

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    treebank: FilePath = "synthetic"
    root: FilePath | None = None
    train: FilePath | None = None
    validation: FilePath | None = None
    test: FilePath | None = None
    test_words: tuple[int, ...] | None = None
    train_sentences: int | None = None
    encoder: Any = named(ENCODERS, Scratch())
    arcs: int = 256
    labels: int = 100
    dropout: float = 0.33
    decoder: Decoder = "tree"

    def __post_init__(self) -> None:
        for key in ("arcs", "labels"):
            if getattr(self, key) < 1:
                raise ValueError(f"task.{key}={getattr(self, key)}: choose 1 or more")
        if self.train_sentences is not None and self.train_sentences < 1:
            raise ValueError(f"task.train_sentences={self.train_sentences}: choose 1 or more, or null for all")
        if (words := self.test_words) is not None and not (len(words) == 2 and 1 <= words[0] <= words[1]):
            raise ValueError(f"task.test_words={list(words)}: choose the fewest and the most, [21,40], or null")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"task.dropout={self.dropout}: choose a number from 0 up to, not including, 1")
