"""Causal language modelling on text: facts and chats, characters, files of yours, or a synthetic corpus."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.language.config import LanguageConfig
from headwise.tasks.language.data import LanguageData
from headwise.tasks.language.model import LanguageTask

ENTRY = TaskEntry(
    name="language",
    summary="predict the next token of text: chats, characters, files of yours, or a small synthetic corpus",
    config=LanguageConfig,
    task=LanguageTask,
    data=LanguageData,
    commands={"generate": "headwise.tasks.language.command"},
    sample="headwise.tasks.language.sample.sample",
)

__all__ = ["ENTRY", "LanguageConfig", "LanguageData", "LanguageTask"]
