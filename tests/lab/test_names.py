"""Short names of arms leave out what arms share, and never name two arms alike."""

import pytest

from headwise.lab.names import left_out, short_names, sizes_with_short_names, with_short_names

STEPS = "refinement.steps=21,refinement.segments=4"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["baseline", "hrm"], ["baseline", "hrm"]),
        ([f"looped:{STEPS}", f"hrm:{STEPS},model.width=64", "trm"], ["looped", "hrm:model.width=64", "trm"]),
        # What one kind of arm has alone tells its arms apart, or says what it is
        (["trm", "trm:refinement.gradient=full", "static:router.k=2"],) * 2,
        (["looped:a=1,b=2", "hrm:b=2"], ["looped:a=1", "hrm"]),
        (
            ["baseline", "baseline:router=learned", "looped:router=learned"],
            ["baseline", "baseline:router=learned", "looped"],
        ),
        (
            ["baseline:router={name: learned, granularity: layer},gate=unit", "looped:gate=unit"],
            ["baseline:router={name: learned, granularity: layer}", "looped"],
        ),
        # Settings of a sweep name no arm
        (["gate=top_k:k=2,lr=1", "gate=top_p:k=2,lr=1"],) * 2,
        (["lr=1", "lr=2"],) * 2,
    ],
)
def test_names_leave_out_what_arms_of_several_kinds_share(labels: list[str], names: list[str]) -> None:
    assert list(short_names(labels).values()) == names
    assert list(short_names(labels)) == labels


def test_what_names_leave_out_is_told() -> None:
    assert left_out(["baseline", "hrm:model.width=64"]) == ""
    assert left_out([f"looped:{STEPS}", f"hrm:{STEPS}", "trm"]) == (
        "Names leave out what arms share: refinement.steps=21, refinement.segments=4 in looped and hrm."
    )
    assert left_out(["looped:a=1,b=2", "hrm:b=2", "trm:a=1"]) == (
        "Names leave out what arms share: a=1, b=2 in looped; b=2 in hrm; a=1 in trm."
    )


def test_a_comparison_is_shown_with_them() -> None:
    labels = ["looped:a=1", "hrm:a=1"]
    pair = {"a": labels[1], "b": labels[0], "n": 3}
    shown = with_short_names({"arms": {label: {"mean": label} for label in labels}, "pairs": [pair], "floor": 0})
    assert shown == {
        "arms": {"looped": {"mean": "looped:a=1"}, "hrm": {"mean": "hrm:a=1"}},
        "pairs": [{"a": "hrm", "b": "looped", "n": 3}],
        "floor": 0,
    }


def test_so_is_an_out_of_distribution_test() -> None:
    labels = ["looped:a=1", "hrm:a=1"]
    point = {
        "arms": {label: {"mean": label} for label in labels},
        "pairs": [{"a": labels[1], "b": labels[0]}],
        "left_out": {"hrm:a=1, seed 2": "too long"},
    }
    shown = with_short_names({"arms": dict.fromkeys(labels), "axes": {"hops": {"about": "hops", "points": [point]}}})
    assert shown["arms"] == {"looped": None, "hrm": None}
    assert shown["axes"] == {
        "hops": {
            "about": "hops",
            "points": [
                {
                    "arms": {"looped": {"mean": "looped:a=1"}, "hrm": {"mean": "hrm:a=1"}},
                    "pairs": [{"a": "hrm", "b": "looped"}],
                    "left_out": {"hrm, seed 2": "too long"},
                }
            ],
        }
    }


def test_so_is_a_scaling() -> None:
    labels = ["looped:a=1", "hrm:a=1"]
    size = {"arms": {label: {"mean": label} for label in labels}, "pairs": [{"a": labels[1], "b": labels[0]}]}
    advantage = {"tau": {labels[1]: {"over": labels[0], "average": 0.1}}}
    shown = sizes_with_short_names({"arms": labels, "sizes": {"tiny": size}, "advantage": advantage, "task": "maze"})
    assert shown == {
        "arms": ["looped", "hrm"],
        "sizes": {
            "tiny": {
                "arms": {"looped": {"mean": "looped:a=1"}, "hrm": {"mean": "hrm:a=1"}},
                "pairs": [{"a": "hrm", "b": "looped"}],
            }
        },
        "advantage": {"tau": {"hrm": {"over": "looped", "average": 0.1}}},
        "task": "maze",
    }
