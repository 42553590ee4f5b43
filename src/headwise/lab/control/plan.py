"""The plan of a control: a comparison of its arms, and each FFN width with and without a router."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headwise.errors import InputError
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import Plan, new_directory, plan
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.control.arms import Chosen
from headwise.lab.outputs import CONTROL_ARMS, directory_name, refuse_other_work
from headwise.training.config import RunConfig

WIDTHS = (0, 8, 24, 96)
"""FFN widths of the curve: none at all, one that can do a router's job in a probe, and three and twelve times that."""


@dataclass(frozen=True)
class Control:
    """Everything that is to be trained.

    Attributes:
        arms: the comparison of all arms, matched.
        curve: by FFN width the reference and the first routed arm, unmatched, each a comparison of one arm.
    """

    chosen: Chosen
    output: Path
    arms: Plan
    curve: dict[int, tuple[Plan, Plan]]

    @property
    def comparisons(self) -> list[Plan]:
        return [self.arms, *(one for pair in self.curve.values() for one in pair)]

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs: those of the arms, then width by width."""
        curve = ((width, run) for width, pair in self.curve.items() for one in pair for run in one.runs)
        return [*self.arms.runs, *(replace(run, size=f"FFN {width}") for width, run in curve)]

    def settled(self, threads: int) -> "Control":
        """The control with one precision for all its runs."""
        arms = self.arms.settled(threads)
        precision = arms.base.training.precision
        curve = {
            width: (ours.with_precision(precision), theirs.with_precision(precision))
            for width, (ours, theirs) in self.curve.items()
        }
        return replace(self, arms=arms, curve=curve)


def prepare(
    chosen: Chosen,
    seeds: int | Sequence[int] | None = None,
    widths: Sequence[int] = WIDTHS,
    parity: Mode = "parameters",
    output: Path | str | None = None,
) -> Control:
    """What `control` would train, refused as it would be; writes nothing.

    Raises:
        InputError: widths below 0 or named twice, whatever a comparison of the arms refuses, or an output that holds
            other work.
    """
    if len(set(widths)) < len(widths) or any(width < 0 for width in widths):
        shown = ",".join(map(str, widths))
        raise InputError(f"widths=[{shown}]: choose different whole numbers, 0 or more; [] leaves the curve out")
    path = Path(output) if output else new_directory(chosen.reference[1], "control")
    if path.exists() and not path.is_dir():
        raise InputError(f"output={path}: a file; choose a directory")
    refuse_other_work(path, ["a control"])
    seeds = chosen.seeds if seeds is None else seeds
    arms = plan(chosen.arms, seeds, parity, path / CONTROL_ARMS)

    def alone(label_and_config: tuple[str, RunConfig], width: int) -> Plan:
        label, config = label_and_config
        narrow = replace(config, model=replace(config.model, ffn=width))
        folder = path / f"ffn{width}" / directory_name(label)
        return plan([(label, narrow)], seeds, "none", folder, arms.sized.length, arms.data)

    curve = {width: (alone(chosen.reference, width), alone(chosen.routed, width)) for width in sorted(widths)}
    return Control(chosen, path, arms, curve)
