"""`headwise doctor`: says why a model does not learn."""

from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.doctor.display import diagnosis_text, plain
from headwise.lab.doctor.examine import diagnose
from headwise.schema import FilePath, argument


@dataclass(frozen=True)
class Options:
    """Say why a model does not learn: what, where, on what evidence, and what to do.

    Looks at a run (records, weights, data, a few passes), at a comparison (budgets, seeds, arms, the records of its
    runs), or at a model of your own: script.py:function, which is called and returns a mapping with the arguments of
    headwise.examine (model, loss, batches, and optimizer, if there is one). Nothing is trained and nothing is written.
    The exit code is 1 where a finding is sure or likely.

    Args:
        target: the directory of a run or a comparison, or script.py:function.
    """

    waits: ClassVar[str] = "examining"

    target: FilePath = argument()


def run(options: Options) -> Result:
    """The findings, the surest first."""
    diagnosis = diagnose(user_path(options.target))
    return Result(plain(diagnosis), diagnosis_text(diagnosis), code=int(diagnosis.alarming))
