"""Dependency parsing: words to heads and relations, on a treebank of yours, of Universal Dependencies, or generated."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.parsing.config import ParsingConfig
from headwise.tasks.parsing.data import ParsingData
from headwise.tasks.parsing.model import ParsingTask

ENTRY = TaskEntry(
    name="parsing",
    summary="attach every word of a sentence to its head: UD treebanks, or a small synthetic one",
    config=ParsingConfig,
    task=ParsingTask,
    data=ParsingData,
    commands={"parse": "headwise.tasks.parsing.command"},
    analysis="headwise.tasks.parsing.analysis.analyse",
)

__all__ = ["ENTRY", "ParsingConfig", "ParsingData", "ParsingTask"]
