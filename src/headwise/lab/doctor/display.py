"""A diagnosis in a terminal, and the table of rules in the troubleshooting guide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.doctor.findings import Diagnosis, Rules
from headwise.lab.formatting import format_quantity

STYLES = {"sure": "bold red", "likely": "yellow", "possible": "dim"}


def diagnosis_text(diagnosis: Diagnosis) -> list[RenderableType]:
    """What to print: a row for each finding, what to do about each, and what could not be looked at."""
    parts: list[RenderableType] = [Text(verdict(diagnosis), style="bold red" if diagnosis.alarming else "bold green")]
    if diagnosis.findings:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for title in ("", "what", "where", "evidence"):
            table.add_column(title, overflow="fold")
        for one in diagnosis.findings:
            texts = map(Text, (one.what, one.where, one.evidence))
            table.add_row(Text(one.confidence, style=STYLES[one.confidence]), *texts)
        parts.append(table)
    # One line for each kind of defect, in however many places it was found
    for what, one in {finding.what: finding for finding in diagnosis.findings}.items():
        parts.append(f"{what}: {one.remedy}\n    {one.command}")
    parts += [Text(f"not looked at, {what}: {why}", style="dim") for what, why in diagnosis.unexamined.items()]
    return parts


def verdict(diagnosis: Diagnosis) -> str:
    """The diagnosis in a line."""
    found = len(diagnosis.findings)
    alarming = sum(finding.alarming for finding in diagnosis.findings)
    if not found:
        return f"{diagnosis.target}: nothing found"
    if not alarming:
        return f"{diagnosis.target}: nothing is wrong that can be seen, {format_quantity(found, 'thing')} to look at"
    return f"{diagnosis.target}: {format_quantity(alarming, 'finding')}" + (
        f", {found - alarming} to look at" if found > alarming else ""
    )


def plain(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as plain JSON."""
    return {
        "target": diagnosis.target,
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "unexamined": diagnosis.unexamined,
    }


def guide_tables(every: Iterable[Rules]) -> str:
    """The rules as the tables of the troubleshooting guide, in Markdown."""
    parts = []
    for rules in every:
        rows = [
            f"| {rule.symptom} | **{rule.name}**: {rule.diagnosis} | {rule.remedy} | `{_cell(rule.command)}` |"
            for rule in rules.rules
        ]
        head = f"### In {rules.about}\n\n| symptom | diagnosis | remedy | command |\n|---|---|---|---|"
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts) + "\n"


def _cell(command: str) -> str:
    return command.format(target="RUN").replace("|", "\\|")
