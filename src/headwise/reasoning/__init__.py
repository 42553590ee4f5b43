"""Reasoning: controllers, halting, and refinement with what it iterates; here what there is by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwise.registry import Registry

if TYPE_CHECKING:
    from headwise.reasoning.controllers import ControllerConfig
    from headwise.reasoning.halting import HaltingConfig
    from headwise.reasoning.initial_states import InitialStateConfig
    from headwise.reasoning.recursion import Recursion

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
        "correct": "headwise.reasoning.halting:CorrectHalting",
    },
)
RECURSIONS: Registry[type[Recursion]] = Registry(
    "recursion",
    "headwise.recursions",
    {
        "single": "headwise.reasoning.recursion:SingleStream",
        "two_streams": "headwise.reasoning.recursion:TwoStreams",
    },
)
INITIAL_STATES: Registry[type[InitialStateConfig]] = Registry(
    "initial state",
    "headwise.initial_states",
    {
        "embedding": "headwise.reasoning.initial_states:EmbeddingState",
        "fixed": "headwise.reasoning.initial_states:FixedState",
        "random": "headwise.reasoning.initial_states:RandomState",
    },
)
