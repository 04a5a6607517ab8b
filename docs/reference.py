"""Write docs/reference.md from the code: `python docs/reference.py > docs/reference.md`. A test keeps it current."""

import sys
from collections.abc import Iterator

from llmspec import registry
from llmspec.cli import COMMANDS
from llmspec.language.fields import first_sentence
from llmspec.language.meaning import Meaning, all_keys, meaning

HEAD = """\
# Reference

Generated from the code by `python docs/reference.py > docs/reference.md`. `llmspec explain KEY` prints the same, with examples.
"""


def lines() -> Iterator[str]:
    """Commands, then every key, then engines and places."""
    yield HEAD
    yield "## Commands\n\n| command | what it does |\n|---|---|"
    yield from (f"| `llmspec {name}` | {summary} |" for name, summary in COMMANDS.items())
    yield "\nExit codes: 0 fine, 1 failed or blocked, 2 a wrong spec or call, 3 changes are pending (`plan --exit-code`).\n"
    section = ""
    for key in all_keys():
        top = key.split(".")[0]
        if top != section:
            section = top
            yield f"\n## {top}\n\n{meaning(top).about}\n\n| key | type | default | meaning |\n|---|---|---|---|"
        yield row(meaning(key))
    yield "\n## Engines and places that come with llmspec\n\n| kind | name | what it is |\n|---|---|---|"
    for kind, cards in (("engine", registry.engines()), ("place", registry.places())):
        yield from (f"| {kind} | `{name}` | {(card.__doc__ or '').splitlines()[0]} |" for name, card in cards if ours(kind, name))


def ours(kind: str, name: str) -> bool:
    """Only what llmspec itself registers: the reference must not depend on what else is installed."""
    found = registry.registered(kind)[name].dist
    return found is not None and found.name == "llmspec"


def row(found: Meaning) -> str:
    cells = (f"`{found.key}`", found.type, f"`{found.default}`" if found.default else "", first_sentence(found.about))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
