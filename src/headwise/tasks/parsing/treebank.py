"""Treebanks: which files hold the three splits, what is wrong if they do not, and what the splits share."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headwise import files
from headwise.errors import InputError
from headwise.tasks.parsing import grammar
from headwise.tasks.parsing.sentences import Sentence, parsed

if TYPE_CHECKING:
    from headwise.tasks.parsing.config import ParsingConfig

FILES = {"train": "train", "validation": "dev", "test": "test"}
"""Split -> what Universal Dependencies calls it: en_ewt-ud-dev.conllu."""

_CACHE_FORMAT = 1
"""Part of every key: a file kept by a program that read or wrote differently is not found again."""


@dataclass(frozen=True)
class Treebank:
    """Sentences with their trees, in three splits.

    Attributes:
        name: of the folder, for reports.
        train, validation, test: the splits as they are published, nothing added and nothing taken away.
        synthetic: generated, not written and annotated by people.
    """

    name: str
    train: list[Sentence]
    validation: list[Sentence]
    test: list[Sentence]
    synthetic: bool

    @property
    def overlap(self) -> dict[str, int]:
        """Per held-out split how many of its sentences, word by word, are in train as well."""
        return {name: overlap(self.train, getattr(self, name)) for name in ("validation", "test")}


def load(config: ParsingConfig, seed: int, cache: Path | None = None) -> Treebank:
    """The treebank of the configuration, whole: `train_sentences` is not applied here.

    Args:
        config: its `treebank`, `root` and the single files `train`, `validation` and `test`.
        seed: of the generated treebank.
        cache: a directory that keeps what was parsed, by content; or None.

    Raises:
        InputError: a folder, split or file is missing, or a file cannot be read as `sentences.read` says.
    """
    given = {split: files.user_path(name) for split in FILES if (name := getattr(config, split)) is not None}
    if config.treebank == "synthetic" and not given:
        return Treebank("synthetic", **grammar.generate(seed), synthetic=True)
    name, paths = _files(config, given)
    splits = {split: _sentences(paths[split], cache) for split in FILES}
    return Treebank(name, **splits, synthetic=False)


def overlap(train: Sequence[Sentence], held_out: Sequence[Sentence]) -> int:
    """How many sentences of `held_out` have exactly the words of one in `train`."""
    seen = {sentence.forms for sentence in train}
    return sum(sentence.forms in seen for sentence in held_out)


def _files(config: ParsingConfig, given: dict[str, Path]) -> tuple[str, dict[str, Path]]:
    """Name of the treebank and the file of each split."""
    missing = [split for split in FILES if split not in given]
    if not missing:
        return given["train"].stem.removesuffix("-ud-train"), given
    if config.treebank == "synthetic":
        raise InputError(
            f"task.{next(iter(given))} is a file, but task.{missing[0]} is not given; name a file for each of "
            f"{', '.join(FILES)}, or a task.treebank for the others"
        )
    folder = _folder(config)
    return folder.name, given | {split: _file(folder, split) for split in missing}


def _folder(config: ParsingConfig) -> Path:
    """The folder of a treebank: in the folder of data sets if there is one of that name, else at that path."""
    setting = f"task.treebank={config.treebank}"
    root = config.root or os.environ.get("HEADWISE_DATA")
    path = files.user_path(config.treebank)
    inside = files.user_path(root) / path if root else path
    for folder in (inside, path):
        if folder.is_dir():
            return folder.resolve()
        if folder.exists():
            raise InputError(f"{setting}: {folder} is a file; give a folder, or task.train, validation and test")
    if root:
        raise InputError(f"{setting}: no such folder, nor {inside}; give synthetic, a name or a path")
    remedy = "set HEADWISE_DATA or task.root to the folder of data sets, or give synthetic or a path"
    raise InputError(f"{setting}: no such folder; {remedy}")


def _file(folder: Path, split: str) -> Path:
    """The file of a split in the folder of a treebank."""
    pattern = f"*-ud-{FILES[split]}.conllu"
    found = sorted(folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder}: more than one file for {split}, {', '.join(file.name for file in found)}")
    there = ", ".join(file.name for file in sorted(folder.glob("*.conllu"))) or "no .conllu file"
    raise InputError(f"{folder}: no {pattern} for {split}; found {there}; task.{split}= may name another file")


def _sentences(path: Path, cache: Path | None) -> list[Sentence]:
    """The sentences of a file, parsed, or kept under a digest of its content; a damaged kept file is replaced."""
    content = files.read_bytes(path)
    if cache is None:
        return parsed(content, path)
    key = hashlib.sha256(f"{_CACHE_FORMAT} ".encode() + content).hexdigest()[:32]
    kept = cache / f"treebank-{key}.json"
    sentences = _kept(kept, path)
    if sentences is None:
        sentences = parsed(content, path)
        _keep(kept, sentences)
    return sentences


def _kept(kept: Path, path: Path) -> list[Sentence] | None:
    """What `_keep` wrote, or None if it is not there as it was written. `path`, where it came from, may have moved."""
    try:
        digest, _, content = files.read_bytes(kept).partition(b"\n")
    except InputError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None
    columns = json.loads(content)
    return [
        Sentence(tuple(forms), tuple(heads), tuple(relations), f"{path}:{line}")
        for forms, heads, relations, line in zip(*columns, strict=True)
    ]


def _keep(kept: Path, sentences: list[Sentence]) -> None:
    """Write sentences behind a digest. Nothing that runs when read, unlike a pickle."""
    rows = [(s.forms, s.heads, s.relations, int(s.where.rpartition(":")[2])) for s in sentences]
    content = json.dumps(list(zip(*rows, strict=True)), ensure_ascii=False, separators=(",", ":")).encode()
    files.make_folder(kept.parent)
    with files.writing(kept) as new:
        new.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
