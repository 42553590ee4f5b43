"""CoNLL-U: what the model sees of a file, what comes back out, and one clear line for what is wrong."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import conllu
import pytest

from headwise.errors import InputError
from headwise.tasks.parsing.sentences import Sentence, find_cycle, from_words, parse_lines, read, with_predictions


def line(*columns: object) -> str:
    """A line from the columns that matter: ID, FORM, HEAD, DEPREL, and DEPS or nothing."""
    identity, form, head, relation, *deps = map(str, columns)
    return "\t".join([identity, form, "_", "X", "_", "_", head, relation, *(deps or ["_"]), "_"])


# Two comments that a dictionary would lose or reorder, a word in two parts, and one that was left out
KEPT = """\
# sent_id = a-1
# a remark without a value
#text=Nobody said so, nor  did   I.
# sent_id = a-1
1	Nobody	nobody	PRON	NN	Number=Sing|Person=3	2	nsubj	2:nsubj|4.1:nsubj	_
2	said	say	VERB	VBD	Tense=Past	0	root	0:root	A=1|B|A=2=3
3-4	sonor	_	_	_	_	_	_	_	SpaceAfter=No
3	so	so	ADV	RB	_	2	advmod	2:advmod	Note=x y
4	nor	nor	CCONJ	CC	_	5	cc	4.1:cc	_
4.1	did	do	AUX	_	_	_	_	2:conj	CopyOf=2
5	I	I	PRON	PRP	Case=Nom	2	conj	2:conj	SpaceAfter=No
6	.	.	PUNCT	.	_	2	punct	2:punct	_

