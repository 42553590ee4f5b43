"""Roles: every parameter belongs to one of four groups, by the class that holds it, never by its name."""

from typing import Literal, get_args

from torch import nn

Role = Literal["pretrained", "backbone", "controller", "readout"]
ROLES: tuple[Role, ...] = get_args(Role)


def parameters_by_role(module: nn.Module) -> dict[Role, list[tuple[str, nn.Parameter]]]:
    """Named parameters grouped by the `role` of their nearest declaring ancestor (a class or instance attribute).

    Returns:
        {role: [(dotted name, parameter)]}, only roles that occur, in the order of `ROLES`.

    Raises:
        ValueError: a parameter under no declaring module, or an unknown role.
    """
    found: dict[Role, list[tuple[str, nn.Parameter]]] = {role: [] for role in ROLES}
    seen: set[int] = set()

    def walk(part: nn.Module, prefix: str, role: Role | None) -> None:
        role = getattr(part, "role", role)
        if role is not None and role not in ROLES:
            raise ValueError(f"{type(part).__name__}.role={role!r}: choose one of {', '.join(ROLES)}")
        for name, parameter in part.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if role is None:
                raise ValueError(
                    f"parameter {prefix}{name} has no role: declare `role` on {type(part).__name__} or a module "
                    f"around it ({', '.join(ROLES)})"
                )
            found[role].append((prefix + name, parameter))
        for name, child in part.named_children():
            walk(child, f"{prefix}{name}.", role)

    walk(module, "", None)
    return {role: items for role, items in found.items() if items}
