"""A plugin's parts through all laws."""

from collections.abc import Iterator
from typing import Any

from headwise.errors import InputError
from headwise.laws import gates, independence, neutrality, reach, tasks
from headwise.laws.arms import PARTS, arms_with, causal, examples, fitted, stand_in
from headwise.models import ARMS
from headwise.models.arm import Arm, check
from headwise.plugins import load
from headwise.registry import Registry
from headwise.tasks import TASKS


def broken(plugin: str) -> dict[str, list[str]]:
    """Load a plugin and run the laws over what it registers.

    Args:
        plugin: a module's name, or a .py file.

    Returns:
        "kind name" -> what is wrong with it, in lines; empty lists of what keeps the laws are left out.

    Raises:
        InputError: the plugin cannot be loaded, registers nothing, or has a part that no law could see.
    """
    return {name: lines for name, lines in checked(plugin).items() if lines}


def checked(plugin: str) -> dict[str, list[str]]:
    """As `broken`, with what keeps the laws."""
    load(plugin)
    found: dict[str, list[str]] = {}
    for key, registry in PARTS.items():
        for name in brought(registry, plugin):
            lines = [line for arm in arms_with(key, [name]).values() for line in of_arm(arm)]
            if key == "gate":
                lines += [line for example in examples(key, name) for line in gates.every(example)]
            found[f"{registry.kind} {name}"] = list(dict.fromkeys(lines))
    found |= {f"arm {name}": of_arm(ARMS[name]) for name in brought(ARMS, plugin)}
    found |= {f"task {name}": tasks.of_task(name) for name in brought(TASKS, plugin)}
    if not found:
        raise InputError(f"plugin {plugin}: registers nothing")
    return found


def brought(registry: Registry[Any], plugin: str) -> Iterator[str]:
    """Names that a plugin registered."""
    module = load(plugin).__name__
    places = {plugin, module, getattr(load(plugin), "__file__", None)}
    return (name for name in registry if registry.plugin(name) in places)


def of_arm(arm: Arm) -> list[str]:
    """What of an arm breaks a law."""
    check(fitted(arm), *stand_in(arm))
    lines = [*neutrality.neutrality(arm), *reach.gradient_reach(arm), *reach.update_reach(arm)]
    for training in (False, True):
        lines += independence.batch_mates(arm, training)
    if causal(arm):
        lines += [*independence.causality(arm), *independence.rereading(arm), *reach.gradient_reach(arm, causal=True)]
    return list(dict.fromkeys(lines))
