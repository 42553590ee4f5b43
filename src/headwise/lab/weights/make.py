"""Recipes to folders of models: what is not trained yet is, what is gets measured and written with its card."""

from collections.abc import Callable, Sequence
from pathlib import Path

from headwise.errors import InputError
from headwise.files import make_folder, read_mapping
from headwise.lab.weights.measure import measure
from headwise.lab.weights.recipe import ELSEWHERE, Recipe, chosen, refuse_other, title
from headwise.provenance import source_code
from headwise.training import configuration
from headwise.training.card import CARD, Card, read_card
from headwise.training.config import RunConfig
from headwise.training.evaluation import saved
from headwise.training.files import CONFIG, SUMMARY
from headwise.training.packing import digest, pack
from headwise.training.quoting import key_of
from headwise.training.run import train


def make(
    names: Sequence[str],
    runs: Path,
    output: Path,
    settings: Sequence[str] = (),
    only_finished: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Card]:
    """Train, measure and write models.

    Args:
        names: of recipes; all where none is named.
        runs: folder of the runs, `runs`/<name> each: the run's directory, or one that has it alone in it.
        output: folder of the models, `output`/<name> each.
        settings: of all runs, beside those of their recipes; for a try.
        only_finished: refuse a model of which there is no finished run, rather than training it.
        tell: is told what is being done.

    Returns:
        The card of each model.

    Raises:
        InputError: an unknown recipe, a run that was trained otherwise or, with `only_finished`, none.
    """
    found = {}
    for name, recipe in chosen(names).items():
        config = configuration.load([*recipe.words, *settings])
        run = finished(runs / name)
        if run is None:
            if only_finished:
                raise InputError(f"{runs / name}: no finished run of {name}; train it with: {recipe.command}")
            tell(f"{name}: trains")
            run = _trained(runs / name, config)
        refuse_other(run, config, name)
        found[name] = _written(run, name, recipe, settings, output / name, config.cache, tell)
    return found


def finished(folder: Path) -> Path | None:
    """The finished run that a folder is, or has in it; None if there is none.

    Raises:
        InputError: it has several.
    """
    if (folder / CONFIG).is_file():
        return folder if (folder / SUMMARY).is_file() else None
    there = sorted(file.parent for file in folder.glob(f"*/{SUMMARY}")) if folder.is_dir() else []
    if len(there) > 1:
        raise InputError(f"{folder}: {len(there)} finished runs; leave the one that is meant")
    return there[0] if there else None


def _trained(folder: Path, config: RunConfig) -> Path:
    make_folder(folder.parent)
    return train(resume=folder) if (folder / CONFIG).is_file() else train(config, directory=folder)


def _written(
    run: Path,
    name: str,
    recipe: Recipe,
    settings: Sequence[str],
    folder: Path,
    cache: str | None,
    tell: Callable[[str], None],
) -> Card:
    """The model in its folder; what was measured on the same weights is not measured again."""
    base, version = saved(run)[0], source_code()["version"]
    wanted = {each: recipe.overrides(each, base) for each in recipe.settings}
    if (folder / CARD).is_file():
        card = read_card(folder)
        asked = {one.name: one.settings for one in card.figures}
        same = (card.weights, asked, card.version) == (digest(run), wanted, version)
        if same and all(list(one.metrics) == list(recipe.metrics) for one in card.figures):
            figures = card.figures
            tell(f"{name}: measured before")
        else:
            figures = ()
    else:
        figures = ()
    if not figures:
        measured = []
        for each, overrides in wanted.items():
            tell(f"{name}: is measured {each}")
            measured.append(measure(run, each, overrides, recipe.metrics, cache))
        figures = tuple(measured)
    summary = read_mapping(run / SUMMARY)
    card = Card(
        name=name,
        title=title(name),
        task=base.entry.name,
        arm=base.name,
        parameters=summary["parameters"],
        command=" ".join([recipe.command, *(word for word in settings if key_of(word) not in ELSEWHERE)]),
        load=name,
        use=recipe.use,
        licence=recipe.licence,
        data=recipe.data,
        figures=figures,
        weights=digest(run),
        version=version,
    )
    pack(run, folder, card)
    return card
