"""The command line: which command, what it prints, and how it ends.

Results go to standard output (as JSON with `--json`), progress and logs to standard error. A mistake in the input is
one line there and exit code 2; a failed run, or a disk that is full, is 1; Ctrl-C is 130. Nothing heavy is imported
until a command needs it.
"""

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Generator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, TextIO

from headwise.errors import InputError, StorageError
from headwise.files import finite
from headwise.plugins import taken
from headwise.training.waiting import Announced, waiting

if TYPE_CHECKING:
    from headwise.commands.catalogue import Command
    from headwise.commands.result import Result
    from headwise.tasks.base import Ending, Writing

NO_MEMORY = "there is not enough memory"
_LONG_WORD = re.compile(r"(\S{200})\S{200,}")
"""More than a path is long: a word of the input that a message would repeat by the thousand characters."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a failed run, 2 for a mistake in the input, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character must not cost the result
    try:
        return _run(words)
    except InputError as error:
        return _fail(2, error)
    except KeyboardInterrupt as stop:
        return _fail(130, stop)
    except RuntimeError as error:
        if type(error).__module__.partition(".")[0] != "headwise":
            raise
        return _fail(1, error)
    except MemoryError:
        return _fail(1, f"{NO_MEMORY}; make more of it free, or the work smaller (training.batch_size, model.width)")
    except ImportError as error:
        if "failed to map" not in str(error):  # a library for which there is no room
            raise
        return _fail(1, f"{NO_MEMORY} to load what the command needs ({error}); make more of it free")
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _close_output()
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(2, f"{error.filename}: {error.strerror}")


def _open_closed_streams() -> None:
    """Let a standard stream that whoever started us has closed read and write nothing; Python has None there, and the
    next file to be opened would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _run(words: list[str]) -> int:
    if words and words[0] == "--version":
        _write(f"headwise {metadata.version('headwise')}\n", sys.stdout)
        return 0
    if words and words[0] == "--complete":  # a shell asks at each press of a key
        from headwise.commands.completion import answer

        _write(answer(words[1:]), sys.stdout)
        return 0
    from headwise.commands.catalogue import commands

    typed, words = words, taken(words)
    if not words:
        raise InputError(f"which <command>? headwise --help says more; there are: {', '.join(commands())}")
    as_json = "--json" in words
    words = [word for word in words if word != "--json"]
    command, own = _command(words)
    if command is None or "--help" in own or "-h" in own:
        command, own = commands()["help"], command.name.split() if command else []
    from headwise.commands.words import read

    if "torch" not in sys.modules:
        _wait_briefly()
        sys.meta_path.insert(0, Announced("torch", _speaks()))
    with waiting("loading headwise", _speaks()):
        module = importlib.import_module(command.module)
    options = read(command, module.Options, own)
    try:
        # Whatever libraries print on the way must not end up between the lines of a result
        out = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            result = _result(command, module, options, None if as_json else out)
    except KeyboardInterrupt as stop:
        kept = getattr(module.Options, "kept", None)
        if kept is None:
            raise
        own_output = getattr(stop, "output", None)  # of a directory that was made for this call
        output = [f"output={own_output}"] if own_output and not any(w.startswith("output=") for w in own) else []
        again = shlex.join(["headwise", *(word for word in typed if word != "--json"), *output])
        raise KeyboardInterrupt(f"stopped; {kept}, continue with: {again}") from None
    if _speaks():
        _print(result, as_json)
    return result.code


def _wait_briefly() -> None:
    """Threads that wait for each other look for microseconds and then sleep, unless the environment says otherwise.

    libgomp, which PyTorch for Linux brings, looks for milliseconds. Where something else has one of the cores, the one
    that looks keeps the one that is looked for from running: seconds of training become minutes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _command(words: list[str]) -> tuple["Command | None", list[str]]:
    """The command that the first word, or the first two, name, and what follows; None for help on all of them."""
    from headwise.commands.catalogue import commands, named
    from headwise.schema import suggestion

    command, own = named(words)
    if command is not None:
        return command, own
    if words[0] in ("-h", "--help"):
        return None, []
    first = [name for name in commands() if name.partition(" ")[0] == words[0]]
    if first and {"-h", "--help"} & set(words):
        return commands()["help"], words[:1]
    if first:
        usages = "; ".join(commands()[name].usage for name in first)
        raise InputError(f"{' '.join(words[:2])}: {'unknown' if len(words) > 1 else 'what?'}; write {usages}")
    allowed = list(commands())
    raise InputError(f"{words[0]}: unknown command; allowed: {', '.join(allowed)}{suggestion(words[0], allowed)}")


def _result(command: "Command", module: Any, options: Any, out: TextIO | None) -> "Result":
    """Carry the command out; a `Writing` of a task's goes to `out` as it comes (None: into the result)."""
    from headwise.commands.result import Result, key_values

    if not command.of_task:
        waits = getattr(module.Options, "waits", None)  # what for, until the command itself says something
        with waiting(waits, _speaks()) if waits else contextlib.nullcontext():
            result: Result = module.run(options)
        return result
    from headwise.training.evaluation import load

    data = module.run(options, load)
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
            part = next(parts)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        _write(part, out)


def _print(result: "Result", as_json: bool) -> None:
    if as_json:
        _write(json.dumps(finite(result.data), indent=2) + "\n", sys.stdout)
        return
    if not result.text:
        return
    from rich.console import Console
    from rich.text import Text

    # Into a pipe or a file a row stays on one line, for grep and diff
    text = io.StringIO()
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 200, file=None if terminal else text)
    for part in result.text:
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)
        else:
            console.print(part)
    _write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()), sys.stdout)


def _write(text: str, out: TextIO) -> None:
    """Write to standard output, all of it or an error.

    Raises:
        StorageError: it goes into a file for which there is no space.
    """
    try:
        out.write(text)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _close_output()
        raise StorageError(f"standard output: cannot be written ({error.strerror})") from None


def _close_output() -> None:
    """Let what is still to be written to standard output go nowhere, so that the end of the program does not try."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _speaks() -> bool:
    """Whether this process reports: not one of several that torchrun started, but the first of them."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"


def _fail(code: int, error: object) -> int:
    """One line on standard error, whatever the message was."""
    line = " ".join(str(error).split()) or "interrupted"
    if _speaks():
        print("headwise:", _LONG_WORD.sub(r"\1...", line) if code == 2 else line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
