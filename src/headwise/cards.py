"""Model cards: the README.md of a folder that is shared. Layers say different things of models in the same form."""

from collections.abc import Mapping, Sequence
from typing import Any

LIBRARY = "headwise"
TAGS = ("headwise", "attention-heads")


def front(metadata: Mapping[str, Any]) -> str:
    """The metadata at the top of a card, as the Hugging Face Hub reads them; what is null or empty is left out."""
    import yaml

    given = {key: value for key, value in metadata.items() if value not in (None, [], "")}
    text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{text}---\n\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a table of Markdown, numbers to the right; nothing for none."""
    if not rows:
        return ""
    sides = [":" if any(isinstance(row[place], float) for row in rows) else "" for place in range(len(columns))]
    lines = [list(columns), [f"---{side}" for side in sides], *([figure(value) for value in row] for row in rows)]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def figure(value: Any) -> str:
    """A value as a card shows it: a number with four figures."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
