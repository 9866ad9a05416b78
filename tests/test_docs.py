"""The documents name things that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_rules_table_counts_the_tests_that_there_are():
    rows = re.findall(r"^\| ([A-Z]\d+) \| .* \| (.*) \|$", (ROOT / "docs" / "semantics.md").read_text(), re.MULTILINE)
    assert len(rows) > 40
    for rule, tests in rows:
        for name, count in re.findall(r"`(\S+)` \((\d+)\)", tests):
            found = re.findall(rf"^(?:async )?def test_{rule.lower()}_", (ROOT / "tests" / name).read_text(), re.MULTILINE)
            assert len(found) == int(count), f"{rule} in {name}"
