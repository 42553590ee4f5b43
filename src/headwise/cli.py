"""The command line: which command, what it prints, and how it ends.

Results go to standard output (as JSON with `--json`), progress and logs to standard error. A mistake in the input is
one line there and exit code 2; Ctrl-C is 130. Nothing heavy is imported until a command needs it.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn, TextIO

from headwise.errors import InputError
from headwise.plugins import taken

if TYPE_CHECKING:
    from headwise.commands.result import Result
    from headwise.tasks.base import Ending, Writing

EXAMPLES = """\
examples:
  headwise train task=sorting arm=hrm task.length=20 arm.controller.period=4
  headwise train arm=hrm quick=true                  a try of ten seconds
  headwise train resume=runs/sorting-hrm-seed0-...   go on where a run stopped
  headwise evaluate runs/sorting-hrm-seed0-... task.mask_rate=0.2
  headwise compare task=sorting 'arms=[baseline,looped,hrm,"hrm:refinement.steps=12"]' seeds=5
  headwise scale 'sizes=[tiny,small]' 'arms=[baseline,hrm]' dry_run=true
  headwise list --plugin mine.py                     ... parts of your own included, with any command
  headwise list                                      what arms, tasks, gates, controllers there are
"""


@dataclass(frozen=True)
class Command:
    """A command as the parser knows it, before anything of it is loaded.

    Attributes:
        summary: one line for `--help`.
        words: what follows the command's name, and what it says about that.
        about: a paragraph for the command's own `--help`.
        module: the file of `headwise.commands`.
    """

    summary: str
    words: str
    about: str
    module: str


OVERRIDES = (
    "Overrides are key=value, in any order: task=, arm= and training= choose a file of values, dotted keys such as "
    "arm.gate.k=2 set single ones. quick=true makes it a try of about ten seconds."
)
COMMANDS = {
    "train": Command(
        "train one arm on one task",
        "[key=value ...]",
        f"{OVERRIDES} resume=<run directory> goes on where that run stopped.",
        "train",
    ),
    "evaluate": Command(
        "score a finished run on its test set",
        "<run directory> [key=value ...]",
        "The model of the run on its own test set, or on another one: task.length=30, task.mask_rate=0.2.",
        "evaluate",
    ),
    "compare": Command(
        "train several arms fairly and say which differ",
        "arms=[first,second,...] [seeds=3] [parity=parameters] [key=value ...]",
        f"Arms share data, seeds, updates and settings, and get the size of the first. {OVERRIDES} An arm may have its "
        "own: 'arms=[baseline,\"hrm:refinement.steps=12\"]'. The directory of an unfinished comparison, as output=, "
        "goes on with what is missing.",
        "compare",
    ),
    "scale": Command(
        "compare arms at several sizes, with what each costs",
        "[sizes=[tiny,small]] [arms=[baseline,hrm]] [seeds=1] [parity=width] [dry_run=true] [key=value ...]",
        "Sizes are tiny, small, medium, large, xl and huge (0.4 to 521 million parameters). At each the first arm has "
        "the size's shape and the others its parameters within 1 % (parity=width: narrower at full depth; depth, "
        "flops). dry_run=true prints parameters, FLOPs, memory and time, and trains nothing; what cannot fit into "
        f"memory is refused. second=<metric> is shown beside the primary one. {OVERRIDES} The directory of an "
        "unfinished scaling, as output=, goes on with what is missing; sizes, seeds and arms may be added to it.",
        "scale",
    ),
    "ladder": Command(
        "train arms from simple to rich, name the first that is broken and say why",
        "[arms=[baseline,moh,adaptive]] [tolerance=0.25] [gradient_norm=2.5] [key=value ...]",
        "After each short run: gradients against finite differences, order of gates, what moved, loss, active heads, "
        f"a sample. Stops at the first rung that fails; ladder.json holds every check. {OVERRIDES} The directory of an "
        "unfinished ladder, as output=, goes on with what is missing.",
        "ladder",
    ),
    "report": Command(
        "write report.html for a comparison or a run",
        "<directory> [markdown=FILE]",
        "A page without anything outside it: table, verdicts, learning curves, gates. markdown=README.md also puts the "
        "table of a comparison between the lines <!-- result table --> and <!-- end of result table --> of that file.",
        "report",
    ),
    "bench": Command(
        "measure speed and memory against plain layers",
        "[name ...] [output=<directory>]",
        "All benchmarks but decoding, heads, layout and mazes, which take longer, or the named. bench.json goes into "
        "output=, by default here when none is named.",
        "bench",
    ),
    "data": Command(
        "fetch public data sets, write mazes into files",
        "get <name> [output=DIR] | mazes output=FILE.npz [key=value ...]",
        "get: the files of a published release, checked against its sha256 and resumed where an earlier call stopped; "
        "names are ud_en_ewt and tinyshakespeare. They go into a folder of that name in output=, by default in "
        "HEADWISE_DATA, or else in ./data. mazes: size=16 family=depth_first number=1000 seed=0 split=train "
        "min_path_length=102 picture=first.svg, or input=<Maze-Hard .csv>; task=maze task.file= reads the result.",
        "data",
    ),
    "check-laws": Command(
        "run the laws that our own parts are tested on over those of a plugin",
        "<module or file.py>",
        "Every router, gate function, controller, halting policy, arm and task that the plugin registers, on what its "
        "examples() returns: gradients that do not arrive, gates in the wrong order, examples that depend on their "
        "batch. The exit code is 1 where a law is broken.",
        "check_laws",
    ),
    "list": Command(
        "what there is: arms, tasks, gates, controllers, ...",
        "[kind ...]",
        "One line each; all kinds, or the named.",
        "listing",
    ),
}


class Parser(argparse.ArgumentParser):
    """As argparse's, but a mistake is an `InputError`, so that it ends like every other one."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a failed run, 2 for a mistake in the input, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        run, as_json = _read(taken(words))
        # Whatever libraries print on the way must not end up between the lines of a result
        with contextlib.redirect_stdout(sys.stderr):
            result = run()
        if _speaks():
            _print(result, as_json)
            sys.stdout.flush()
    except InputError as error:
        return _fail(2, error)
    except KeyboardInterrupt as stop:
        return _fail(130, stop)
    except RuntimeError as error:
        if type(error).__module__.partition(".")[0] != "headwise":
            raise
        return _fail(1, error)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(2, f"{error.filename}: {error.strerror}")
    return result.code


