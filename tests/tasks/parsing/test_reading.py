"""What is given to be parsed is CoNLL-U or text, and which is seen from its first lines."""

import pytest

from headwise.tasks.parsing import reading
from tests.tasks.parsing.test_command import KEPT


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (KEPT, "conllu"),
        ("# text = no words behind it, and that will be said\n", "conllu"),
        ("\n\n#remark\n1\tone\n", "conllu"),
        ("one two\n1\tx\n", "text"),
        ("#hashtags are no comments\nof CoNLL-U\n", "text"),
        ("#one #two\n", "text"),
    ],
)
def test_conllu_and_text_are_told_apart_and_no_line_is_lost(content, kind):
    lines = content.splitlines(keepends=True)
    found, same = reading.told_apart(iter(lines), "auto")
    assert (found, list(same)) == (kind, lines)
    assert reading.told_apart(iter(lines), "text")[0] == "text"
