"""`headwise check-laws`: a plugin's parts through the laws that our own are tested on."""

from headwise.commands.result import Result, key_values
from headwise.errors import InputError


def run(words: list[str]) -> Result:
    """{"kind name": what is wrong with it, in lines}."""
    if len(words) != 1:
        raise InputError("check-laws: name one plugin, a module or a .py file")
    from headwise.laws.walk import checked

    found = checked(words[0])
    rows = {name: "; ".join(lines) or "keeps the laws" for name, lines in found.items()}
    return Result(found, [key_values(rows)], code=1 if any(found.values()) else 0)
