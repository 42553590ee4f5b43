"""A function in a script of a user's own, called as `python script.py` would find its neighbours."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.schema import suggestion

NAME = "headwise_examined"
"""`__name__` of the script: not `__main__`, so that what stands under that does not run."""


def called(script: Path, function: str) -> Any:
    """What a function of a script returns, called without arguments.

    Raises:
        InputError: there is no such script or function, or one of them fails.
    """
    if not script.is_file():
        raise InputError(f"{script}: not found")
    folder = str(script.absolute().parent)
    sys.path.insert(0, folder)
    try:
        names = runpy.run_path(str(script), run_name=NAME)
        found = names.get(function)
        if not callable(found):
            own = [name for name, value in names.items() if getattr(value, "__module__", None) == NAME]
            there = f"it has {', '.join(own)}{suggestion(function, own)}" if own else "it has none"
            raise InputError(f"{script}: no function {function or '(none was named)'}; {there}")
        return found()
    except InputError:
        raise
    except Exception as error:  # whatever a script of someone else raises
        raise InputError(f"{script}: fails with {type(error).__name__}: {error}") from error
    except SystemExit as error:
        raise InputError(f"{script}: ends the program (exit {error.code})") from error
    finally:
        sys.path.remove(folder)
