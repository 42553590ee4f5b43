"""`headwise scale`: the same comparison at several sizes, or its plan."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.files import user_path
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import new_directory
from headwise.lab.outputs import SCALING
from headwise.lab.report.scaling_tables import plan_text, scaling_text
from headwise.lab.report.write import write_report
from headwise.lab.scaling.plan import DEFAULT_ARMS, DEFAULT_SIZES, check_sizes, dry_run
from headwise.lab.scaling.scale import scale
from headwise.schema import FilePath, named, run_settings
from headwise.training import configuration

SHAPE = re.compile(r"(?:^|[:,\s])model(?:\.(?:size|width|heads|ffn|depth))?=")


@dataclass(frozen=True)
class Options:
    """Compare arms at several sizes, with what each costs.

    At each size the first arm has the size's shape and the others its parameters within 1 %. What cannot fit into
    memory is refused. The directory of an unfinished scaling, as output=, goes on with what is missing; sizes, seeds
    and arms may be added to it. The result is the content of scaling.json; the pages, report.html, are written beside
    it and for each size.

    Args:
        sizes: tiny, small, medium, large, xl, huge (0.4 to 521 million parameters).
        arms: as for headwise compare.
        seeds: how many, or which; one allows no verdict.
        parity: what is made equal at each size: width is narrower at full depth.
        output: directory of the scaling; null makes a new one in runs/.
        jobs: runs side by side; null is one for each core of this machine, or as many as fit into memory.
        launcher: as for headwise compare.
        second: a metric shown beside the primary one; null is the first other one that the runs measure.
        dry_run: print parameters, FLOPs, memory and time, and train nothing.
        settings: of all runs.
    """

    waits: ClassVar[str] = "preparing the runs"
    kept: ClassVar[str] = "finished runs are kept"

    sizes: tuple[str, ...] = DEFAULT_SIZES
    arms: tuple[str, ...] = DEFAULT_ARMS
    seeds: int | tuple[int, ...] = 1
    parity: Mode = "parameters"
    output: FilePath | None = None
    jobs: int | None = None
    launcher: Any = named(LAUNCHERS, LOCAL)
    second: str | None = None
    dry_run: bool = False
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on where the same command stopped, at every size; with `dry_run` only plan. Exit code 1 if a run
    failed."""
    check_sizes(options.sizes)
    _refuse_shapes([*options.settings, *options.arms])
    arms = configuration.load_arms(options.arms, options.settings)
    keys = ("sizes", "seeds", "parity", "jobs", "second")
    given: dict[str, Any] = {key: getattr(options, key) for key in keys}
    if options.dry_run:
        plan = dry_run(arms, output=options.output, **given)
        return Result(plan, plan_text(plan))
    output = user_path(options.output) if options.output else new_directory(arms[0][1], "scale")
    try:
        result = scale(arms, output=output, launcher=options.launcher, **given)
    except KeyboardInterrupt:
        if (output / SCALING).is_file():  # of the sizes that are whole
            write_report(output)
        raise
    write_report(output)
    failed = any(arm["failures"] for size in result["sizes"].values() for arm in size["arms"].values())
    return Result(result, scaling_text(result), code=int(failed))


def _refuse_shapes(words: Sequence[str]) -> None:
    """The sizes say how wide and deep an arm is; a second word on it would be lost."""
    for word in words:
        if found := SHAPE.search(word):
            key = found.group().strip(" :,=")
            raise InputError(f"{key} in {word}: a scaling takes shapes from sizes=; leave it out, or use compare")
