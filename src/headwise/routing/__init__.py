"""Routing: routers, gate functions and routed attention; here what there is by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwise.registry import Registry

if TYPE_CHECKING:
    from headwise.routing.gates import GateFunction
    from headwise.routing.routers import RouterConfig

ROUTERS: Registry[type[RouterConfig]] = Registry(
    "router",
    "headwise.routers",
    {
        "none": "headwise.routing.routers:NoRouter",
        "static": "headwise.routing.fixed_routers:StaticRouter",
        "random": "headwise.routing.fixed_routers:RandomRouter",
        "learned": "headwise.routing.routers:LearnedRouter",
        "oracle": "headwise.routing.fixed_routers:OracleRouter",
    },
)
GATES: Registry[type[GateFunction]] = Registry(
    "gate function",
    "headwise.gates",
    {
        "soft": "headwise.routing.gates:Soft",
        "top_k": "headwise.routing.gates:TopK",
        "gumbel": "headwise.routing.gates:Gumbel",
        "sigmoid": "headwise.routing.gates:Sigmoid",
        "unit": "headwise.routing.unit_gates:Unit",
        "shared_routed": "headwise.routing.mixtures:SharedRouted",
        "top_p": "headwise.routing.mixtures:TopP",
        "adaptive": "headwise.routing.mixtures:Adaptive",
        "relu": "headwise.routing.mixtures:ReLU",
    },
)
