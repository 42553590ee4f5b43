"""The settings of the task `language`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwise.schema import FilePath

TokenizerKind = Literal["word", "character", "bpe"]

RECORDS = ("synthetic", "facts_and_chat")
"""Corpora of records, which are read whole whatever the context."""

BYTES = 256
"""Tokens that byte-level BPE starts from."""


@dataclass(frozen=True)
class LanguageConfig:
    """Which text, cut into what, read how far.

    Args:
        corpus: `synthetic` (default; generated, needs no file), `facts_and_chat` or `tinyshakespeare` (in the folder of
            data sets), or the path of a file or folder: .txt is one running text; .json and .jsonl hold records, each a
            string, {"text": ...} or {"prompt": ..., "response": ...}.
        root: the folder of data sets; null takes the environment variable HEADWISE_DATA.
        tokenizer: `word` (default; white space and ASCII punctuation part words), `character`, or `bpe` (byte-level,
            trained on the training part).
        vocabulary: tokens of `bpe`; default 1024. Words and characters are all that the corpus has.
        context: most tokens the model sees at once. Running text is read in windows of this length; a longer record is
            refused. Default 80, the reference's.
        held_out: share of the corpus that is not trained on, half of it for validation and half for test: the end of a
            running text, records drawn at random. 0 closes the corpus: it is scored on what it was trained on, which
            measures recall and cannot rank models. null (default) takes the corpus's own: 0.1, and 0 for
            facts_and_chat.
        pretraining: another corpus, read first, never scored; null takes the corpus's own (facts before chats).
        pretraining_epochs: how often it is read.
        pretraining_batch_size: examples per step in that time; null takes training.batch_size.
        response_marker: a record that is a string is a prompt up to this text and a response from there on.
        tied: read out with the embedding's own weights; default off, as in the reference.
        positions: what a token knows of its place: `absolute` (default; a learned embedding), or `none` (attention
            knows offsets with `model.rotary`, and without it only what comes earlier).

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    corpus: FilePath = "synthetic"
    root: FilePath | None = None
    tokenizer: TokenizerKind = "word"
    vocabulary: int = 1024
    context: int = 80
    held_out: float | None = None
    pretraining: FilePath | None = None
    pretraining_epochs: int = 20
    pretraining_batch_size: int | None = None
    response_marker: str = "Assistant:"
    tied: bool = False
    positions: Literal["absolute", "none"] = "absolute"

    def __post_init__(self) -> None:
        if self.context < 2:
            raise ValueError(f"task.context={self.context}: choose at least 2; one token alone needs no attention")
        if self.tokenizer == "bpe" and self.vocabulary < BYTES:
            raise ValueError(f"task.vocabulary={self.vocabulary}: choose at least {BYTES}, the bytes BPE starts from")
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise ValueError(f"task.held_out={self.held_out}: choose a share from 0 up to, not including, 1")
        if self.corpus == "synthetic" and self.held_out is not None:
            raise ValueError(
                f"task.held_out={self.held_out}: the synthetic corpus holds out one phrasing of every question; "
                "leave it null"
            )
        if self.pretraining_epochs < 0:
            raise ValueError(f"task.pretraining_epochs={self.pretraining_epochs}: choose 0 or more")
        if self.pretraining_batch_size is not None and self.pretraining_batch_size < 1:
            raise ValueError(f"task.pretraining_batch_size={self.pretraining_batch_size}: choose 1 or more, or null")
