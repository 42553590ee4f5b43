"""The texts that the task reads, by name or from a file."""

from __future__ import annotations

import os
from pathlib import Path

from headwise.errors import InputError
from headwise.files import user_path
from headwise.pretrained.opening import read_texts
from headwise.tasks.language import grammar

NAMED = {
    "ud_en_ewt": ("en_ewt-ud-train.conllu", "en_ewt-ud-dev.conllu", "en_ewt-ud-test.conllu"),
    "tinyshakespeare": ("input.txt",),
}
"""Data sets of the folder of data sets, and their files: one text, or one for each split."""


def texts_of(name: str, root: str | None, key: str) -> list[list[str]]:
    """The texts of each split, or those of one file.

    Args:
        name: `synthetic`, a data set, or a file.
        root: the folder of data sets; None takes HEADWISE_DATA.
        key: of the setting, for messages.

    Raises:
        InputError: they are not to be had, or there is no text in them.
    """
    if name == "synthetic":
        return [["\n".join(texts)] for texts in grammar.generate(0).values()]
    files = [user_path(name)]
    if name in NAMED and not files[0].exists():
        folder = root or os.environ.get("HEADWISE_DATA")
        if not folder:
            raise InputError(
                f"task.{key}={name}: set HEADWISE_DATA or task.root to the folder of data sets, or give a file"
            )
        files = [user_path(folder) / name / file for file in NAMED[name]]
        if missing := next((file for file in files if not file.is_file()), None):
            raise InputError(f"task.{key}={name}: {missing} not found; headwise data get {name} downloads it")
    return [_read(file, key) for file in files]


def _read(file: Path, key: str) -> list[str]:
    try:
        texts = read_texts(file)
    except InputError as error:
        raise InputError(
            f"task.{error}" if key == "data" else f"task.{key}={str(error).removeprefix('data=')}"
        ) from None
    if not any(text.strip() for text in texts):
        raise InputError(f"task.{key}={file}: holds no text")
    return texts
