"""Before a scaling trains: what fits, what it takes, and what is refused."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.parity import TOLERANCE, measure
from headwise.lab.scaling.plan import dry_run
from headwise.lab.scaling.scale import scale
from headwise.models.sizes import SIZES
from tests.lab.conftest import SCORES, FakeTrain, run_config
from tests.lab.scaling.conftest import ARMS, GIB, SizedTrain, run

pytestmark = pytest.mark.usefixtures("quick_looks")


def test_a_size_that_cannot_fit_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = dry_run(ARMS, ["tiny"], output=tmp_path / "plan", jobs=1)  # most of it the process that runs the tests
    most = max(own["sizes"]["tiny"][arm]["memory"]["peak"] for arm in ("baseline", "hrm"))
    monkeypatch.setattr("headwise.lab.scaling.plan.capacity", lambda device: int(1.2 * most) + GIB)
    train = SizedTrain()
    with pytest.raises(InputError, match=r"sizes: huge does not fit: arm baseline \(521 M parameters\) takes about"):
        run(tmp_path / "out", train, sizes=["tiny", "huge"])
    with pytest.raises(InputError, match="sizes: huge does not fit"):
        dry_run(ARMS, ["tiny", "huge"], output=tmp_path / "out")
    assert train.calls == []
    assert not (tmp_path / "out").exists()


def test_a_size_that_only_just_fits_is_trained_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan = dry_run(ARMS, ["tiny"], output=tmp_path / "plan", jobs=1)
    assert not caplog.records
    most = max(plan["sizes"]["tiny"][arm]["memory"]["peak"] for arm in ("baseline", "hrm"))
    monkeypatch.setattr("headwise.lab.scaling.plan.capacity", lambda device: int(1.2 * most))
    dry_run(ARMS, ["tiny"], output=tmp_path / "plan", jobs=1)
    assert any("tiny may not fit: arm hrm takes about" in record.getMessage() for record in caplog.records)


def test_what_is_trained_already_needs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, SizedTrain())
    monkeypatch.setattr("headwise.lab.scaling.plan.capacity", lambda device: 2**20)
    run(tmp_path, SizedTrain())
    with pytest.raises(InputError, match="medium does not fit"):
        run(tmp_path, SizedTrain(), sizes=["medium"])


def test_as_many_processes_as_fit_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwise.lab.scaling.plan.process_memory", lambda device: GIB)
    monkeypatch.setattr("headwise.lab.scaling.plan.capacity", lambda device: int(1.5 * GIB))
    monkeypatch.setattr(
        "headwise.lab.comparison.launching.os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False
    )
    assert run(tmp_path, SizedTrain(), jobs=None)["how"]["processes"] == 1
    with pytest.raises(InputError, match=r"jobs=2: they take 2.* GB together, this machine has 1\.6 GB; choose 1"):
        run(tmp_path / "other", SizedTrain(), jobs=2)


def test_the_plan_says_what_each_run_takes_and_writes_nothing(tmp_path: Path) -> None:
    plan = dry_run(ARMS, ["tiny"], seeds=2, parity="width", output=tmp_path / "out", jobs=1)
    baseline, hrm = plan["sizes"]["tiny"]["baseline"], plan["sizes"]["tiny"]["hrm"]
    assert abs(hrm["parameter_ratio"] - 1) <= TOLERANCE
    assert baseline["parameters"] == measure(SIZES["tiny"], ARMS[0][1].arm, 12).parameters
    assert hrm["memory"]["peak"] > hrm["memory"]["process"] > 0
    assert hrm["seconds"]["training"] == pytest.approx(40 * hrm["seconds"]["update"])
    assert plan["seconds"] == pytest.approx(2 * (baseline["seconds"]["run"] + hrm["seconds"]["run"]))
    assert (hrm["runs"], hrm["finished"]) == (2, 0)
    assert plan["parity"] == "parameters"
    assert list(tmp_path.iterdir()) == []
    run(tmp_path / "out", SizedTrain(), sizes=["tiny"], seeds=1)
    rest = dry_run(ARMS, ["tiny"], seeds=2, output=tmp_path / "out", jobs=1)
    assert rest["sizes"]["tiny"]["hrm"]["finished"] == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (["gigantic"], "sizes: gigantic: unknown; available: tiny, small"),
        (["tinny"], "did you mean tiny"),
        ([], "at least one of tiny"),
        (["tiny", "tiny"], "name each size once"),
    ],
)
def test_sizes_that_there_are_not_are_refused(tmp_path: Path, sizes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", SizedTrain(), sizes=sizes)
    assert not (tmp_path / "out").exists()


def test_an_arm_that_does_not_fit_a_size_is_refused_with_the_size(tmp_path: Path) -> None:
    config = run_config("baseline")
    grouped = replace(config, name="grouped", model=replace(config.model, heads=8, width=64, kv_heads=8))
    with pytest.raises(InputError, match="size tiny: kv_heads=8 does not divide heads=4"):
        scale([("baseline", config), ("grouped", grouped)], ["tiny"], output=tmp_path / "out", train=SizedTrain())


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("comparison.json", "a comparison"),
        ("plan.json", "runs of a comparison or a ladder"),
        ("summary.json", "a run"),
        ("metrics.jsonl", "a run"),
        ("config.yaml", "a run"),
    ],
)
def test_an_output_that_holds_other_work_is_refused_and_left_as_it_is(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).write_text("{}")
    train = SizedTrain()
    message = rf"output=.*: holds {kind} \({file}\); choose another output"
    with pytest.raises(InputError, match=message):
        run(tmp_path, train)
    with pytest.raises(InputError, match=message):
        dry_run(ARMS, ["tiny"], output=tmp_path)
    assert train.calls == []
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("stopping", [None, ("tiny", "hrm", 0)])
def test_a_comparison_does_not_go_where_a_scaling_is(tmp_path: Path, stopping: tuple[str, str, int] | None) -> None:
    with nullcontext() if stopping is None else pytest.raises(KeyboardInterrupt):
        run(tmp_path, SizedTrain(stopping=stopping), sizes=["tiny"])
    before, train = sorted(tmp_path.rglob("*")), FakeTrain(SCORES)
    with pytest.raises(InputError, match=r"output=.*: holds a scaling \(.*\.json\); choose another output"):
        compare(ARMS, seeds=1, output=tmp_path, jobs=1, train=train)
    assert train.calls == []
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: a file; choose a directory"):
        run(tmp_path / "taken", SizedTrain())
