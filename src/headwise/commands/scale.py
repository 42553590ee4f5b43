"""`headwise scale`: the same comparison at several sizes, or its plan."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwise.commands.compare import check
from headwise.commands.result import Result
from headwise.errors import InputError

# Keys of the scaling itself; the rest goes to the runs
OWN = ("sizes", "arms", "seeds", "parity", "output", "jobs", "second", "dry_run")
SHAPE = re.compile(r"(?:^|[:,\s])model(?:\.(?:size|width|heads|ffn|depth))?=")


def run(words: list[str]) -> Result:
    """Train, or go on where the same command stopped, at every size; the result is the content of scaling.json.

    The pages, report.html, are written beside it and for each size. With `dry_run=true` the result is the plan, and
    nothing is trained or written.
    """
    from headwise.lab.comparison.plan import new_directory
    from headwise.lab.outputs import SCALING
    from headwise.lab.report.scaling_tables import plan_text, scaling_text
    from headwise.lab.report.write import write_report
    from headwise.lab.scaling.plan import DEFAULT_ARMS, DEFAULT_SIZES, check_sizes, dry_run
    from headwise.lab.scaling.scale import scale
    from headwise.training import configuration

    own, overrides = configuration.take(words, OWN)
    own.setdefault("arms", list(DEFAULT_ARMS))
    check(own)
    _check(own)
    sizes = own.setdefault("sizes", list(DEFAULT_SIZES))
    check_sizes(sizes)
    _refuse_shapes([*overrides, *own["arms"]])
    arms = configuration.load_arms(own.pop("arms"), overrides)
    if own.pop("dry_run", False):
        plan = dry_run(arms, **own)
        return Result(plan, plan_text(plan))
    output = Path(own.pop("output", None) or new_directory(arms[0][1], "scale"))
    try:
        result = scale(arms, output=output, **own)
    except KeyboardInterrupt:
        if (output / SCALING).is_file():  # of the sizes that are whole
            write_report(output)
        again = shlex.join(["headwise", "scale", *words])
        raise KeyboardInterrupt(f"stopped; finished runs are kept, continue with: {again}") from None
    write_report(output)
    failed = any(arm["failures"] for size in result["sizes"].values() for arm in size["arms"].values())
    return Result(result, scaling_text(result), code=int(failed))


def _check(own: dict[str, Any]) -> None:
    sizes, dry = own.get("sizes", []), own.get("dry_run", False)
    if not isinstance(sizes, list) or not all(isinstance(size, str) for size in sizes):
        raise InputError(f"sizes={sizes}: expected a list of sizes, such as 'sizes=[tiny,small]'")
    if not isinstance(dry, bool):
        raise InputError(f"dry_run={dry}: expected true or false")


def _refuse_shapes(words: Sequence[str]) -> None:
    """The sizes say how wide and deep an arm is; a second word on it would be lost."""
    for word in words:
        if found := SHAPE.search(word):
            key = found.group().strip(" :,=")
            raise InputError(f"{key} in {word}: a scaling takes shapes from sizes=; leave it out, or use compare")
