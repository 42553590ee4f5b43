"""`headwise generate <run directory> <prompt> [key=value ...]`: its words, read and carried out.

Loading a run is the business of layers to the right, so the function that does it is an argument.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from headwise.errors import InputError
from headwise.schema import build
from headwise.tasks.base import TaskModel
from headwise.tasks.language.generate import GenerationConfig, generate
from headwise.tasks.language.model import LanguageTask

USAGE = 'headwise generate <run directory> "<prompt>" [key=value ...]'


def run(words: Sequence[str], load: Callable[[str], TaskModel]) -> dict[str, Any]:
    """What the model of a run writes after a prompt.

    Args:
        words: run directory, prompt, then settings of `GenerationConfig`: temperature=0.8, top_p=0.9, seed=1.
        load: run directory -> model; `headwise.training.run.load`.

    Returns:
        {"prompt": ..., "completions": [{"text": ..., "tokens": how many, "ended": ...}, ...]}, plain JSON.

    Raises:
        InputError: a word missing or unknown, a run of another task, or what `generate` refuses.
    """
    if len(words) < 2:
        raise InputError(f"generate: {'which prompt' if words else 'which run'}? write {USAGE}")
    directory, prompt, *rest = words
    config = build(GenerationConfig, dict(map(_setting, rest)), "generate")
    model = load(directory)
    if not isinstance(model.task, LanguageTask):
        raise InputError(f"{directory}: a model of the task {model.task.name}; generate needs one of language")
    found = generate(model, prompt, config)
    texts = [{"text": one.text, "tokens": len(one.tokens), "ended": one.ended} for one in found]
    return {"prompt": prompt, "completions": texts}


def _setting(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals:
        raise InputError(f"generate {word}: not a setting; write {USAGE}, the prompt in quotes")
    try:
        return key, json.loads(text)
    except json.JSONDecodeError:
        return key, text
