"""A model as it lies on the Hugging Face Hub, and back.

config.json           model_type headwise, which transformers refuses; under the key headwise all that stands in the
                      model.json, the summary and the card of a run
model.safetensors     the weights
README.md             the card, with the metadata that the Hub reads
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from headwise.errors import InputError
from headwise.files import new_folder, open_regular, read_mapping, read_text, typed, write_json, write_text, writing
from headwise.models.checkpoint import CONFIG as MODEL
from headwise.models.checkpoint import FORMAT, WEIGHTS, read_config
from headwise.provenance import check_format, source_code
from headwise.schema import to_plain
from headwise.training.card import CARD, README, Card, Figures, Measured, card_from, read_card, write_card
from headwise.training.command import command_of
from headwise.training.evaluation import load, saved
from headwise.training.files import CONFIG, SUMMARY
from headwise.training.packing import digest, pack

HUB_CONFIG, KEY = "config.json", "headwise"
FILES = (HUB_CONFIG, WEIGHTS, README)
"""What a repository of such a model has; nothing else of it is fetched."""


def card_of(run: Path, source: str, name: str, licence: str | None = None, data: str | None = None) -> Card:
    """The card of a finished run: its own where it has one, or else one of what its summary says.

    Args:
        run: its directory.
        source: from where it will be pulled.
        name: that the model gets there.
        licence: of the weights, an SPDX identifier; null takes that of the run's own card.
        data: what it was trained on, in words; null takes that of the run's own card.

    Raises:
        InputError: no finished run, or one whose card is about other weights.
    """
    if (run / CARD).is_file():
        card = read_card(run)
        if card.weights != digest(run):
            raise InputError(f"{run / CARD}: is about other weights than lie beside it; remove it, or evaluate anew")
        load_as, use = _once_pulled(source, name)
        return replace(card, name=name, load=load_as, use=use, licence=licence or card.licence, data=data or card.data)
    load_as, use = _once_pulled(source, name)
    config, summary = saved(run)[0], read_mapping(run / SUMMARY)
    metrics = {
        metric: Measured(float(value), float(value))
        for metric, value in typed(summary, "metrics", dict, run / SUMMARY).items()
        if isinstance(value, (int, float))
    }
    examples = typed(summary, "test_examples", int, run / SUMMARY)
    about = "A quick try, whose figures are no results. " if config.quick else ""
    return Card(
        name=name,
        title=f"{about}{config.entry.summary[:1].upper()}{config.entry.summary[1:]}",
        task=config.entry.name,
        arm=config.name,
        parameters=typed(summary, "parameters", int, run / SUMMARY),
        command=command_of(config),
        load=load_as,
        use=use,
        licence=licence,
        data=data or f"Trained on the data of `task={config.entry.name}`, as the command says.",
        figures=(Figures("as trained", {}, examples, metrics),),
        weights=digest(run),
        version=source_code()["version"],
    )


def _once_pulled(source: str, name: str) -> tuple[str, str]:
    """Where the model is once it was pulled, and the commands that pull and evaluate it."""
    return f"runs/{name}", f"headwise pull {source}\nheadwise evaluate runs/{name}"


def to_hub(run: Path, folder: Path, card: Card) -> None:
    """Write a finished run into a new folder as the Hub has it.

    Raises:
        InputError: no finished run, or the folder has something in it.
    """
    with new_folder(folder) as place:
        pack(run, place, card)
        content = read_config(place) | {"summary": read_mapping(place / SUMMARY), "card": to_plain(card)}
        write_json(place / HUB_CONFIG, {"model_type": KEY, "library_name": KEY, KEY: content})
        for name in (CONFIG, MODEL, SUMMARY, CARD):
            (place / name).unlink()


def from_hub(folder: Path, run: Path) -> None:
    """Write what `to_hub` wrote as a new directory of a run, and see that its model can be loaded.

    Raises:
        InputError: no such folder, damaged files or files of a newer headwise, or the directory is not new; nothing is
            left.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    where = folder / HUB_CONFIG
    if not where.is_file():
        hint = "; it is the directory of a run already" if (folder / CONFIG).is_file() else ""
        raise InputError(f"{folder}: no {HUB_CONFIG} in it; expected a model that headwise push wrote{hint}")
    config = read_mapping(where)
    if not isinstance(config.get(KEY), dict):
        raise InputError(f"{where}: no key {KEY} in it; expected a model that headwise push wrote")
    content: dict[str, Any] = dict(config[KEY])
    check_format(content, f"{where}: {KEY}", FORMAT)
    summary = typed(content, "summary", dict, f"{where}: {KEY}")
    card = card_from(typed(content, "card", dict, f"{where}: {KEY}"), f"{where}: {KEY}: card")
    with new_folder(run) as place:
        _copy(folder / WEIGHTS, place / WEIGHTS)
        write_json(place / MODEL, {key: value for key, value in content.items() if key not in ("summary", "card")})
        write_text(place / CONFIG, yaml.safe_dump(typed(content, "run", dict, f"{where}: {KEY}"), sort_keys=False))
        write_json(place / SUMMARY, summary)
        write_card(place, card)
        if (folder / README).is_file():  # people may have written into it
            write_text(place / README, read_text(folder / README))
        try:
            load(place)
        except InputError as error:
            raise InputError(str(error).replace(str(place), str(folder))) from None


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise InputError(f"{source}: not found; expected the weights of the model")
    with open_regular(source) as file, writing(target) as out:
        while part := file.read(1 << 20):
            out.write(part)
