"""A pretrained model outside of what it was tuned on: heads taken away mean what they mean in every arm."""

from functools import partial
from pathlib import Path

import pytest
import torch

from headwise.lab.comparison.compare import compare
from headwise.lab.ood.axes import choose
from headwise.lab.ood.loads import head_loads
from headwise.lab.ood.ood import ood
from headwise.lab.report.write import write_report
from headwise.models.arm import Arm
from headwise.pretrained.contributions import observed
from headwise.routing.ablation import KeptHeads, changed_gates
from headwise.routing.fixed_routers import StaticRouter
from headwise.training.run import train
from headwise.training.start import build
from tests.tasks.pretrained.runs import TOP, run_config

pytest.importorskip("transformers", reason="the extra hf is not installed")


@pytest.mark.parametrize("arm", [Arm(), TOP], ids=["untouched", "routed"])
def test_heads_that_are_taken_away_are_off_behind_every_router(arm: Arm, tmp_path: Path) -> None:
    own, model = build(run_config(tmp_path, arm))
    source, stack = own.split("validation"), model.eval().backbone
    batch = source.batch(torch.arange(2))
    on = torch.tensor(
        [[True, True, True, True], [True, False, True, False]]
    )  # the last layer: nothing reads what it lacks
    with torch.no_grad():
        whole = model(batch).states[-1]
        routed = [gates.weight for gates in stack.retrofitted.gates()] or [torch.ones(4), torch.ones(4)]
        plain = model(batch, gates=[[gates * kept for gates, kept in zip(routed, on, strict=True)]]).states[-1]
        with changed_gates(model, KeptHeads(on)):
            found = model(batch).states[-1]
        torch.testing.assert_close(found, plain)
        assert not torch.allclose(found, whole)
        assert torch.equal(model(batch).states[-1], whole)
    loads, sums = head_loads(model, source, 1), torch.zeros(2, 4, dtype=torch.float64)
    with (
        torch.no_grad(),
        observed(stack.retrofitted.sites, lambda layer, x, norms: sums[layer].add_(norms.mean((0, 1)))),
    ):
        for index in range(len(source)):
            model(source.batch(torch.tensor([index])))
    torch.testing.assert_close(loads, sums / len(source))


def test_every_axis_of_a_comparison_is_measured_and_steps_are_none(tmp_path: Path) -> None:
    arms = [("baseline", run_config(tmp_path, Arm())), ("static", run_config(tmp_path, Arm(StaticRouter(2))))]
    compare(arms, 2, output=tmp_path / "compared", jobs=1, train=partial(train, progress=False))
    assert write_report(tmp_path / "compared").is_file()
    found = ood([tmp_path / "compared"], None, tmp_path / "ood", {})
    assert set(found["axes"]) == {axis.name for axis in choose(arms[0][1], 4, None)} >= {"context", "heads", "noise"}
    assert "steps" not in found["axes"]
