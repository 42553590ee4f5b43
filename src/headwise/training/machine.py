"""What a run asks of the machine: a device, and packages that are extras."""

from collections.abc import Iterable
from importlib.util import find_spec

import torch

from headwise.errors import InputError


def device_of(name: str) -> str:
    """`auto` to the best device there is.

    Raises:
        InputError: the device asked for is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in present.items() if there)
    if not present[name]:
        there = ", ".join(device for device, found in present.items() if found)
        raise InputError(f"device={name}: not available here; choose auto or one of: {there}")
    return name


def require_loggers(names: Iterable[str]) -> None:
    """Refuse loggers whose package is not installed.

    Raises:
        InputError: names the extra to install.
    """
    for name in names:
        if name.startswith("wandb") and find_spec("wandb") is None:
            raise InputError(f"training.loggers={name}: not installed; pip install 'headwise[wandb]'")
