"""What a run that is resumed must have in common with the run that it was."""

from dataclasses import replace

from headwise.errors import InputError
from headwise.training.config import RunConfig, differences

# What may differ when a run is resumed: nothing that its weights depend on.
CHANGEABLE = (
    "output",
    "cache",
    "device",
    "training.loggers",
    "training.threads",
    "training.log_every",
    "training.accumulate",
    "training.processes",
    "training.shard",
    "training.max_seconds",
    "training.profile",
)


def resumed(saved: RunConfig, wanted: RunConfig | None) -> RunConfig:
    """The configuration under which a saved run continues.

    Raises:
        InputError: `wanted` differs from it in something that the weights depend on.
    """
    if wanted is None:
        return saved
    if wanted.training.precision == "auto":  # settled when the run began
        wanted = replace(wanted, training=replace(wanted.training, precision=saved.training.precision))
    for key, old, new in differences(saved.to_plain(), wanted.to_plain()):
        if key == "training.updates" and new > old:
            check_prolonged(saved, wanted)
        elif not any(key == name or key.startswith(name + ".") for name in CHANGEABLE):
            raise InputError(
                f"{key}={new}: the run to resume has {key}={old}; leave it as it was, or start a new run "
                f"(may change: {', '.join(CHANGEABLE)})"
            )
    return wanted


def check_prolonged(saved: RunConfig, wanted: RunConfig) -> None:
    """Refuse more updates for a run whose schedules are shares of a run of the length that it has.

    Raises:
        InputError: which schedule, and what it would have done differently.
    """
    training, old, new = saved.training, saved.training.updates, wanted.training.updates
    learned = bool(saved.arm.balance.losses) or saved.arm.halting.learned or saved.arm.balance.target is not None
    reasons = {
        f"schedule={training.schedule} has come to its end, and only constant goes on": training.schedule != "constant",
        f"warmup={training.warmup:g} of the longer run is not over yet": round(training.warmup * new) > old,
        "freeze_controller would freeze again": round(training.freeze_controller * new) > old,
        "ramp would lower the weights of losses again": learned and training.ramp * new > old,
        "entropy would be halved at other updates": (
            training.entropy.direction != "none" and training.entropy.halve_every is not None
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(
                f"training.updates={new}: the run to resume has training.updates={old}, and its {reason}; "
                "start a new run"
            )
