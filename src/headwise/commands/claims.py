"""`headwise claims`: the book of claims, and one of them in full."""

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from headwise.commands.result import Result, columns, key_values
from headwise.lab.claims.claim import book, file_of
from headwise.lab.claims.retest import described
from headwise.schema import argument


@dataclass(frozen=True)
class Options:
    """Show published claims of this field, what it takes to believe them, and what their last test said

    Without a name all of them, a line each. headwise claims run tests them again.

    Args:
        claim: its name, or a file of one's own (docs/claims.md).
    """

    claim: str | None = argument(None)


def run(options: Options) -> Result:
    """All claims in short, or one in full."""
    if options.claim is not None:
        claim = described(file_of(options.claim))
        return Result(claim, [*in_full(claim)])
    claims = [described(file) for file in book().values()]
    return Result(claims, [columns(map(in_short, claims), ["claim", "says", "verdict", "tested", "takes"])])


def in_short(claim: dict[str, Any]) -> dict[str, Any]:
    """The row of a claim in the table of all."""
    verdict = claim["verdict"] or {}
    return {
        "claim": claim["name"],
        "says": claim["title"],
        "verdict": verdict.get("outcome", "not tested"),
        "tested": verdict.get("date"),
        "takes": f"{claim['minutes']:g} min",
    }


def in_full(claim: dict[str, Any]) -> list[RenderableType]:
    """What is printed of one claim."""
    about = {key: claim[key] for key in ("title", "source", "says", "needed", "finding") if claim[key]}
    about |= {"takes": f"about {claim['minutes']:g} minutes on two cores"}
    commands = {key: f"headwise {command['run']}" for key, command in claim["commands"].items()}
    text: list[RenderableType] = [key_values({"claim": claim["name"], **about}), key_values(commands, "\ncommands")]
    if verdict := claim["verdict"]:
        text += [key_values(of_verdict(verdict), "\nlast test")]
    return text


def of_verdict(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict with its evidence."""
    evidence = {f"evidence {place}": each["text"] for place, each in enumerate(verdict["evidence"], 1)}
    return {"verdict": verdict["outcome"], **evidence, "date": verdict["date"], "machine": verdict["machine"]}
