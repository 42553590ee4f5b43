"""A comparison in one line: the best arm, what was decided, and what of a gain the controls reach as well.

A routed arm that beats the first arm may owe that to what it shares with a control: `looped` iterates without a router,
`static` and `random` have routers that choose nothing. What a routed arm gains is credited to its router only where it
beats the controls too.
"""

from collections.abc import Mapping, Sequence

from headwise.lab.comparison.verdicts import Kind, Verdict
from headwise.lab.formatting import format_metric, format_quantity, join_words
from headwise.lab.statistics import Mean
from headwise.models.arm import Arm
from headwise.routing.fixed_routers import RandomRouter, StaticRouter
from headwise.routing.routers import NoRouter

FEW = 3
"""So many decisions between arms that are not the first are said one by one."""
QUICK = "A quick try with cut-down settings: no verdict"

_ORDER: tuple[Kind, ...] = (
    "better",
    "worse",
    "equivalent",
    "no room",
    "identical",
    "no difference",
    "too few seeds",
    "at the floor",
    "no verdict",
    "no result",
)


def control_for(arm: Arm) -> str | None:
    """What an arm without a choosing router shows by itself, and so is credited with; None for every other arm."""
    if isinstance(arm.router, StaticRouter):
        return "a fixed choice of heads"
    if isinstance(arm.router, RandomRouter):
        return "a random choice of heads"
    return "the loop" if isinstance(arm.router, NoRouter) and arm.refinement.steps_in_all > 1 else None


def best_arm(means: Mapping[str, float | None], higher_is_better: bool) -> str | None:
    """The arm with the best mean; None if none has a result."""
    known = {label: mean for label, mean in means.items() if mean is not None}
    return (max if higher_is_better else min)(known, key=lambda label: known[label]) if known else None


def headline(
    verdicts: Sequence[Verdict], means: Mapping[str, Mean], controls: Mapping[str, str | None], higher_is_better: bool
) -> str:
    """Every arm against the first, what was decided between the others, and to whom a gain is credited. Of more than
    `FEW` such others only what concerns the best arm is said, and how many are left.

    Args:
        verdicts: of the pairs.
        means: of every arm over its seeds, the first arm first.
        controls: what each arm is a control for (`control_for`).
    """
    first = next(iter(means))
    against = [verdict for verdict in verdicts if verdict.b == first]
    if not against:
        return "One arm, nothing to compare it with"
    if all(verdict.kind == "no verdict" for verdict in against):
        return QUICK
    groups: dict[Kind, list[str]] = {}
    for item in against:
        groups.setdefault(item.kind, []).append(item.a)
    said = [_together(kind, groups[kind], first) for kind in _ORDER if kind in groups]
    credits, told = _credits(groups.get("better", []), verdicts, means, controls, higher_is_better)
    others = [item for item in verdicts if item.b != first and item.kind in ("better", "worse") and item not in told]
    best = best_arm({label: mean.mean for label, mean in means.items() if mean.n}, higher_is_better)
    said += _others(others, best) + credits
    if best is not None and any(item.kind in ("better", "worse") for item in verdicts):
        said.insert(0, f"best is {best} with {format_metric(means[best].mean)}")
    text = "; ".join(said)
    starts_with_arm = any(text.startswith(item.a) for item in against)
    return text if starts_with_arm else text[0].upper() + text[1:]


def _others(decided: Sequence[Verdict], best: str | None) -> list[str]:
    """What was decided between arms that are not the first."""
    if len(decided) <= FEW:
        return [f"{item.a} is {item.kind} than {item.b}" for item in decided]
    winners = [(item.a, item.b) if item.kind == "better" else (item.b, item.a) for item in decided]
    behind = [loser for winner, loser in winners if winner == best]
    more = len(decided) - len(behind)
    said = [f"{best} is better than {join_words(behind)}, too"] if behind else []
    return said + ([f"{format_quantity(more, 'more pair')} {'differs' if more == 1 else 'differ'}"] if more else [])


def _credits(
    gained: Sequence[str],
    verdicts: Sequence[Verdict],
    means: Mapping[str, Mean],
    controls: Mapping[str, str | None],
    higher_is_better: bool,
) -> tuple[list[str], list[Verdict]]:
    """What the controls say of the routed arms that beat the first one; and the verdicts that this takes up."""
    first, *_ = means
    routed = [label for label in gained if controls[label] is None]
    present = {label: what for label, what in controls.items() if what is not None and label != first}
    if not routed or controls[first] is not None:
        return [], []
    if not present:
        return ["no control among the arms (looped, static, random_k) says what the router itself adds"], []
    said, told = [], []
    sign = 1 if higher_is_better else -1
    for control, what in present.items():
        between = {arm: found for arm in routed if (found := _between(arm, control, verdicts))}
        told += [verdict for verdict, _ in between.values()]
        beaten = [arm for arm, (_, kind) in between.items() if kind == "better"]
        level = [arm for arm in between if arm not in beaten]
        shares = control in gained
        shared = [arm for arm in level if shares or sign * (means[control].mean - means[arm].mean) >= 0]
        open_ = [arm for arm in level if arm not in shared]
        reaches = f"the control {control} reaches {format_metric(means[control].mean)}"
        if beaten:
            said.append(f"{reaches}, and {_are(beaten)} better than that")
        if shared:
            said.append(f"{reaches}: the gain of {join_words(shared)} is credited to {what}")
        if open_:
            said.append(f"{reaches}: {_are(open_)} not shown to be better than that")
    return said, told


def _between(arm: str, control: str, verdicts: Sequence[Verdict]) -> tuple[Verdict, Kind] | None:
    """The verdict on a pair in either order, and its kind as seen from `arm`."""
    turned: dict[Kind, Kind] = {"better": "worse", "worse": "better"}
    for verdict in verdicts:
        if (verdict.a, verdict.b) == (arm, control):
            return verdict, verdict.kind
        if (verdict.a, verdict.b) == (control, arm):
            return verdict, turned.get(verdict.kind, verdict.kind)
    return None


def _are(arms: Sequence[str]) -> str:
    return f"{join_words(list(arms))} {'is' if len(arms) == 1 else 'are'}"


def _together(kind: Kind, arms: list[str], first: str) -> str:
    names, everyone = join_words(arms), join_words([first, *arms])
    one = len(arms) == 1
    match kind:
        case "better" | "worse":
            return f"{_are(arms)} {kind} than {first}"
        case "equivalent":
            return f"{everyone} are equivalent" if one else f"{names} are each equivalent to {first}"
        case "no room":
            return f"no room left below the ceiling: {everyone} {'both' if one else 'all'} reach it"
        case "identical":
            return f"exactly the results of {first}: {names}"
        case "no difference":
            return f"no difference shown between {everyone}"
        case "too few seeds":
            return f"too few seeds to say whether {names} {'differs' if one else 'differ'} from {first}"
        case "at the floor":
            return f"nothing learned: {everyone} stay at the floor"
        case "no verdict":
            return f"no verdict on {names}"
        case "no result":
            return f"no result for {names}"
