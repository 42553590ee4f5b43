"""A command that writes as it goes along."""

from collections.abc import Iterable
from dataclasses import dataclass

from headwise.tasks.base import Ending, Writing

parts: Iterable[str] = ()
ending = Ending()


@dataclass(frozen=True)
class Options:
    """Write the parts."""


def run(options: Options, load: object) -> Writing:
    yield from parts
    return ending
