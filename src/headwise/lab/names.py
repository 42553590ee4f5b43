"""Short names of arms for people: what several arms share is left out of theirs and told once.

Files have labels, as they were typed: `looped:refinement.steps=21,model.width=64`. Beside `hrm:refinement.steps=21` a
page says looped:model.width=64 and hrm.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from headwise.lab.formatting import join_words
from headwise.training.configuration import split_label

Plain = Mapping[str, Any]


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """Label -> name, without the settings that arms of two or more kinds have; one that would then be another's keeps
    its label. A label that names no arm first, as those of a sweep, stays as it is."""
    shared = _shared(labels)
    found = {label: _joined(label, shared) for label in labels}
    often = Counter(found.values())
    return {label: name if often[name] == 1 else label for label, name in found.items()}


def with_short_names(result: Plain) -> dict[str, Any]:
    """The content of comparison.json or ood.json with names in the place of labels, apart from its sentences, which
    have them."""
    names = short_names(list(result["arms"]))
    shown = _renamed(result, names)
    for axis, found in result.get("axes", {}).items():
        points = [_renamed(point, names) | _runs_renamed(point, names) for point in found["points"]]
        shown["axes"] = {**shown["axes"], axis: {**found, "points": points}}
    return shown


def sizes_with_short_names(result: Plain) -> dict[str, Any]:
    """As `with_short_names`, of scaling.json, which has arms at each size."""
    names = short_names(result["arms"])
    advantage = {
        metric: {names[label]: {**arm, "over": names[arm["over"]]} for label, arm in arms.items()}
        for metric, arms in result["advantage"].items()
    }
    sizes = {size: _renamed(content, names) for size, content in result["sizes"].items()}
    return {**result, "arms": list(names.values()), "sizes": sizes, "advantage": advantage}


def _renamed(part: Plain, names: Mapping[str, str]) -> dict[str, Any]:
    """A part that has arms by label, and may have pairs of them."""
    shown = {**part, "arms": {names[label]: arm for label, arm in part["arms"].items()}}
    if "pairs" in part:
        sides = [{side: names.get(pair[side], pair[side]) for side in "ab"} for pair in part["pairs"]]
        shown["pairs"] = [{**pair, **named} for pair, named in zip(part["pairs"], sides, strict=True)]
    return shown


def _runs_renamed(point: Plain, names: Mapping[str, str]) -> dict[str, Any]:
    """What was left out at a point, by run: `label, seed 0`."""
    runs = [(run.rpartition(", seed "), reason) for run, reason in point["left_out"].items()]
    return {"left_out": {f"{names.get(label, label)}{at}{seed}": reason for (label, at, seed), reason in runs}}


def left_out(labels: Sequence[str]) -> str:
    """What the names of these arms leave out, as a sentence; nothing where they leave out nothing."""
    words: dict[tuple[str, ...], list[str]] = {}
    shared = _shared(labels)
    for label, name in short_names(labels).items():
        if name != label:
            words.setdefault(tuple(word for word in split_label(label)[1] if word in shared), []).append(name)
    told = [f"{', '.join(settings)} in {join_words(names)}" for settings, names in words.items()]
    return f"Names leave out what arms share: {'; '.join(told)}." if told else ""


def _shared(labels: Sequence[str]) -> set[str]:
    """The settings that arms of two or more kinds have."""
    kinds: dict[str, set[str]] = {}
    for label in labels:
        kind, words = split_label(label)
        for word in words if kind.isidentifier() else ():
            kinds.setdefault(word, set()).add(kind)
    return {word for word, found in kinds.items() if len(found) > 1}


def _joined(label: str, shared: set[str]) -> str:
    kind, words = split_label(label)
    if not any(word in shared for word in words):
        return label
    own = [word for word in words if word not in shared]
    return f"{kind}:{','.join(own)}" if own else kind
