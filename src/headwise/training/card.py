"""The model card of a run: what the model is, how it was trained, what it reached, under which licence.

A run that is shared has it twice: `card.json` for programs, and README.md, which is written from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwise.cards import LIBRARY, TAGS, figure, front, table
from headwise.errors import InputError
from headwise.files import read_mapping, write_json, write_text
from headwise.provenance import check_format
from headwise.schema import build, to_plain

CARD, README = "card.json", "README.md"
FORMAT = 1
"""Number of the format of card.json; rises when an earlier headwise would read a card wrongly."""


@dataclass(frozen=True)
class Measured:
    """One metric on a test set.

    Args:
        value: as the summary of an evaluation has it.
        mean: over examples, of what each of them has; the value, but for metrics of a whole corpus.
        deviation: standard deviation over examples, from which follows how far a sample may be off; null where only the
            value is known.
    """

    value: float
    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Figures:
    """What a model reached under some settings.

    Args:
        name: of the settings.
        settings: key -> value, as `headwise.evaluate` takes them.
        examples: of the test set.
        metrics: by name.
    """

    name: str
    settings: dict[str, Any]
    examples: int
    metrics: dict[str, Any]

    def __post_init__(self) -> None:
        found = {
            name: one if isinstance(one, Measured) else build(Measured, one, f"metrics.{name}")
            for name, one in self.metrics.items()
        }
        object.__setattr__(self, "metrics", found)


@dataclass(frozen=True)
class Card:
    """What a card says.

    Args:
        name: of the model.
        title: what it is, in a line or two.
        task: that it does, by headwise's name.
        arm: what it is built as.
        parameters: how many there are.
        command: that trains it.
        load: what `headwise.load` takes: its name, or where a pull puts it.
        use: command that shows it at work.
        licence: of the weights, an SPDX identifier; null where nothing was said.
        data: what it was trained on, and under which licence.
        figures: measured on it, not copied from elsewhere.
        weights: sha256 of model.safetensors.
        version: of headwise, which measured.
    """

    name: str
    title: str
    task: str
    arm: str
    parameters: int
    command: str
    load: str
    use: str
    licence: str | None
    data: str
    figures: tuple[Any, ...]
    weights: str
    version: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        found = tuple(
            one if isinstance(one, Figures) else build(Figures, one, f"figures[{place}]")
            for place, one in enumerate(self.figures)
        )
        object.__setattr__(self, "figures", found)


def read_card(folder: Path) -> Card:
    """The card of a run that is shared.

    Raises:
        InputError: there is none, it is damaged, or of a newer headwise.
    """
    file = folder / CARD
    if not file.is_file():
        raise InputError(f"{file}: not found; a run that was made to be shared has a card")
    return card_from(read_mapping(file), file)


def card_from(content: Mapping[str, Any], where: object) -> Card:
    """A card from its plain form.

    Raises:
        InputError: it is damaged, or of a newer headwise; names `where` it stands.
    """
    check_format(content, where, FORMAT)
    try:
        return build(Card, content, "")
    except InputError as error:
        raise InputError(f"{where}: damaged ({error})") from None


def write_card(folder: Path, card: Card) -> None:
    """Write both forms of a card."""
    write_json(folder / CARD, to_plain(card))
    write_text(folder / README, markdown(card))


def markdown(card: Card) -> str:
    """The card as a README.md with the metadata of the Hugging Face Hub, figures as a model index included."""
    metadata = {
        "license": card.licence and card.licence.lower(),
        "library_name": LIBRARY,
        "tags": [*TAGS, card.task, card.arm],
        "model-index": [{"name": card.name, "results": [_result(card, one) for one in card.figures]}],
    }
    several = any(one.deviation is not None for figures in card.figures for one in figures.metrics.values())
    errors = "; after ± the standard error over test examples" if several else ""
    metrics = list(dict.fromkeys(name for one in card.figures for name in one.metrics))
    rows = [[one.name, one.examples, *(_shown(one, name) for name in metrics)] for one in card.figures]
    licence = f"Licence of the weights: {card.licence}. " if card.licence else ""
    python = (
        f'```python\nimport headwise\n\nmodel = headwise.load("{card.load}")  # on the CPU, in evaluation mode\n```\n'
    )
    return (
        f"{front(metadata)}# {card.name}\n\n{card.title}\n\n"
        f"{card.parameters:,} parameters, the arm `{card.arm}` on the task `{card.task}` of headwise.\n\n"
        f"```bash\n{card.use}\n```\n\n{python}\n## What it reaches\n\n"
        f"Measured on this model with headwise {card.version}{errors}.\n"
        f"{table(['test set', 'examples', *metrics], rows)}\n"
        f"{_settings(card)}## How it was made\n\n```bash\n{card.command}\n```\n\n"
        f"{card.data}\n\n{licence}sha256 of `model.safetensors`: `{card.weights}`.\n"
    )


def _shown(figures: Figures, metric: str) -> str:
    measured = figures.metrics.get(metric)
    if measured is None:
        return ""
    if measured.deviation is None:
        return figure(measured.value)
    return f"{figure(measured.value)} ± {measured.deviation / max(figures.examples, 1) ** 0.5:.1g}"


def _settings(card: Card) -> str:
    """How each row but those as trained is evaluated."""
    typed = {one.name: " ".join(f"{key}={value}" for key, value in one.settings.items()) for one in card.figures}
    lines = [f"- {name}: `headwise evaluate {card.load} {words}`\n" for name, words in typed.items() if words]
    return f"{''.join(lines)}\n" if lines else ""


def _result(card: Card, figures: Figures) -> dict[str, Any]:
    """An entry of the model index."""
    return {
        "task": {"type": card.task, "name": card.task},
        "dataset": {
            "type": card.task,
            "name": f"{card.task}, {figures.name}",
            "split": "test",
            **({"args": figures.settings} if figures.settings else {}),
        },
        "metrics": [
            {"type": name, "name": name, "value": measured.value} for name, measured in figures.metrics.items()
        ],
    }
