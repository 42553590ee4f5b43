"""Options that take any value, for tests of the grammar."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """Take a value."""

    value: Any = 0
