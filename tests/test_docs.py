"""The documents name things that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


LAST = {"D": 11, "I": 13, "R": 9, "T": 4, "E": 5, "P": 2}
RULES = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_in_the_table_with_all_files_that_have_tests_named_after_it(rule):
    rows = re.findall(
        rf"^\| {rule} \| .* \| (.*) \|$", (ROOT / "docs" / "semantics.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 1
    named = {
        path.name
        for path in (ROOT / "tests").glob("test_*.py")
        if f"def test_{rule.lower()}_" in path.read_text()
    }
    assert named
    assert set(re.findall(r"`(test_\S+\.py)`", rows[0])) == named


def test_the_rules_table_names_files_with_tests_of_the_rule():
    rows = re.findall(
        r"^\| ([A-Z]\d+) \| .* \| (.*) \|$",
        (ROOT / "docs" / "semantics.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 40
    for rule, tests in rows:
        for name in re.findall(r"`(test_\S+\.py)`", tests):
            assert (f"def test_{rule.lower()}_") in (ROOT / "tests" / name).read_text(), (
                f"{rule} in {name}"
            )
