"""The library transformers: imported where it is needed, and quiet."""

import importlib
import logging
from typing import Any

from headwise.errors import InputError


def transformers_for(setting: str, remedy: str = "") -> Any:
    """The module `transformers`, told to be quiet.

    Args:
        setting: what needs it, as key=value; begins the message.
        remedy: what else could be chosen, behind a comma.

    Raises:
        InputError: it is not installed.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError:
        raise InputError(f"{setting}: needs the package transformers; install headwise[hf]{remedy}") from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports every try
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
