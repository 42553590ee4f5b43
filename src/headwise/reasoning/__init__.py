"""Reasoning: controllers, halting and refinement; here what there is by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwise.registry import Registry

if TYPE_CHECKING:
    from headwise.reasoning.controllers import ControllerConfig
    from headwise.reasoning.halting import HaltingConfig

CONTROLLERS: Registry[type[ControllerConfig]] = Registry(
    "controller",
    "headwise.controllers",
    {
        "none": "headwise.reasoning.controllers:NoController",
        "classical": "headwise.reasoning.controllers:ClassicalConfig",
        "hrm": "headwise.reasoning.controllers:HRMConfig",
        "hrm_act": "headwise.reasoning.controllers:HRMActConfig",
    },
)
HALTING: Registry[type[HaltingConfig]] = Registry(
    "halting policy",
    "headwise.halting",
    {
        "fixed": "headwise.reasoning.halting:FixedHalting",
        "entropy": "headwise.reasoning.halting:EntropyHalting",
        "ponder": "headwise.reasoning.halting:PonderHalting",
    },
)
