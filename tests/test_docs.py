"""The documents name things that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_rules_table_names_files_with_tests_of_the_rule():
    rows = re.findall(r"^\| ([A-Z]\d+) \| .* \| (.*) \|$", (ROOT / "docs" / "semantics.md").read_text(), re.MULTILINE)
    assert len(rows) > 40
    for rule, tests in rows:
        for name in re.findall(r"`(test_\S+\.py)`", tests):
            assert f"def test_{rule.lower()}_" in (ROOT / "tests" / name).read_text(), f"{rule} in {name}"
