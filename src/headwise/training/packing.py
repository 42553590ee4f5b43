"""A finished run without what only training needs, to be shared: the same wherever it was trained."""

import hashlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from headwise.files import open_regular, read_mapping, write_json, write_text
from headwise.models.checkpoint import WEIGHTS, read_config, save
from headwise.training.card import Card, write_card
from headwise.training.config import RunConfig
from headwise.training.evaluation import load, saved
from headwise.training.files import CONFIG, SUMMARY

MACHINE = ("device", "output", "cache")
"""Settings of a run that say nothing of its model."""


def pack(run: Path, folder: Path, card: Card) -> None:
    """Write the model of a finished run, its summary and its card into a folder that is itself a run's directory.

    What belongs to the machine that trained it, device, folders and threads, is left as a new run has it.

    Raises:
        InputError: no finished run.
    """
    content = read_config(run) | {"run": neutral(saved(run)[0]).to_plain()}
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, load(run), content)
    write_text(folder / CONFIG, yaml.safe_dump(content["run"], sort_keys=False))
    write_json(folder / SUMMARY, read_mapping(run / SUMMARY))
    write_card(folder, card)


def neutral(config: RunConfig) -> RunConfig:
    """The configuration without what belongs to a machine."""
    training = replace(config.training, threads=None)
    task = config.task
    if any(item.name == "root" for item in fields(task)):
        task = replace(task, root=None)
    # By the fields' defaults: a configuration of the task alone may be one that the task refuses
    elsewhere: dict[str, Any] = {item.name: item.default for item in fields(config) if item.name in MACHINE}
    return replace(config, task=task, training=training, **elsewhere)


def digest(run: Path) -> str:
    """sha256 of the weights of a run."""
    found = hashlib.sha256()
    with open_regular(run / WEIGHTS) as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()
