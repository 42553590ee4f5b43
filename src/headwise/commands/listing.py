"""`headwise list`: what there is to choose from, each described where it is defined; nothing of it is imported."""

from dataclasses import dataclass

from headwise.commands.kinds import KINDS
from headwise.commands.result import Result, key_values
from headwise.errors import InputError
from headwise.schema import argument, suggestion


@dataclass(frozen=True)
class Options:
    """List what there is to choose from: arms, tasks, gates, controllers, settings

    One line each.

    Args:
        kinds: arms, tasks, routers, gates, controllers, halting, recursions, states (initial ones), recipes, presets,
            sweeps, claims, sizes, encoders, datasets, weights (models to load), settings; without any, all but
            settings.
    """

    kinds: tuple[str, ...] = argument(())


def run(options: Options) -> Result:
    """All kinds, or those named: {kind: {name: one line}}."""
    for word in options.kinds:
        if word not in KINDS:
            raise InputError(f"list {word}: unknown kind; allowed: {', '.join(KINDS)}{suggestion(word, KINDS)}")
    chosen = options.kinds or [kind for kind in KINDS if kind != "settings"]
    found = {kind: KINDS[kind][1]() for kind in chosen}
    tables = [key_values(lines, title=f"\n{kind} ({KINDS[kind][0]})") for kind, lines in found.items()]
    return Result(found, tables)
