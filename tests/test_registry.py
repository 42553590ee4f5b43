"""Registries: names and summaries without torch, members when they are asked for, one line for a mistake."""

import inspect
import subprocess
import sys
from dataclasses import dataclass

import pytest

from headwise.errors import InputError
from headwise.lab.report.descriptions import describe_arm
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.flops import flops_per_example
from headwise.models.sizes import ModelConfig
from headwise.reasoning import CONTROLLERS, HALTING, INITIAL_STATES, RECURSIONS
from headwise.registry import Registry, name_of
from headwise.routing import GATES, ROUTERS
from headwise.routing.routers import LearnedRouter, Router, RouterConfig
from headwise.schema import to_plain
from headwise.tasks import TASKS

OPEN = {
    "routers": ROUTERS,
    "gates": GATES,
    "controllers": CONTROLLERS,
    "halting": HALTING,
    "tasks": TASKS,
    "recursions": RECURSIONS,
    "states": INITIAL_STATES,
}


@dataclass(frozen=True)
class Foreign:
    """looks like a router, and is of no kind that anybody registered"""

    granularity: str = "token"


@dataclass(frozen=True)
class Unregistered(LearnedRouter):
    """a router that nobody gave a name"""


def test_names_and_summaries_need_no_torch() -> None:
    code = (
        "import sys; from headwise.routing import GATES, ROUTERS; from headwise.reasoning import CONTROLLERS, HALTING; "
        "from headwise.tasks import TASKS; every = (GATES, ROUTERS, CONTROLLERS, HALTING, TASKS); "
        "found = [registry.summaries() for registry in every]; "
        "assert all(all(lines.values()) for lines in found), found; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("kind", OPEN)
def test_a_summary_read_from_the_source_is_that_of_the_loaded_member(kind: str) -> None:
    registry = OPEN[kind]
    unread = Registry(registry.kind, "headwise.nothing", {name: address_of(registry[name]) for name in registry})
    loaded = {
        name: getattr(cls, "summary", None) or inspect.getdoc(cls).partition("\n")[0] for name, cls in registry.items()
    }
    assert unread.summaries() == loaded


def address_of(member: object) -> str:
    if isinstance(member, type):
        return f"{member.__module__}:{member.__qualname__}"
    return f"headwise.tasks.{member.name}:ENTRY"


def test_an_unknown_name_is_one_line_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="unknown router 'lerned'; available: none, static, random, learned"):
        ROUTERS["lerned"]
    assert ROUTERS.get("lerned") is None


def test_a_member_registers_under_a_free_name_and_may_replace_itself() -> None:
    registry: Registry[type] = Registry(
        "router", "headwise.nothing", {"learned": "headwise.routing.routers:LearnedRouter"}
    )
    assert registry.register("foreign")(Foreign) is Foreign
    registry.register("foreign", Foreign)
    registry.register("late", f"{__name__}:Unregistered")
    assert list(registry) == ["learned", "foreign", "late"]
    assert registry["late"] is Unregistered
    assert name_of(registry, Unregistered) == "late"
    assert registry.plugin("foreign") == __name__
    assert registry.plugin("learned") is None
    with pytest.raises(
        InputError, match=r"router 'learned' is there already \(headwise.routing.routers:LearnedRouter\)"
    ):
        registry.register("learned", Foreign)
    with pytest.raises(InputError, match="router 'my router': not a name"):
        registry.register("my router", Foreign)


def test_a_member_that_cannot_be_loaded_says_where_it_was_to_be_found() -> None:
    registry: Registry[type] = Registry("router", "headwise.nothing", {})
    registry.register("gone", "no_such_package.routers:Gone")
    with pytest.raises(InputError, match=r"router 'gone': cannot be loaded from no_such_package.routers:Gone"):
        registry["gone"]
    assert registry.summaries() == {"gone": f"of {__name__}"}


@pytest.mark.parametrize("key", ["router", "gate", "controller", "halting"])
def test_a_foreign_configuration_is_refused_by_name_and_never_becomes_plain_attention(key: str) -> None:
    with pytest.raises(InputError, match=rf"arm.{key}={__name__}.Foreign: not a part of that kind"):
        Arm(**{key: Foreign()})


def test_an_unregistered_configuration_is_refused_by_name_where_a_name_is_needed() -> None:
    with pytest.raises(InputError, match=rf"{__name__}.Unregistered: no registered router"):
        to_plain(Arm(router=Unregistered()))


def test_a_description_of_an_unknown_part_is_refused_by_name() -> None:
    plain = to_plain(Arm())
    shape = to_plain(ModelConfig())
    for key in ("router", "gate", "controller", "halting"):
        with pytest.raises(InputError, match=rf"arm.{key}.name=mine: unknown"):
            describe_arm(plain | {key: {"name": "mine"}}, shape)


def test_a_router_without_its_own_count_of_products_cannot_be_made() -> None:
    """Else the FLOP count would take it for free."""
    silent = type("Silent", (Router,), {"forward": lambda self, x, context=None, mask=None: None})
    builds = type(
        "Builds", (RouterConfig,), {"build": lambda self, gate, width, heads, *rest: silent(gate, heads, *rest[2:])}
    )
    with pytest.raises(TypeError, match=r"abstract class Silent .*macs"):
        flops_per_example(Backbone(ModelConfig(width=8, heads=2, ffn=8), Arm(router=builds())), 5)
