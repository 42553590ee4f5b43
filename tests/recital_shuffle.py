"""A command that returns plain data."""

from dataclasses import dataclass

from headwise.schema import argument
from headwise.training.evaluation import load as expected


@dataclass(frozen=True)
class Options:
    """Shuffle what is named.

    Args:
        name: of what is shuffled.
        length: how much of it.
    """

    name: str = argument()
    length: int = 20


def run(options: Options, load: object) -> dict[str, object]:
    return {"name": options.name, "length": options.length, "loads": load is expected}
