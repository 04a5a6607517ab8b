"""The documentation is what the code says."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

from llmspec.cli import COMMANDS, main


def test_the_reference_is_current() -> None:
    made = subprocess.run([sys.executable, str(ROOT / "docs" / "reference.py")], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "reference.md").read_text() == made.stdout, "python docs/reference.py > docs/reference.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_that_says_what_it_is_for(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert re.search(r"[a-z]{3,} [a-z]{2,}", capsys.readouterr().out.split("\n\n")[1])


def test_every_command_named_in_the_documents_exists() -> None:
    for page in ("README.md", "docs/guide.md"):
        for word in re.findall(r"^llmspec ([a-z]+)", (ROOT / page).read_text(), flags=re.MULTILINE):
            assert word in COMMANDS, f"{page}: llmspec {word}"


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
