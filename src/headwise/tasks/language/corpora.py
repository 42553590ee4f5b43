"""Corpora: where their text comes from, and what is wrong with a file that cannot be read.

A corpus is one running text, or records: sentences or exchanges, each with a beginning and an end of its own.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_text, user_path
from headwise.tasks.language.config import LanguageConfig

END_MARK = "</s>"
"""What some files write at the end of a record; the model has a token of its own for the end."""

NAMED = {
    "facts_and_chat": "facts_and_chat/chat_training_data.json",
    "tinyshakespeare": "tinyshakespeare/input.txt",
}
"""Corpora in the folder of data sets. `synthetic` is generated and needs no file."""

PRETRAINING = {"facts_and_chat": "facts_and_chat/pretraining_data.json"}
"""What is read before a named corpus unless something else is asked for."""

KINDS = {".txt": "text", ".json": "records", ".jsonl": "records"}


@dataclass(frozen=True)
class Record:
    """A text of its own.

    Attributes:
        prompt, response: together the text; the response begins with the white space that parts them. Without a prompt
            the whole text is the response.
        where: file and number, for messages.
    """

    prompt: str
    response: str
    where: str

    @property
    def text(self) -> str:
        return self.prompt + self.response


@dataclass(frozen=True)
class Corpus:
    """A running text or records, and a name for messages; one of the two is None."""

    name: str
    text: str | None = None
    records: list[Record] | None = None


def load(config: LanguageConfig) -> Corpus:
    """The corpus of the configuration; `synthetic` is no file and not read here.

    Raises:
        InputError: missing, empty or unreadable, with the place in the file.
    """
    return _load("corpus", config.corpus, ["synthetic", *NAMED], config)


def read(path: Path, name: str, marker: str) -> Corpus:
    """The corpus in a file, or in all files of a folder.

    Raises:
        InputError: as for `load`.
    """
    files = _files(path)
    if KINDS[files[0].suffix.lower()] == "text":
        text = "\n".join(_text(file) for file in files)
        if not text.strip():
            raise InputError(f"{path}: empty; expected text")
        return Corpus(name, text=text)
    records = [record for file in files for record in _records(file, marker)]
    if not records:
        raise InputError(f"{path}: empty; expected records, strings or {{prompt, response}}")
    return Corpus(name, records=records)


def pretraining(config: LanguageConfig) -> Corpus | None:
    """What is read before the corpus itself, or None."""
    if config.pretraining is not None:
        return _load("pretraining", config.pretraining, list(NAMED), config)
    if config.corpus in PRETRAINING:
        path = _in_root(PRETRAINING[config.corpus], f"task.corpus={config.corpus}", config.root)
        return read(path, config.corpus, config.response_marker)
    return None


def as_record(text: str, marker: str, where: str) -> Record:
    """A string as a record: a prompt up to `marker`, if that occurs after something, and a response from there on."""
    text = text.strip().removesuffix(END_MARK).rstrip()
    found = re.search(rf"\s*{re.escape(marker)}", text) if marker else None
    cut = found.start() if found else 0
    return Record(text[:cut], text[cut:], where)


def _load(key: str, name: str, known: list[str], config: LanguageConfig) -> Corpus:
    """The corpus called `name`, or at that path; it is the value of `task.<key>`."""
    if name in NAMED:
        path = _in_root(NAMED[name], f"task.{key}={name}", config.root)
    else:
        path = user_path(name)
        if not path.exists():
            raise InputError(f"task.{key}={name}: no such file or folder; give a path, or one of {', '.join(known)}")
    return read(path, name, config.response_marker)


def _in_root(name: str, setting: str, root: str | None) -> Path:
    """A file in the folder of data sets."""
    root = root or os.environ.get("HEADWISE_DATA")
    remedy = "set HEADWISE_DATA or task.root to the folder of data sets"
    if not root:
        raise InputError(f"{setting}: where is {name}? {remedy}")
    path = user_path(root) / name
    if not path.exists():
        raise InputError(f"{setting}: {path} does not exist; {remedy}")
    return path


def _files(path: Path) -> list[Path]:
    """The files of a corpus in the order of their names, all of one kind."""
    allowed = ", ".join(KINDS)
    if not path.is_dir():
        if path.suffix.lower() not in KINDS:
            raise InputError(f"{path}: not a corpus; expected a file that ends in {allowed}")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in KINDS and file.is_file())
    if not files:
        raise InputError(f"{path}: holds no file that ends in {allowed}")
    other = next((f for f in files if KINDS[f.suffix.lower()] != KINDS[files[0].suffix.lower()]), None)
    if other is not None:
        raise InputError(f"{path}: holds running text ({files[0].name}) and records ({other.name}); keep one kind")
    return files


def _text(file: Path) -> str:
    return read_text(file).replace("\r\n", "\n")


def _records(file: Path, marker: str) -> list[Record]:
    text = _text(file)
    if file.suffix.lower() == ".jsonl":
        lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        values = [_json(line, f"{file}, line {n}") for n, line in lines]
    else:
        values = _json(text, str(file)) if text.strip() else []
        if not isinstance(values, list):
            raise InputError(f"{file}: expected a list of records, found {_kind(values)}")
    return [_record(value, marker, f"{file}, record {n}") for n, value in enumerate(values, start=1)]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise InputError(f"{where}: not JSON ({error.msg} at {place})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or lists in lists in lists
        raise InputError(f"{where}: JSON that holds no text ({error})") from None


def _record(value: Any, marker: str, where: str) -> Record:
    """A record from its JSON."""
    if isinstance(value, dict) and "text" in value and "prompt" not in value:
        value = value["text"]
    if isinstance(value, str):
        record = as_record(value, marker, where)
    elif isinstance(value, dict):
        prompt, response = value.get("prompt"), value.get("response")
        for key, part in (("prompt", prompt), ("response", response)):
            if not isinstance(part, str) or not part.strip():
                raise InputError(f"{where}: no text in {key}; expected a string or {{prompt, response}}")
        record = Record(str(prompt).strip(), " " + str(response).strip().removesuffix(END_MARK).rstrip(), where)
    else:
        raise InputError(f"{where}: {_kind(value)} holds no text; expected a string or {{prompt, response}}")
    if not record.response.strip():
        raise InputError(f"{where}: no text; expected a string or {{prompt, response}}")
    if not _is_unicode(record.text):
        raise InputError(f"{where}: half of a surrogate pair is no character; write the whole escape")
    return record


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
