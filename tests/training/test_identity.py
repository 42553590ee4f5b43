"""Work does not go on with other data than it began with, and says what they were and are."""

import json
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.compare import compare
from headwise.models.sizes import ModelConfig
from headwise.tasks.language import LanguageConfig
from headwise.training import objective as objectives
from headwise.training.building import data_of
from headwise.training.config import RunConfig
from headwise.training.identity import OtherDataError
from headwise.training.interruption import TrainingInterrupted
from headwise.training.run import train
from tests.training.recipes import recipe, tiny
from tests.training.test_resume import interrupted_at

TEXT = "a rose is a rose is a rose, and so is a nose. " * 60


def on(corpus: Path, output: Path) -> RunConfig:
    task = LanguageConfig(corpus=str(corpus), tokenizer="character", context=16)
    model = ModelConfig(width=8, heads=2, ffn=8)
    return RunConfig(task, model=model, training=recipe(updates=8, validate_every=4), output=str(output), device="cpu")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


def stopped(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr(objectives, "objective", interrupted_at(6))
        with pytest.raises(TrainingInterrupted):
            train(config, progress=False)
    return next(Path(config.output).iterdir())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda text: text.replace("so is a nose", "so is a hose", 1), "train"),  # between two windows, too
        (lambda text: text[:-46] + text[-46:].replace("nose", "rose"), "test"),
        (lambda text: text.replace("rose", "röse"), "train"),  # characters that the model lacks
        (lambda text: text + text, "train"),
    ],
)
def test_a_run_refuses_to_go_on_with_another_corpus_and_goes_on_with_its_own(
    change: object, part: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(on(corpus, tmp_path / "runs"), monkeypatch)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    before = json.loads((run / "data.json").read_text())
    corpus.write_text(change(TEXT), encoding="utf-8")  # type: ignore[operator]
    with pytest.raises(OtherDataError, match=rf"{run}.*: {part} was {before[part]}, is \d+ examples \w+; put"):
        train(resume=run, progress=False)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    corpus.write_text(TEXT, encoding="utf-8")
    train(resume=run, progress=False)
    assert json.loads((run / "summary.json").read_text())["data"] == before


def test_a_comparison_refuses_to_go_on_with_another_corpus(corpus: Path, tmp_path: Path) -> None:
    config = on(corpus, tmp_path)
    compare([("one", config)], seeds=1, output=tmp_path / "out", jobs=1)
    corpus.write_text(TEXT.replace("nose", "hose"), encoding="utf-8")
    with pytest.raises(InputError, match=r"output=.*out: began with other data: train was \d+ examples"):
        compare([("one", config), ("two", config)], seeds=1, parity="none", output=tmp_path / "out", jobs=1)


def test_a_corpus_that_changes_while_arms_are_trained_gives_no_verdict(corpus: Path, tmp_path: Path) -> None:
    def changing(*args: object, **settings: object) -> Path:
        path = train(*args, **settings)  # type: ignore[arg-type]
        corpus.write_text(TEXT.replace("nose", "hose"), encoding="utf-8")
        return path

    arms = [(name, on(corpus, tmp_path)) for name in ("one", "two")]
    with pytest.raises(OtherDataError, match="two/seed0, against one/seed0: began with other data: train was"):
        compare(arms, seeds=1, parity="none", output=tmp_path / "out", jobs=1, train=changing)
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_generated_data_have_the_identity_of_their_seed(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    first, again = (data_of(config).identity() for _ in range(2))
    assert first == again
    assert list(first) == ["train", "validation", "test", "facts"]
    assert first["train"].startswith("40 examples ")


def test_a_run_whose_data_are_not_known_does_not_go_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(on(corpus, tmp_path / "runs"), monkeypatch)
    (run / "data.json").unlink()
    with pytest.raises(InputError, match=r"data\.json: not found"):
        train(resume=run, progress=False)
