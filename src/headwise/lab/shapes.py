"""What stands in the JSON files of runs and of work on several: keys and types, checked where they are read.

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

_VALUE = (NUMBER, None)
_VALUES: Shape = {str: _VALUE}
_INTERVAL: Shape = ([NUMBER, NUMBER], None)
_SHORT = {NUMBER: "a number", str: "a word", bool: "true or false", int: "a whole number", dict: "keys and values"}

SUMMARY: Shape = {
    **dict.fromkeys(("task?", "arm?", "metric?", "test_fingerprint?"), str),
    **dict.fromkeys(("higher_is_better?", "quick?"), bool),
    **dict.fromkeys(("seed?", "updates?", "selected_update?", "examples?", "test_examples?", "parameters?"), int),
    **dict.fromkeys(("value?", "floor?", "ceiling?", "task_loss?", "flops_per_example?", "train_seconds?"), _VALUE),
    **dict.fromkeys(("samples_per_second?", "refinement_steps_mean?"), _VALUE),
    **dict.fromkeys(("heads_active_mean?", "heads_executed_mean?"), _VALUE),
    **dict.fromkeys(("metrics?", "references?", "parameters_by_role?"), _VALUES),
    "references_by_metric?": {str: _VALUES},
    "data?": {str: str},
    "headwise?": dict,
}
RECORD: Shape = {"update": int, "split?": str}
ROUTING: Shape = {
    **RECORD,
    "layers?": [{"load?": ([NUMBER], None)}],
    "gates?": ([[[NUMBER]]], None),
    "examples?": ([[[[[NUMBER]]]]], None),
}
ANALYSIS: Shape = {
    "metrics?": _VALUES,
    "tables?": [{"title": str, "caption": str, "columns": [str], "rows": [[(str, NUMBER, None)]]}],
    "figures?": [{"title": str, "caption": str, "svg": str}],
}
PROFILE: Shape = {
    "updates": int,
    "device": str,
    "peak_memory_mb?": NUMBER,
    "parts": [{"part": str, **dict.fromkeys(("calls", "forward_ms", "backward_ms", "share", "kept_mb"), NUMBER)}],
}
VERDICT: Shape = {
    **dict.fromkeys(("claim", "outcome", "date", "machine"), str),
    "evidence": [{"outcome": str, "text": str}],
    "commands": [{"name": str, "command": str, "seconds": NUMBER}],
    "seconds": NUMBER,
    "headwise": dict,
    "quick": bool,
}
CLAIMS: Shape = {
    "claims": [
        {
            **dict.fromkeys(("name", "title", "source", "says", "needed", "finding"), str),
            "minutes": NUMBER,
            "commands": {str: {"run": str}},
            "verdict": (VERDICT, None),
        }
    ],
    "quick": bool,
}
_ARM: Shape = {
    "values": [_VALUE],
    "mean": _VALUE,
    "interval": _INTERVAL,
    "standing?": str,
    **dict.fromkeys(("parameters", "parameter_ratio", "flops_per_example", "flops_ratio"), NUMBER),
    **dict.fromkeys(("samples_per_second", "updates?", "examples?", "train_seconds"), _VALUE),
    "control?": (str, None),
    "metrics?": _VALUES,
    "failures": {str: str},
}
_PAIR: Shape = {
    **dict.fromkeys(("a", "b", "kind", "verdict"), str),
    "n": int,
    **dict.fromkeys(("difference", "p_paired", "p_holm", "p_welch", "hedges_g", "smallest_detectable"), _VALUE),
    **dict.fromkeys(("interval", "interval_examples"), _INTERVAL),
    **dict.fromkeys(("confidence?", "effect?", "p_equivalent?", "p_examples?"), _VALUE),
    "estimate?": (
        {
            "mean": _VALUE,
            **dict.fromkeys(("seeds", "examples"), int),
            **dict.fromkeys(("scatter", "shared", "examples_per_seed"), NUMBER),
            "shared_df": _VALUE,
            "components": ({"seed": NUMBER, "example": NUMBER, "interaction": NUMBER}, None),
        },
        None,
    ),
    "discordant?": ([{"only_a": int, "only_b": int, "p": NUMBER}], None),
}
_SHARED_TASK: Shape = {
    "task": str,
    "task_summary?": (str, None),
    "task_config": dict,
    "metric": str,
    "higher_is_better": bool,
    "quick?": bool,
    "headline": str,
    "how": {
        **dict.fromkeys(("command", "date", "platform", "device"), str),
        **dict.fromkeys(("processes", "threads_per_process"), int),
        "seconds": NUMBER,
        "versions": {str: str},
    },
}
_SHARED: Shape = {**_SHARED_TASK, "training": dict}
_SIZE: Shape = {
    "seeds": [int],
    **dict.fromkeys(("updates", "examples", "floor", "ceiling"), _VALUE),
    "parity": {"mode": str, "matched": [str]},
    "references?": (_VALUES, None),
    "references_by_metric?": ({str: _VALUES}, None),
    "pairs": [_PAIR],
}
COMPARISON: Shape = {
    **_SHARED,
    **_SIZE,
    "arms": {str: {**_ARM, "model": dict, "arm": dict, "preset": dict, "varied?": dict}},
    "sources?": [dict],
    "metric_range?": ([_VALUE, _VALUE], None),
    "effect?": _VALUE,
    "looks?": (
        {"seeds": [int], "most": int, "max_hours": _VALUE, "max_seeds": (int, None), "ended?": str},
        None,
    ),
    "directory": str,
}
SCALING: Shape = {
    **_SHARED,
    "arms": [str],
    "metrics": [str],
    "sizes": {
        str: {
            **_SIZE,
            "headline": str,
            "arms": {str: {**_ARM, "metrics_by_seed": {str: [_VALUE]}, "peak_memory": _VALUE}},
        }
    },
    "advantage": {
        str: {
            str: {
                "over": str,
                "by_size": {str: {"advantage": NUMBER, "interval": _INTERVAL, "seeds": int}},
                "average": NUMBER,
                "best_size": str,
            }
        }
    },
    "directory": str,
}
CONTROL: Shape = {
    **dict.fromkeys(("task", "outcome", "headline", "directory"), str),
    "known": bool,
    "lead": [str],
    "steps": int,
    "left_out": {str: str},
    "comparison": COMPARISON,
    "curve": [{"ffn": int, "arms": {str: COMPARISON["arms"][str]}, "pair": _PAIR}],
    "how": _SHARED["how"],
}
OOD: Shape = {
    **_SHARED_TASK,
    **dict.fromkeys(("score", "directory"), str),
    **{key: [str] for key in ("lead", "left_out", "notes")},
    "seeds": [int],
    "settings": dict,
    "comparisons?": [str],
    "arms": {str: {"directories": [str], "model": dict, "arm": dict}},
    "axes": {
        str: {
            **dict.fromkeys(("about", "of"), str),
            "points": [
                {
                    "label": str,
                    "value": (NUMBER, str, [NUMBER], dict),
                    "is_neutral": bool,
                    **dict.fromkeys(("floor", "ceiling"), _VALUE),
                    "examples": int,
                    "arms": {
                        str: {
                            "values": [_VALUE],
                            "interval": _INTERVAL,
                            **dict.fromkeys(("mean", "normalised", "kept", "loss"), _VALUE),
                        }
                    },
                    "pairs": [_PAIR],
                    "left_out": {str: str},
                }
            ],
        }
    },
}
SWEEP: Shape = {
    **{key: own for key, own in COMPARISON.items() if key not in ("arms", "looks?")},
    "arms": {
        str: {
            **COMPARISON["arms"][str],
            **dict.fromkeys(("floor", "ceiling", "validation_mean"), _VALUE),
            "validation": [_VALUE],
            "tested": bool,
            "keys": {str: str},
        }
    },
    "base": str,
    "keys": {str: str},
    "left_out": {str: str},
    "given_up": [str],
    "normalised": bool,
    "effects": [
        {
            **dict.fromkeys(("key", "name"), str),
            "points": [
                {
                    **dict.fromkeys(("value", "shown"), str),
                    "settings": int,
                    "mean": _VALUE,
                    "interval": _INTERVAL,
                }
            ],
        }
    ],
    "interactions": [{"names": [str, str], "values": [[str], [str]], "means": [[_VALUE]]}],
    "best": (str, None),
    "leads": {str: _VALUE},
    "lead": [str],
    "confirmation": (
        {
            "seeds": [int],
            "arms": {str: {"values": [_VALUE], "mean": _VALUE, "interval": _INTERVAL, "failures": {str: str}}},
            "pair": _PAIR,
            "headline": str,
        },
        None,
    ),
}
PLAN: Shape = {
    str: {
        **dict.fromkeys(("task", "arm", "model"), dict),
        "training": {"preset": dict, "precision": str},
        "quick": bool,
    }
}
LADDER: Shape = {
    **dict.fromkeys(("task", "metric", "verdict", "directory?"), str),
    **dict.fromkeys(("floor", "ceiling"), _VALUE),
    **dict.fromkeys(("seed", "updates"), int),
    "arms": [str],
    "passed": bool,
    "rungs": [
        {
            "arm": str,
            "passed": bool,
            "run": str,
            "checks": [
                {
                    **dict.fromkeys(("name", "says", "note"), str),
                    **dict.fromkeys(("value", "allowed"), (NUMBER, str, None)),
                    "passed": bool,
                }
            ],
            "value?": _VALUE,
        }
    ],
}


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
