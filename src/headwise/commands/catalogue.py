"""The commands there are, headwise's own and those that tasks bring along, known before anything of them is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from headwise.sources import REQUIRED, ClassSource, Field, argument_of, class_of
from headwise.tasks import TASKS, entry

OWN = {
    "train": "headwise.commands.train",
    "evaluate": "headwise.commands.evaluate",
    "compare": "headwise.commands.compare",
    "plan": "headwise.commands.plan",
    "choices": "headwise.commands.choices",
    "scale": "headwise.commands.scale",
    "control": "headwise.commands.control",
    "ood": "headwise.commands.ood",
    "think": "headwise.commands.think",
    "show": "headwise.commands.show",
    "low-data": "headwise.commands.low_data",
    "sweep": "headwise.commands.sweep",
    "ladder": "headwise.commands.ladder",
    "claims": "headwise.commands.claims",
    "claims run": "headwise.commands.claims_run",
    "retrofit": "headwise.commands.retrofit",
    "doctor": "headwise.commands.doctor",
    "heads": "headwise.commands.heads",
    "report": "headwise.commands.report",
    "export": "headwise.commands.export",
    "playground": "headwise.commands.playground",
    "bench": "headwise.commands.bench",
    "prune": "headwise.commands.prune",
    "weights": "headwise.commands.weights",
    "push": "headwise.commands.push",
    "pull": "headwise.commands.pull",
    "data get": "headwise.commands.data_get",
    "check-laws": "headwise.commands.check_laws",
    "init": "headwise.commands.init",
    "runs": "headwise.commands.runs",
    "clean": "headwise.commands.clean",
    "completion": "headwise.commands.completion",
    "list": "headwise.commands.listing",
    "help": "headwise.commands.help",
}
"""Name, of one word or two, -> the module with `Options` and `run`."""


@dataclass(frozen=True)
class Command:
    """A command, as its source describes it.

    Attributes:
        name: one word or two.
        module: with its `Options`, whose docstring is its help, and `run`.
        of_task: whether a task brought it along; `run` is then given a function that loads a model, too.
    """

    name: str
    module: str
    of_task: bool

    @property
    def options(self) -> ClassSource:
        return class_of(f"{self.module}:Options")

    @property
    def summary(self) -> str:
        return self.options.summary.removesuffix(".")

    @property
    def usage(self) -> str:
        """How it is typed."""
        # Words by their place come first, as they are typed
        fields = sorted(self.options.fields.values(), key=lambda field: field.kind != "argument")
        keys = ["[key=value ...]"] if any(field.kind != "argument" for field in fields) else []
        return " ".join(["headwise", self.name, *filter(None, map(_placeholder, fields)), *keys])

    @property
    def plain(self) -> dict[str, Any]:
        """What `--json` prints of its help."""
        keys = {
            field.name: {"meaning": field.meaning, "allowed": field.allowed, "default": field.shown_default}
            for field in self.options.fields.values()
        }
        return {"usage": self.usage, "summary": self.summary, "about": self.options.about, "options": keys}


@cache
def commands() -> Mapping[str, Command]:
    """All commands by name."""
    found = {name: Command(name, module, of_task=False) for name, module in OWN.items()}
    for task in TASKS:
        stated = argument_of(TASKS.address(task), "commands")
        # Where the source does not tell, as it may be with a task of someone else, the task itself does
        own = stated if isinstance(stated, Mapping) else {} if stated is None else entry(task).commands
        found |= {name: Command(name, module, of_task=True) for name, module in own.items()}
    return found


def named(words: Sequence[str]) -> tuple[Command | None, list[str]]:
    """The command that the first word, or the first two, name, and what follows; None if there is no such command."""
    for length in (2, 1):
        if (name := " ".join(words[:length])) in commands():
            return commands()[name], list(words[length:])
    return None, list(words)


def _placeholder(field: Field) -> str:
    """What stands in the usage for a word by its place, or a key that must be given."""
    if field.kind == "argument":
        return f"<{field.name}>" if field.default is REQUIRED else f"[{field.name}{' ...' * (field.default == ())}]"
    if field.kind == "option" and field.default is REQUIRED:
        return f"'{field.name}=[first,second]'" if "list" in field.allowed else f"{field.name}=..."
    return ""
