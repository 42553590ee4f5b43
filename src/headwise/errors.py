"""The one exception that means: the input is at fault, not the program."""


class InputError(ValueError):
    """A value, file or combination that the user can put right.

    The message is one line that says what, where and what is allowed. The command line prints it and exits with
    code 2; from Python it is an ordinary `ValueError`.
    """
