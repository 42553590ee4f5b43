"""Models: arms, blocks and backbones; here the arms of plugins by name, beside those in `headwise/conf/arm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwise.registry import Registry

if TYPE_CHECKING:
    from headwise.models.arm import Arm

ARMS: Registry[Arm] = Registry("arm", "headwise.arms", {})