def _read(words: list[str]) -> tuple[Callable[[], "Result"], bool]:
    """What is to be run, not yet started, and whether its result is wanted as JSON."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        own = [word for word in words[1:] if word != "--json"]
        as_json = "--json" in words
        return partial(_of_a_task, words[0], own, None if as_json else sys.stdout), as_json
    arguments, more = _parser().parse_known_args(words)
    # argparse hands back what follows an option in between: `train arm=hrm --json seed=1`
    for word in more:
        if word.startswith("-"):
            raise InputError(f"{word}: unknown option (see headwise {arguments.command} --help)")
    options = {"show": arguments.show} if "show" in arguments else {}
    module = importlib.import_module(f"headwise.commands.{COMMANDS[arguments.command].module}")
    return partial(module.run, [*arguments.words, *more], **options), arguments.json


def _parser() -> Parser:
    parser = Parser(
        prog="headwise",
        description="Transformers that choose which attention heads to use: train, compare, report.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"headwise {metadata.version('headwise')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="<command>", title="commands")
    for name, command in COMMANDS.items():
        usage = f"headwise {name} [--json] {command.words}"
        own = commands.add_parser(
            name, help=command.summary, description=command.about, usage=usage, allow_abbrev=False
        )
        own.add_argument("words", nargs="*", help=argparse.SUPPRESS)
        own.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        if name == "train":
            own.add_argument("--show", action="store_true", help="print the resolved settings and train nothing")
    return parser


def _of_a_task(name: str, words: list[str], out: TextIO | None) -> "Result":
    """Run a command that a task brings along in `TaskEntry.commands`: its name -> the dotted path of a function.

    The function takes the words behind the name and `headwise.training.run.load`, which a task, to the left of
    training, must not import; it returns plain JSON, or a `Writing`, whose text goes to `out` as it comes (None: into
    the result).
    """
    from headwise.commands.result import Result, key_values
    from headwise.tasks import TASKS, entry
    from headwise.training.configuration import suggestion
    from headwise.training.run import load

    found: dict[str, str] = {}
    for task in TASKS:
        found |= entry(task).commands
    if name not in found:
        allowed = [*COMMANDS, *found]
        raise InputError(f"{name}: unknown command; allowed: {', '.join(allowed)}{suggestion(name, allowed)}")
    module, _, function = found[name].rpartition(".")
    data = getattr(importlib.import_module(module), function)(words, load)
    if not isinstance(data, Generator):
        return Result(data, [key_values(data)])
    if out is not None:
        return Result(None, [], _written(data, out).code)
    kept = io.StringIO()
    ending = _written(data, kept)
    return Result({"text": kept.getvalue(), **ending.data}, [], ending.code)


def _written(parts: "Writing", out: TextIO) -> "Ending":
    """Write the parts to `out` as they come, in UTF-8 whatever the terminal prefers, and return how they end."""
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding="utf-8", newline="\n")
    while True:
        try:
            out.write(next(parts))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        out.flush()


def _print(result: "Result", as_json: bool) -> None:
    if as_json:
        # NaN and infinities, which JSON has no names for, become null
        plain = json.loads(json.dumps(result.data), parse_constant=lambda name: None)
        print(json.dumps(plain, indent=2))
        return
    from rich.console import Console
    from rich.text import Text

    # Into a pipe or a file a row stays on one line, for grep and diff
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    for part in result.text:
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)
        else:
            console.print(part)


def _speaks() -> bool:
    """Whether this process reports: not one of several that torchrun started, but the first of them."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"


def _fail(code: int, error: object) -> int:
    """One line on standard error, whatever the message was."""
    if _speaks():
        print("headwise:", " ".join(str(error).split()) or "interrupted", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
