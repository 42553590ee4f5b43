"""Every rule has a planted defect, a row in the guide, and a name of its own."""

from collections import Counter
from pathlib import Path

import pytest

from headwise.lab.doctor.display import guide_tables
from headwise.lab.doctor.examine import RULES
from tests.lab.doctor import planted_models, planted_records, test_comparisons, test_runs

GUIDE = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
BEGIN, END = "<!-- table of rules -->\n", "<!-- end of table of rules -->"
NAMES = [rule.name for rules in RULES for rule in rules.rules]
IN_TESTS_OF_THEIR_OWN = {"looks at later inputs", "parameters never moved"}


def test_every_rule_has_a_planted_defect() -> None:
    tables = (planted_models.PLANTED, planted_records.PLANTED, test_comparisons.PLANTED, test_runs.PLANTED)
    planted = {case[0] for table in tables for case in table.values()} | planted_records.POSSIBLE.keys()
    assert planted | IN_TESTS_OF_THEIR_OWN == set(NAMES)
    assert sum(map(len, tables)) >= 20


def test_no_two_rules_have_the_same_name() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []


@pytest.mark.parametrize("rule", [rule for rules in RULES for rule in rules.rules], ids=lambda rule: rule.name)
def test_a_rule_says_what_someone_sees_what_it_is_and_what_to_do(rule: object) -> None:
    for field in ("symptom", "diagnosis", "remedy", "command"):
        text = getattr(rule, field)
        assert text
        assert not text.endswith(".")


def test_the_guide_holds_the_table_of_the_rules() -> None:
    """Write it again with `python -m tests.lab.doctor.test_rules`."""
    text = GUIDE.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0] == guide_tables(RULES)


def main() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    GUIDE.write_text(before + BEGIN + guide_tables(RULES) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