"""


def only(text: str, annotated: bool = True):
    """Block and sentence of a file that has one of them."""
    ((block, sentence),) = parse_lines(text.split("\n"), "a.conllu", annotated)
    return block, sentence


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Reading


def test_the_model_sees_words_and_neither_ranges_nor_empty_nodes(tmp_path):
    file = write(tmp_path / "a.conllu", "\n\n" + KEPT + KEPT)
    first, second = read(file)
    forms = ("Nobody", "said", "so", "nor", "I", ".")
    relations = ("nsubj", "root", "advmod", "cc", "conj", "punct")
    assert first == Sentence(forms, (2, 0, 2, 5, 2, 2), relations, f"{file}:3")
    assert second.where == f"{file}:16"


def test_the_last_line_end_the_kind_of_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path):
    expected = read(write(tmp_path / "a.conllu", KEPT + KEPT))
    for content in (
        (KEPT + KEPT).rstrip("\n"),
        "\ufeff" + KEPT + KEPT,
        (KEPT + KEPT).replace("\n", "\r\n"),
        KEPT + "\n\n\n" + KEPT,
    ):
        found = read(write(tmp_path / "a.conllu", content))
        assert [s.forms + s.relations + s.heads for s in found] == [s.forms + s.relations + s.heads for s in expected]


def test_a_line_separator_inside_a_word_is_a_part_of_the_word():
    _, sentence = only(line(1, "a\u2028b\x85c", 0, "root"))
    assert sentence.forms == ("a\u2028b\x85c",)


# Writing


def test_a_block_comes_back_byte_for_byte_except_for_the_graph_of_another_tree():
    block, sentence = only(KEPT)
    written = with_predictions(block, sentence.heads, sentence.relations)
    changed = {"2:nsubj|4.1:nsubj": "2:nsubj", "4.1:cc": "5:cc"}
    expected = KEPT
    for before, after in changed.items():
        expected = expected.replace(before, after)
    assert written == expected


def test_another_tree_changes_head_relation_and_graph_of_the_words_only():
    block, _ = only(KEPT)
    heads, relations = (0, 1, 2, 3, 4, 5), ("root", "dep", "obj", "obl:npmod", "dep", "punct")
    before, after = KEPT.splitlines(), with_predictions(block, heads, relations).splitlines()
    assert len(before) == len(after)
    predicted = iter(zip(heads, relations, strict=True))
    for old, new in zip(before, after, strict=True):
        if not old.split("\t")[0].isdecimal():
            assert new == old
            continue
        head, relation = next(predicted)
        columns = old.split("\t")
        columns[6:9] = [str(head), relation, f"{head}:{relation}"]
        assert new.split("\t") == columns
    assert only("\n".join(after))[1].heads == heads


def test_words_without_a_graph_get_none():
    block, _ = only("\n".join([line(1, "a", "_", "_"), line(2, "b", "_", "_")]), annotated=False)
    assert with_predictions(block, [2, 0], ["det", "root"]) == line(1, "a", 2, "det") + "\n" + line(
        2, "b", 0, "root"
    ) + ("\n\n")


def test_writing_wants_one_head_and_relation_per_word():
    block, _ = only(KEPT)
    with pytest.raises(ValueError, match="6 words, 5 heads and 6 relations"):
        with_predictions(block, [0] * 5, ["dep"] * 6)


def test_plain_words_become_a_sentence_with_its_comments():
    block = from_words(["Dogs", "bark", "_", "."], sent_id="7")
    assert block.unparsed.forms == ("Dogs", "bark", "_", ".")
    text = with_predictions(block, [2, 0, 2, 2], ["nsubj", "root", "dep", "punct"])
    assert text.startswith("# sent_id = 7\n# text = Dogs bark _ .\n1\tDogs\t_\t_\t_\t_\t2\tnsubj\t_\t_\n")
    assert text.endswith(".\t_\t_\t_\t_\t2\tpunct\t_\t_\n\n")
    (tokens,) = conllu.parse(text)
    assert [token["head"] for token in tokens] == [2, 0, 2, 2]
    with pytest.raises(InputError, match="sentence 1: no words"):
        from_words([])
    with pytest.raises(InputError, match=r"'a\\tb' is not one word"):
        from_words(["a\tb"])


def test_the_official_validator_accepts_a_predicted_tree_around_ranges_and_empty_nodes(tmp_path):
    pytest.importorskip("udtools", reason="udtools, the official validator, is not installed")
    rows = [
        "# sent_id = v-1\n# text = I cannot stay and you.",
        "1 I I PRON _ _ 4 nsubj 4:nsubj _",
        "2-3 cannot _ _ _ _ _ _ _ _",
        "2 can can AUX _ _ 4 aux 4:aux _",
        "3 not not PART _ _ 4 advmod 4:advmod _",
        "4 stay stay VERB _ _ 0 root 0:root _",
        "5 and and CCONJ _ _ 6 cc 6.1:cc _",
        "6 you you PRON _ _ 4 conj 6.1:nsubj SpaceAfter=No",
        "6.1 stay stay VERB _ _ _ _ 4:conj _",
        "7 . . PUNCT _ _ 4 punct 4:punct _",
    ]
    block, _ = only("\n".join(row if row.startswith("#") else row.replace(" ", "\t") for row in rows))
    heads, relations = [4, 4, 4, 0, 4, 5, 4], ["obj", "aux", "advmod", "root", "cc", "conj", "punct"]
    file = write(tmp_path / "a.conllu", with_predictions(block, heads, relations))
    program = "import sys; from udtools.cli import main; sys.exit(main())"
    words = ["--lang", "ud", "--level", "2", "--no-warnings", str(file)]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert "*** PASSED ***" in done.stdout + done.stderr, done.stdout + done.stderr


# Bad input


GOOD = [line(1, "a", 2, "det"), line(2, "b", 0, "root"), line(3, "c", 2, "dep")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1\ta\t_"], "1: columns parted by tabs: 3; CoNLL-U has 10"),
        (["plain text"], "1: columns parted by tabs: 1; CoNLL-U has 10"),
        ([GOOD[0], GOOD[1] + "\t_"], "2: columns parted by tabs: 11; CoNLL-U has 10"),
        ([GOOD[0], GOOD[1].replace("\tX\t", "\t\t")], "2: an empty column; write _"),
        ([GOOD[0], GOOD[1].removesuffix("_")], "2: an empty column; write _"),
        ([line(1, "a  b", 0, "root")], "1: a space at an end of the line, or two spaces in a row"),
        ([line(1, "a", 0, "root") + " "], "1: a space at an end of the line, or two spaces in a row"),
        ([line("x", "a", 0, "root")], "1: x is no word's number; expected 3, 3-4 or 3.1"),
        ([line("_", "a", 0, "root")], "1: _ is no word's number"),
        ([line("01", "a", 0, "root")], "1: 01 is no word's number"),
        ([line("9" * 5000, "a", 0, "root")], "1: 99999999999999999999... is no word's number"),
        ([line("1-" + "9" * 4000, "a", "_", "_")], "1: 1-999999999999999999... is no word's number"),
        ([line("2-1", "a", "_", "_")], "1: 2-1 is no word's number"),
        (["# one", "", "# two", *GOOD], "1: a sentence without words"),
        ([GOOD[0], "# late", *GOOD[1:]], "2: a comment among the words"),
        (["# c", GOOD[0], GOOD[2]], "3: word 3 where 2 was expected"),
        ([GOOD[0], GOOD[0]], "2: word 1 where 2 was expected"),
        ([line(0, "a", 0, "root")], "1: word 0 where 1 was expected"),
        ([GOOD[0], line("1-2", "ab", "_", "_"), *GOOD[1:]], "2: range 1-2 where word 2 was expected"),
        (
            [line("1-3", "abc", "_", "_"), GOOD[0], line("2-3", "bc", "_", "_"), *GOOD[1:]],
            "3: range 2-3 where word 2 was expected",
        ),
        ([*GOOD, line("4-5", "d", "_", "_")], "1: a range ends at word 5, the sentence at 3"),
        ([GOOD[0], line("1.2", "e", "_", "_"), *GOOD[1:]], "2: node 1.2 where 1.1 was expected"),
        ([GOOD[0], line("2.1", "e", "_", "_"), *GOOD[1:]], "2: node 2.1 where 1.1 was expected"),
        ([line("1.1", "e", "_", "_")], "1: node 1.1 where 0.1 was expected"),
        ([line("0.1", "e", "_", "_")], "1: a sentence without words"),
        ([*GOOD[:2], line(3, "c", "x", "dep")], "3: head x is not a number (column 7)"),
        ([*GOOD[:2], line(3, "c", "1" * 5000, "dep")], "3: head 11111111111111111111... is not a number"),
        ([*GOOD[:2], line(3, "c", "²", "dep")], "3: head ² is not a number"),
        ([*GOOD[:2], line(3, "c", 4, "dep")], "3: head 4 of word 3 is out of range 0..3"),
        ([*GOOD[:2], line(3, "c", -1, "dep")], "3: head -1 of word 3 is out of range 0..3"),
        ([*GOOD[:2], line(3, "c", 3, "dep")], "3: word 3 is its own head"),
        ([*GOOD[:2], line(3, "c", "_", "dep")], "3: no head (_ in column 7); a sentence to train on"),
        ([*GOOD[:2], line(3, "c", 2, "_")], "3: word 3 has no relation to its head (_ in column 8)"),
        ([*GOOD[:2], line(3, "c", 0, "root")], "1: words 2, 3 are roots; a tree has one word with head 0"),
        (
            [line(n, "a", 0, "root") for n in range(1, 99)],
            "1: words 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... are roots; a tree has one word with head 0",
        ),
        ([line(1, "a", 2, "dep"), line(2, "b", 1, "dep")], "1: no root; a tree has one word with head 0"),
        (
            ["# c", line(1, "a", 0, "root"), line(2, "b", 3, "dep"), line(3, "c", 4, "dep"), line(4, "d", 2, "dep")],
            "1: no tree; the heads of 2 -> 3 -> 4 -> 2 go round in a circle",
        ),
    ],
)
def test_a_line_or_a_tree_that_is_wrong_is_named_with_its_place(tmp_path, lines, message):
    file = write(tmp_path / "a.conllu", "\n".join(lines))
    with pytest.raises(InputError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}:{message}")
    assert "\n" not in str(caught.value)


def test_line_numbers_count_from_the_beginning_of_the_file(tmp_path):
    file = write(tmp_path / "a.conllu", KEPT + "\n" + KEPT.replace("\t5\tcc", "\t55\tcc"))
    with pytest.raises(InputError, match=r"a\.conllu:23: head 55 of word 4"):
        read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": empty; expected sentences in CoNLL-U"),
        (b"\n\n", ": empty; expected sentences in CoNLL-U"),
        (b"# x\n1\tcaf\xe9", ":2: byte 9 (0xe9) is not UTF-8"),
        ("\ufeff# x\n1\ta".encode("utf-16-le"), ":1: byte 3 is 0; expected text in UTF-8"),
        ("# x\n1\ta".encode("utf-16"), ":1: byte 3 is 0; expected text in UTF-8"),
        ("\n".join([*GOOD, "", GOOD[0]]).encode() + b"\n2\tb\0", ":6: byte 93 is 0; expected text in UTF-8"),
        (b"# x\n" + b"y" * (4 * 2**20 + 1), ":2: a line of more than 4 MiB"),
    ],
)
def test_a_file_without_sentences_or_of_another_encoding_is_refused(tmp_path, content, message):
    file = write(tmp_path / "a.conllu", content)
    with pytest.raises(InputError) as caught:
        read(file)
    assert str(caught.value) == f"{file}{message}"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"b\.conllu: not found"):
        read(tmp_path / "b.conllu")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, kind):
    place = {"pipe": tmp_path / "a.conllu", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(place)
    with pytest.raises(InputError) as caught:
        read(place)
    assert str(caught.value) in (f"{place}: not a regular file", f"{place}: cannot be read (Is a directory)")


def test_a_no_break_space_at_the_end_of_a_line_is_said_once_and_kept(caplog):
    """As in SpacesAfter= of words that were not parted by an ordinary space."""
    first = line(1, "Rain", 2, "nsubj")[:-1] + "SpacesAfter=\xa0"
    text = "\n".join(["# c\xa0", first, line(2, "fell", 0, "root")]) + "\n\n"
    found = list(parse_lines((text * 2).split("\n"), "in"))
    assert [sentence.heads for _, sentence in found] == [(2, 0)] * 2
    assert "".join(with_predictions(block, s.heads, s.relations) for block, s in found) == text * 2
    assert [record.getMessage() for record in caplog.records] == [
        "in:2: odd white space at the end of the line; kept (said of the first only)"
    ]


def test_a_bad_sentence_is_reported_and_the_rest_is_read():
    text = "\n".join([*GOOD, "", "# broken", "1 a", "", *GOOD, "", line(1, "a", 1, "dep"), "", *GOOD])
    found = list(parse_lines(text.split("\n"), "in"))
    assert [isinstance(sentence, Sentence) for _, sentence in found] == [True, False, True, False, True]
    assert [str(sentence).partition(": ")[0] for _, sentence in found if isinstance(sentence, InputError)] == [
        "in:6",
        "in:12",
    ]
    assert [block is None for block, _ in found] == [False, True, False, False, False]


@pytest.mark.parametrize("heads", [("_", "_", "_"), ("9", "x", "3"), ("2", "1", "_")])
def test_without_annotation_the_columns_of_the_tree_are_passed_over(heads):
    block, sentence = only("\n".join(line(n, "w", head, "_") for n, head in enumerate(heads, start=1)), annotated=False)
    assert sentence == Sentence(("w",) * 3, (), (), "a.conllu:1")
    assert only(with_predictions(block, [2, 0, 2], ["a", "root", "b"]))[1].heads == (2, 0, 2)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_cycle_is_found_exactly_where_a_word_does_not_reach_the_root(length):
    for heads in itertools.product(range(length + 1), repeat=length):
        reaches = set()
        for _ in range(length):
            reaches |= {w for w in range(1, length + 1) if heads[w - 1] == 0 or heads[w - 1] in reaches}
        cycle = find_cycle(heads)
        assert bool(cycle) == (len(reaches) < length)
        for word, head in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
            assert heads[word - 1] == head
        assert len(set(cycle)) == len(cycle)


# Real data


@pytest.mark.parametrize(("split", "sentences", "words"), [("dev", 2001, 25147), ("test", 2077, 25094)])
def test_a_published_treebank_is_read_whole_and_comes_back(data_folder, split, sentences, words):
    file = data_folder / "ud_en_ewt" / f"en_ewt-ud-{split}.conllu"
    text = file.read_text(encoding="utf-8")
    found = list(parse_lines(text.split("\n"), str(file)))
    assert (len(found), sum(len(sentence.forms) for _, sentence in found)) == (sentences, words)
    assert [sentence for _, sentence in found] == read(file)
    written = "".join(with_predictions(block, gold.heads, gold.relations) for block, gold in found)

    def without_graph(line: str) -> list[str]:
        columns = line.split("\t")
        return columns[:8] + columns[9:] if columns[0].isdecimal() else columns

    for old, new in zip(text.split("\n"), written.split("\n"), strict=True):
        assert without_graph(old) == without_graph(new)
