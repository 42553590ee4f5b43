"""A comparison as a whole, and the rules about it: budgets, seeds, arms, test examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from headwise.lab.comparison.parity import TOLERANCE
from headwise.lab.doctor.findings import Confidence, Rules, Seen, listed
from headwise.lab.formatting import format_count, format_magnitude, format_short
from headwise.lab.outputs import run_directory
from headwise.lab.records import Run, number, read_run

UPDATES = 0.02  # relative difference of the mean updates of two arms; those of one comparison are the same
FLOPS = 1.5  # times those of the first arm: a loop over the same blocks explains gains of that size by itself
LINES = 3  # training lines that must agree to the last digit before two runs count as the same

rules = Rules("a comparison")


@dataclass(frozen=True)
class Compared:
    """A comparison, read back.

    Attributes:
        directory: of it.
        result: the content of comparison.json.
    """

    directory: Path
    result: Mapping[str, Any]

    @property
    def arms(self) -> Mapping[str, Any]:
        """What comparison.json says of each arm, by label."""
        arms: Mapping[str, Any] = self.result["arms"]
        return arms

    @cached_property
    def runs(self) -> dict[tuple[str, int], Run]:
        """By label and seed the runs that there are."""
        places = {(arm, seed): run_directory(self.directory, arm, seed) for arm in self.arms for seed in self.seeds}
        return {key: read_run(place) for key, place in places.items() if place.is_dir()}

    @property
    def seeds(self) -> list[int]:
        """All seeds."""
        return list(self.result["seeds"])


@rules(
    "unequal budgets",
    symptom="the larger, or the longer trained, arm wins",
    diagnosis="arms differ in updates, in parameters, or in FLOPs, so that it is not their design that is compared",
    remedy="give all the same updates; parity=parameters or parity=flops; beside a loop an arm of its FLOPs",
    command="headwise report {target}",
)
def unequal_budgets(compared: Compared) -> Iterator[Seen]:
    updates = {label: taken for label, arm in compared.arms.items() if (taken := number(arm.get("updates")))}
    if updates and max(updates.values()) > (1 + UPDATES) * min(updates.values()):
        training = compared.result["training"]
        stops_early = training.get("patience") is not None or training.get("max_seconds") is not None
        said = ", ".join(f"{label} {format_count(count)}" for label, count in updates.items())
        yield Seen("updates", said, "possible" if stops_early else "sure")
    matched = compared.result["parity"]["matched"]
    for what, key, most in (("parameters", "parameter_ratio", 1 + TOLERANCE), ("flops", "flops_ratio", FLOPS)):
        far = {
            label: arm[key]
            for label, arm in compared.arms.items()
            if max(arm[key], 1 / max(arm[key], 1e-9)) > most + 1e-9
        }
        if far and what not in matched:
            # Arms of one size that differ in FLOPs are compared as designed, and the reader should know
            confidence: Confidence = "possible" if matched else "likely"
            said = ", ".join(f"{label} {format_short(ratio)} times" for label, ratio in far.items())
            first = next(iter(compared.arms.values()))
            per = format_magnitude(first["parameters" if what == "parameters" else "flops_per_example"])
            yield Seen("FLOPs" if what == "flops" else what, f"{said} those of the first arm ({per})", confidence)


@rules(
    "seeds do not differ",
    symptom="intervals of width 0; the same numbers for every seed",
    diagnosis="runs with different seeds trained on the same numbers: the seed reaches neither weights nor data",
    remedy="draw weights, data and their order from the seed; a fixed manual_seed in a plugin undoes it",
    command="headwise report {target}",
)
def seeds_do_not_differ(compared: Compared) -> Iterator[Seen]:
    for label in compared.arms:
        own = {seed: run for (arm, seed), run in compared.runs.items() if arm == label}
        same = [f"{a} and {b}" for a, b in combinations(own, 2) if _same(own[a], own[b])]
        if same:
            yield Seen(f"{label}, seeds {listed(same)}", "every training loss is the same to the last digit", "sure")


@rules(
    "arms do not differ",
    symptom="an option has no effect",
    diagnosis="two arms with different settings trained to exactly the same numbers",
    remedy="see that the setting is read: run headwise help on its key, and the laws on a part of your own "
    "(headwise check-laws)",
    command="headwise report {target}",
)
def arms_do_not_differ(compared: Compared) -> Iterator[Seen]:
    for one, other in combinations(compared.arms, 2):
        pairs = [(compared.runs.get((one, seed)), compared.runs.get((other, seed))) for seed in compared.seeds]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if known and all(_same(a, b) for a, b in known):
            yield Seen(f"{one} and {other}", "every training loss is the same to the last digit", "sure")


@rules(
    "arms tested on different examples",
    symptom="a difference between arms that no seed explains",
    diagnosis="runs of one seed were scored on different test examples",
    remedy="train both again from the same data; headwise compare refuses to put such runs together",
    command="headwise report {target}",
)
def different_tests(compared: Compared) -> Iterator[Seen]:
    for seed in compared.seeds:
        prints = {
            arm: run.summary["test_fingerprint"]
            for (arm, own), run in compared.runs.items()
            if own == seed and "test_fingerprint" in run.summary
        }
        if len(set(prints.values())) > 1:
            yield Seen(f"seed {seed}", ", ".join(f"{arm} {digest}" for arm, digest in prints.items()), "sure")


def _same(one: Run, other: Run) -> bool:
    """Whether two runs have the same training losses, of which there are enough that this is no chance."""
    losses = one.curve("task_loss", "train")
    return len(losses[1]) >= LINES and losses == other.curve("task_loss", "train")
