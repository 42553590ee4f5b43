"""Whether plain values have a shape: keys and types, as `headwise.lab.shapes` states them.

A shape is
    a type, `NUMBER` among them, or None
    (shape, shape)      one of them
    [shape]             a list of such
    [shape, shape]      a list of two, the first of the one and the second of the other
    {str: shape}        any keys with such values
    {"key": shape, "other?": shape}     these keys, those with a question mark not always, and perhaps further ones
"""

from collections.abc import Iterable, Mapping
from typing import Any

NUMBER = float
"""A whole number or a float, not true or false."""
LARGEST = 2**63  # of whole numbers; JSON allows thousands of digits

Shape = Any

_SHORT = {NUMBER: "a number", str: "a word", bool: "true or false", int: "a whole number", dict: "keys and values"}


def mismatch(value: Any, shape: Shape, at: str = "") -> str | None:
    """Where a value does not have a shape, in words: `arms.hrm.values[2] is true, expected a number`; None if it has.

    Args:
        value: as JSON gives it.
        shape: see above.
        at: dotted key of the value.
    """
    if isinstance(shape, tuple):
        found = [mismatch(value, one, at) for one in shape]
        return None if None in found else next(filter(None, found))
    if isinstance(shape, list) and len(shape) > 1:
        if not _is(value, list) or len(value) != len(shape):
            return f"{at or 'it'} is {_name(value)}, expected {len(shape)} values"
        pairs = enumerate(zip(value, shape, strict=True))
        return _first(((item, own, f"{at}[{number}]") for number, (item, own) in pairs), value, "", at)
    if isinstance(shape, list):
        inner = ((item, shape[0], f"{at}[{number}]") for number, item in enumerate(value)) if _is(value, list) else None
        return _first(inner, value, "a list", at)
    if isinstance(shape, dict) and str in shape:
        inner = ((item, shape[str], _join(at, key)) for key, item in value.items()) if _is(value, dict) else None
        return _first(inner, value, "keys and values", at)
    if isinstance(shape, dict):
        if not _is(value, dict):
            return _said(value, "keys and values", at)
        for key, own in shape.items():
            name = key.removesuffix("?")
            if name not in value:
                if name == key:
                    return f"{_join(at, name)} is missing"
            elif wrong := mismatch(value[name], own, _join(at, name)):
                return wrong
        return None
    if shape is None:
        return None if value is None else _said(value, "null", at)
    if shape in (NUMBER, int):
        kinds = (int, float) if shape is NUMBER else int
        right = isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < LARGEST
        return None if right else _said(value, _SHORT[shape], at)
    return None if _is(value, shape) else _said(value, _SHORT[shape], at)


def dangling(result: Mapping[str, Any]) -> str | None:
    """What a result of the right shape says of arms or sizes that it does not have, in words; None if nothing."""
    if "axes" in result:
        return _dangling_points(result)
    parts = _comparisons(result)
    if not parts or not all(part["arms"] for part in parts.values()):
        return "no arms"
    for at, part in parts.items():
        for number, pair in enumerate(part["pairs"]):
            for name in ("a", "b"):
                if pair[name] not in part["arms"]:
                    return f"{_join(at, f'pairs[{number}].{name}')} is no arm"
    if "base" in result:
        named = {"base": result["base"], "best": result["best"]}
        named |= {f"confirmation.arms.{label}": label for label in (result["confirmation"] or {}).get("arms", ())}
        if wrong := next(
            (at for at, label in named.items() if label is not None and label not in result["arms"]), None
        ):
            return f"{wrong} is no arm"
    for metric, arms in result.get("advantage", {}).items():
        for label, advantage in arms.items():
            if (
                advantage["best_size"] not in advantage["by_size"]
                or advantage["by_size"].keys() - result["sizes"].keys()
            ):
                return f"advantage.{metric}.{label} is of a size that there is not"
    return None


def _dangling_points(result: Mapping[str, Any]) -> str | None:
    """The same of the points of an out-of-distribution test, at each of which every arm has a value for each seed."""
    arms, seeds = set(result["arms"]), len(result["seeds"])
    if not arms:
        return "no arms"
    for name, axis in result["axes"].items():
        for number, point in enumerate(axis["points"]):
            at = f"axes.{name}.points[{number}]"
            if set(point["arms"]) != arms or any(len(arm["values"]) != seeds for arm in point["arms"].values()):
                return f"{at} has other arms or seeds"
            if any(pair[side] not in arms for pair in point["pairs"] for side in ("a", "b")):
                return f"{at}.pairs has one of no arm"
    return None


def _comparisons(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All arms and pairs in a result, by the key at which they stand."""
    if "pairs" in result:
        return {"": result}
    if "sizes" in result:
        return {f"sizes.{size}": part for size, part in result["sizes"].items()}
    points = {f"curve[{n}]": point | {"pairs": [point["pair"]]} for n, point in enumerate(result["curve"])}
    return {"comparison": result["comparison"], **points}


def fitting(content: Mapping[str, Any], shape: Mapping[str, Shape]) -> tuple[dict[str, Any], list[str]]:
    """The keys of a mapping whose values have their shape, and what is wrong with the others."""
    kept, wrong = dict(content), []
    for key, own in shape.items():
        name = key.removesuffix("?")
        if name in kept and (said := mismatch(kept[name], own, name)):
            del kept[name]
            wrong.append(said)
    return kept, wrong


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind)


def _first(inner: Iterable[tuple[Any, Shape, str]] | None, value: Any, expected: str, at: str) -> str | None:
    """What is wrong with the first part that does not have its shape."""
    if inner is None:
        return _said(value, expected, at)
    return next((wrong for part in inner if (wrong := mismatch(*part)) is not None), None)


def _said(value: Any, expected: str, at: str) -> str:
    return f"{at or 'it'} is {_name(value)}, expected {expected}"


def _name(value: Any) -> str:
    return {**_SHORT, list: "a list", type(None): "null"}.get(type(value), "something else")


def _join(at: str, key: Any) -> str:
    short = str(key) if len(str(key)) <= 40 else f"{str(key)[:37]}..."
    return f"{at}.{short}" if at else short
