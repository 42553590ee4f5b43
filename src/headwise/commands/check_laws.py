"""`headwise check-laws`: a plugin's parts through the laws that our own are tested on."""

from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result, key_values
from headwise.schema import FilePath, argument


@dataclass(frozen=True)
class Options:
    """Run the laws that headwise's own parts are tested on over those of a plugin

    Every router, gate function, controller, halting policy, arm and task that it registers, on what `examples()`
    returns: gradients that do not arrive, gates in the wrong order, examples that depend on their batch. The exit code
    is 1 where a law is broken.

    Args:
        plugin: a module, or a .py file.
    """

    waits: ClassVar[str] = "trying the laws"

    plugin: FilePath = argument()


def run(options: Options) -> Result:
    """{"kind name": what is wrong with it, in lines}."""
    from headwise.laws.walk import checked

    found = checked(options.plugin)
    rows = {name: "; ".join(lines) or "keeps the laws" for name, lines in found.items()}
    return Result(found, [key_values(rows)], code=1 if any(found.values()) else 0)
