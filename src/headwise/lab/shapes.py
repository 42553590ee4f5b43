"""What stands in the JSON files of runs and of work on several: keys and types, checked where they are read, in the
notation of `headwise.lab.matching`."""

from headwise.lab.matching import NUMBER, Shape

_VALUE = (NUMBER, None)
_VALUES: Shape = {str: _VALUE}
_INTERVAL: Shape = ([NUMBER, NUMBER], None)

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
_UNITS: Shape = {
    "measures": {str: [[_VALUE]]},
    "ablation": [{"site": int, "unit": int, "change": _VALUE, "error": _VALUE}],
    "agreement": {str: {"correlation": _VALUE, "interval": _INTERVAL, "number": int}},
}
CHOICES: Shape = {
    "unit": str,
    "settings": {
        **dict.fromkeys(("model", "text", "calibrate"), str),
        "other": (str, None),
        **dict.fromkeys(("calibration", "seeds"), int),
    },
    "fits": {str: {"r2_mean": _VALUE}},
    "tables": {
        str: {
            "untouched": NUMBER,
            "examples": int,
            "rows": [
                {
                    "keep": int,
                    **dict.fromkeys(("choice", "when", "counted"), str),
                    **dict.fromkeys(("added", "on"), NUMBER),
                    "interval": _INTERVAL,
                    "difference_interval?": _INTERVAL,
                    "share_of_best_static?": _VALUE,
                }
            ],
        }
    },
    "provenance": dict,
}
THINKING: Shape = {
    **_SHARED_TASK,
    **dict.fromkeys(("run", "directory"), str),
    **dict.fromkeys(("seed", "examples", "noise_every"), int),
    **dict.fromkeys(("floor", "ceiling"), _VALUE),
    "arm": {"label": str, "arm": dict, "model": dict},
    "trained": {"steps": int, "segments": int},
    "noise": NUMBER,
    "rules": [str],
    "points": [
        {
            "label": str,
            **dict.fromkeys(("steps", "restarts"), int),
            **dict.fromkeys(("steps_mean", "flops"), NUMBER),
            **dict.fromkeys(("random", "best"), _VALUE),
            "selected": _VALUES,
            "gain_interval": {str: _INTERVAL},
            "metrics": {str: _VALUES},
        }
    ],
    "study": (
        {
            "trained": int,
            "step": [int],
            **{key: [_VALUE] for key in ("residual", "right", "overthought")},
            "changed": ([_VALUE], None),
            "sentences": [str],
        },
        None,
    ),
    "settings": dict,
    "headwise": dict,
}
HEADS: Shape = {
    **dict.fromkeys(("model", "architecture", "kind", "text", "unit", "directory?"), str),
    **dict.fromkeys(("parameters", "examples", "tokens", "context", "seed"), int),
    **dict.fromkeys(("value", "seconds"), _VALUE),
    "sites": [str],
    "heads": _UNITS,
    "groups": (_UNITS, None),
    "headwise": dict,
}
