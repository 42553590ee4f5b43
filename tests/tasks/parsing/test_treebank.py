"""Treebanks: where their files are, what they share, and what is kept of them."""

from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.tasks.parsing import treebank
from headwise.tasks.parsing.config import ParsingConfig
from headwise.tasks.parsing.sentences import from_words, read, with_predictions
from headwise.tasks.parsing.treebank import load

TEXTS = {
    "train": ["dogs bark", "cats sleep here", "dogs bark", "birds"],
    "dev": ["dogs bark", "cats sleep", "dogs bark"],
    "test": ["cats sleep here", "Dogs bark", "birds"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A treebank of a few sentences, each word the head of the next."""
    folder = tmp_path / "data" / "ud_xx_small"
    folder.mkdir(parents=True)
    for split, texts in TEXTS.items():
        (folder / f"xx_small-ud-{split}.conllu").write_text("".join(map(written, texts)), encoding="utf-8")
    return folder


def written(text: str) -> str:
    words = text.split()
    relations = ["root", *["dep"] * (len(words) - 1)]
    return with_predictions(from_words(words), list(range(len(words))), relations)


def texts(sentences) -> list[str]:
    return [" ".join(sentence.forms) for sentence in sentences]


# Where the files are


def test_the_default_is_generated_and_says_so():
    bank = load(ParsingConfig(), seed=0)
    assert (bank.name, bank.synthetic) == ("synthetic", True)
    assert [len(bank.train), len(bank.validation), len(bank.test)] == [2000, 300, 300]
    assert bank.overlap == {"validation": 0, "test": 0}
    assert load(ParsingConfig(), seed=0) == bank
    assert load(ParsingConfig(), seed=1) != bank


def test_a_treebank_is_found_by_its_name_by_its_path_and_by_single_files(folder, monkeypatch):
    monkeypatch.setenv("HEADWISE_DATA", str(folder.parent))
    by_name = load(ParsingConfig(treebank="ud_xx_small"), seed=0)
    assert (by_name.name, by_name.synthetic) == ("ud_xx_small", False)
    assert [texts(by_name.train), texts(by_name.validation), texts(by_name.test)] == list(TEXTS.values())
    monkeypatch.delenv("HEADWISE_DATA")
    assert load(ParsingConfig(treebank="ud_xx_small", root=str(folder.parent)), seed=0) == by_name
    assert load(ParsingConfig(treebank=str(folder)), seed=0) == by_name
    monkeypatch.chdir(folder)
    assert load(ParsingConfig(treebank="."), seed=0).name == "ud_xx_small"
    files = {split: str(folder / f"xx_small-ud-{name}.conllu") for split, name in treebank.FILES.items()}
    by_file = load(ParsingConfig(**files), seed=0)
    assert (by_file.name, by_file.synthetic) == ("xx_small", False)
    assert [by_file.train, by_file.validation, by_file.test] == [by_name.train, by_name.validation, by_name.test]


def test_a_single_file_takes_the_place_of_a_split(folder):
    other = folder.parent / "other.conllu"
    other.write_text(written("fish swim"), encoding="utf-8")
    bank = load(ParsingConfig(treebank=str(folder), test=str(other)), seed=0)
    assert (texts(bank.test), texts(bank.validation)) == (["fish swim"], TEXTS["dev"])


def test_sentences_of_the_training_part_are_counted_where_they_come_again(folder):
    """Each occurrence counts, words are compared as written, and nothing is taken out."""
    bank = load(ParsingConfig(treebank=str(folder)), seed=0)
    assert bank.overlap == {"validation": 2, "test": 2}
    assert len(bank.validation) == 3


# What is wrong


def test_a_treebank_without_a_split_is_refused_with_what_it_has(folder):
    (folder / "xx_small-ud-dev.conllu").unlink()
    expected = (
        r"ud_xx_small: no \*-ud-dev\.conllu for validation; found xx_small-ud-test\.conllu, xx_small-ud-train\.conllu"
    )
    with pytest.raises(InputError, match=expected):
        load(ParsingConfig(treebank=str(folder)), seed=0)
    with pytest.raises(InputError, match=r"no \*-ud-train\.conllu for train; found no \.conllu file; task\.train="):
        load(ParsingConfig(treebank=str(folder.parent)), seed=0)


def test_a_split_in_two_files_is_refused(folder):
    (folder / "yy_small-ud-test.conllu").write_text(written("a b"), encoding="utf-8")
    with pytest.raises(InputError, match=r"more than one file for test, xx_small-ud-test\.conllu, yy_small-ud-test"):
        load(ParsingConfig(treebank=str(folder)), seed=0)


def test_a_treebank_that_is_nowhere_is_refused_with_the_remedy(folder, monkeypatch):
    monkeypatch.delenv("HEADWISE_DATA", raising=False)
    with pytest.raises(InputError, match=r"task\.treebank=ud_nowhere: no such folder; set HEADWISE_DATA or task\.root"):
        load(ParsingConfig(treebank="ud_nowhere"), seed=0)
    with pytest.raises(InputError, match=r"task\.treebank=ud_nowhere: no such folder, nor .*data/ud_nowhere"):
        load(ParsingConfig(treebank="ud_nowhere", root=str(folder.parent)), seed=0)
    file = folder / "xx_small-ud-train.conllu"
    with pytest.raises(InputError, match=r"xx_small-ud-train\.conllu is a file; give a folder, or task\.train,"):
        load(ParsingConfig(treebank=str(file)), seed=0)
    with pytest.raises(InputError, match=r"task\.train is a file, but task\.validation is not given"):
        load(ParsingConfig(train=str(file)), seed=0)
    with pytest.raises(InputError, match=r"gone\.conllu: not found"):
        load(ParsingConfig(treebank=str(folder), test=str(folder / "gone.conllu")), seed=0)


# What is kept


def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are parsed from now on, not read from the cache."""
    seen: list[str] = []

    def noted(content: bytes, path: Path):
        seen.append(path.name)
        return real(content, path)

    real = treebank.parsed
    monkeypatch.setattr(treebank, "parsed", noted)
    return seen


def test_a_file_is_parsed_once_and_again_when_its_content_changes(folder, tmp_path, monkeypatch):
    config, cache = ParsingConfig(treebank=str(folder)), tmp_path / "cache"
    seen = parsed(monkeypatch)
    bank = load(config, seed=0, cache=cache)
    assert len(seen) == 3
    assert load(config, seed=1, cache=cache) == bank
    assert len(seen) == 3
    file = folder / "xx_small-ud-dev.conllu"
    file.write_text(written("new words"), encoding="utf-8")
    assert texts(load(config, seed=0, cache=cache).validation) == ["new words"]
    assert seen[3:] == [file.name]
    assert not list(cache.glob("*.tmp"))


def test_a_file_that_moved_is_known_by_its_content_and_named_where_it_is_now(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    load(ParsingConfig(treebank=str(folder)), seed=0, cache=cache)
    moved = folder.rename(folder.with_name("ud_xx_moved"))
    seen = parsed(monkeypatch)
    bank = load(ParsingConfig(treebank=str(moved)), seed=0, cache=cache)
    assert seen == []
    assert bank.test == read(moved / "xx_small-ud-test.conllu")


def test_a_damaged_cache_is_rebuilt(folder, tmp_path, monkeypatch):
    config, cache = ParsingConfig(treebank=str(folder)), tmp_path / "cache"
    bank = load(config, seed=0, cache=cache)
    seen = parsed(monkeypatch)
    whole = {file: file.read_bytes() for file in cache.iterdir()}
    assert len(whole) == 3
    for damage in (
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"dogs", b"hogs").replace(b"birds", b"words"),
        lambda content: b"[[], [], [], []]",
        lambda content: b"\x80\x04",
    ):
        for file, content in whole.items():
            file.write_bytes(damage(content))
        assert load(config, seed=0, cache=cache) == bank
        assert {file: file.read_bytes() for file in cache.iterdir()} == whole
    assert len(seen) == 5 * 3


def test_a_malformed_file_is_not_kept(folder, tmp_path):
    file = folder / "xx_small-ud-test.conllu"
    file.write_text(written("a b").replace("\t1\tdep", "\t7\tdep"), encoding="utf-8")
    for _ in range(2):
        with pytest.raises(InputError, match=r"xx_small-ud-test\.conllu:4: head 7 of word 2 is out of range 0\.\.2"):
            load(ParsingConfig(treebank=str(folder)), seed=0, cache=tmp_path / "cache")


# Real data


def test_the_official_split_shares_sentences_and_the_count_says_so(data_folder):
    """By the words; by their `# text` comments, where "Thank you ." is not "Thank you.", the published 67 and 93."""
    bank = load(ParsingConfig(treebank="ud_en_ewt", root=str(data_folder)), seed=0)
    assert [len(bank.train), len(bank.validation), len(bank.test)] == [12544, 2001, 2077]
    assert bank.overlap == {"validation": 68, "test": 94}
    comments = {}
    for name in treebank.FILES.values():
        lines = (data_folder / "ud_en_ewt" / f"en_ewt-ud-{name}.conllu").read_text(encoding="utf-8").split("\n")
        comments[name] = [line for line in lines if line.startswith("# text = ")]
    train = set(comments["train"])
    shared = {name: sum(text in train for text in comments[name]) for name in ("dev", "test")}
    assert shared == {"dev": 67, "test": 93}
