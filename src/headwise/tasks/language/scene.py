"""A text as it is drawn: below each token what the model takes for the next one, and a text that is typed.

Legend: L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwise.tasks.language.generate import prompt_tokens
from headwise.tasks.scenes import Example, Scene, choices, percent

if TYPE_CHECKING:
    from headwise.tasks.language.model import LanguageTask

BELOW = "what the model takes for the next token"


def scene(task: LanguageTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The tokens with the likeliest next one of each."""

    def name(token: int) -> str:
        return "end" if token == task.end else task.tokenizer.decode([token])

    tokens, targets = example.batch["tokens"][0], example.batch.get("targets")
    return text_scene(tokens, tokens[1:] if targets is None else targets[0], name, predictions, not example.solved)


def typed(task: LanguageTask, text: str) -> Example:
    """The tokens of a text.

    Raises:
        InputError: none, unknown ones, or more than the context holds.
    """
    return Example({"tokens": torch.tensor([prompt_tokens(task, text)])}, solved=False)


def text_scene(
    tokens: Tensor, follows: Tensor, name: Callable[[int], str], predictions: Sequence[Tensor], goes_on: bool = False
) -> Scene:
    """Tokens [L] with scores [1, L, V] of what follows each; `follows` [L], or less, is what does as far as it is
    known. With `goes_on` it is said what comes after the last."""
    words = [_visible(name(token)) for token in tokens.tolist()]
    answers = []
    for scores in predictions:
        best, sure = choices(scores[0])
        known = len(follows)
        wrong = torch.nonzero(best[:known] != follows)[:, 0].tolist()
        nats = -scores[0, :known].float().log_softmax(-1).gather(1, follows[:, None])
        said = f"{known - len(wrong)} of {known} next tokens right" if known else "nothing to score"
        said += f", {float(nats.mean()):.2f} nats a token" if known else ""
        last = _visible(name(int(best[-1])))
        answers.append(
            {
                "words": [_visible(name(token)) for token in best.tolist()],
                "sure": percent(sure),
                "wrong": wrong,
                "scored": known,
                "said": f"goes on with “{last}”; {said}" if goes_on else said,
                "confidence": float(sure.mean()),
            }
        )
    return Scene("tokens", {"words": words, "said": BELOW}, answers, [f"{i + 1}: {w}" for i, w in enumerate(words)])


def _visible(word: str) -> str:
    """A token as one sees it: spaces and ends of lines have signs of their own."""
    return word.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "∅"
