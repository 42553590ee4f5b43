"""`headwise generate`: what the model of a run writes after a prompt.

Loading a run is the business of layers to the right, so the function that does it is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headwise.errors import InputError
from headwise.schema import FilePath, argument
from headwise.tasks.base import TaskModel
from headwise.tasks.language.generate import GenerationConfig, generate
from headwise.tasks.language.model import LanguageTask


@dataclass(frozen=True)
class Options(GenerationConfig):
    """Write on after a prompt, with the model of a run of task=language.

    Args:
        run: the run's directory, or the name of a model (headwise list weights).
        prompt: what the text begins with, in quotes.
    """

    run: FilePath = argument()
    prompt: str = argument()


def run(options: Options, load: Callable[[str], TaskModel]) -> dict[str, Any]:
    """What the model of a run writes after a prompt.

    Args:
        options: run, prompt, and how text is written.
        load: run directory -> model; `headwise.training.evaluation.load`.

    Returns:
        {"prompt": ..., "completions": [{"text": ..., "tokens": how many, "ended": ...}, ...]}, plain JSON.

    Raises:
        InputError: a run of another task, or what `generate` refuses.
    """
    model = load(options.run)
    if not isinstance(model.task, LanguageTask):
        raise InputError(f"{options.run}: a model of the task {model.task.name}; generate needs one of language")
    found = generate(model, options.prompt, options)
    texts = [{"text": one.text, "tokens": len(one.tokens), "ended": one.ended} for one in found]
    return {"prompt": options.prompt, "completions": texts}
