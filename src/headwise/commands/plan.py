"""`headwise plan`: how many seeds and test examples it takes to see a difference."""

from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.comparison.resolution import forecast
from headwise.lab.records import read_comparison
from headwise.lab.report.forecast_table import forecast_text
from headwise.schema import FilePath, argument


@dataclass(frozen=True)
class Options:
    """Say how many seeds and test examples it takes to see a difference, and how long that takes.

    It reads the variances of a finished comparison: between seeds, between test examples, and of both. What can be
    shown is for the pair of arms that varies most, with a power of 80 % and the correction for the number of pairs;
    what can be ruled out is for arms that do not differ. A variance from three seeds is known within a factor of ten
    or more, so the number of seeds comes with a range.

    Args:
        directory: of the comparison.
        effect: the difference to be seen, in units of the metric, as effect=0.005.
    """

    waits: ClassVar[str] = "reading the runs"

    effect: float
    directory: FilePath = argument()


def run(options: Options) -> Result:
    """The table over seeds and examples, and the size that is recommended."""
    plan = forecast(read_comparison(user_path(options.directory)), options.effect)
    return Result(plan, forecast_text(plan))
