"""The exceptions that mean something to a user: the input is at fault, or the disk; not the program."""


class InputError(ValueError):
    """A value, file or combination that the user can put right.

    The message is one line that says what, where and what is allowed. The command line prints it and exits with
    code 2; from Python it is an ordinary `ValueError`.
    """


class StorageError(RuntimeError):
    """A file could not be written: the disk is full, or the place takes nothing.

    What was there before is untouched. The command line prints the message, one line, and exits with code 1.
    """


class OutOfMemoryError(RuntimeError):
    """There is not as much memory as the work takes. The command line prints the message and exits with code 1."""


def in_a_line(error: BaseException) -> str:
    """What the error of another library says, which may be a page, as a part of a line of our own."""
    return " ".join(str(error).split())[:160] or type(error).__name__
