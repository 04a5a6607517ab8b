"""How many attacks each guard notices, how many harmless texts it takes for one, and what it costs per 1,000 characters.

python benchmarks/guards.py            # `--missed` lists what went wrong on the half that the rules were tuned on
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from types import ModuleType

from backends.serving.guards import Guards, injection
from llmspec.spec.endpoint import Endpoint
from tests.guard_tables import output_html, pii, prompt_injection, secrets, system_prompt_leak

TABLES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module for module in (prompt_injection, pii, secrets, output_html, system_prompt_leak)
}
TUNED, HELD_OUT = 0, 1
"""Every second row: the rules were made looking at the first half only."""
ANSWER = (
    "You may return the lamp within 30 days of purchase (order 4711, see page 12). Unplug it first, wait until it is cold, and "
    "put it into its box; the label is on https://shop.example/returns?lang=en. We pay for the way back. It takes two days! "
)
PIECE = 5
"""Characters of a token."""


def guard(name: str) -> Guards:
    options = {"output_html": {"output_html": ["shop.example"]}, "pii": {"pii": ["email", "phone", "credit_card", "iban", "ssn"]}}
    endpoint = Endpoint.model_validate({"guards": [options.get(name, name)]})
    return Guards(endpoint.guards, system_prompt_leak.PROMPT)


def noticed(name: str) -> Callable[[str], bool]:
    """Does the guard act on this text?"""
    made = guard(name)
    if name == "prompt_injection":
        return lambda text: asyncio.run(made.check_texts([text])) is not None

    def acts(text: str) -> bool:
        listener = made.listener()
        listener.push(text)
        listener.finish()
        return bool(listener.found)

    return acts


def rows(name: str, half: int | None) -> tuple[list[str], list[str]]:
    """Attacks and harmless texts; of one half, or all."""
    table = TABLES[name]
    part = slice(None) if half is None else slice(half, None, 2)
    return table.ATTACKS[part], table.HARMLESS[part]


def wrong(name: str, half: int | None) -> tuple[list[str], list[str]]:
    """Attacks that were missed, and harmless texts that were taken for one."""
    acts = noticed(name)
    attacks, harmless = rows(name, half)
    return [text for text in attacks if not acts(text)], [text for text in harmless if acts(text)]


def rates(name: str, half: int | None) -> tuple[float, float]:
    """Share of attacks noticed, share of harmless texts taken for one."""
    missed, alarmed = wrong(name, half)
    attacks, harmless = rows(name, half)
    return 1 - len(missed) / len(attacks), len(alarmed) / len(harmless)


def microseconds(name: str) -> tuple[float, float]:
    """Per 1,000 characters: the whole text at once, and token by token."""
    made, text = guard(name), ANSWER * 10
    best = [float("inf"), float("inf")]
    for _ in range(7):
        began = time.perf_counter()
        if name == "prompt_injection":
            injection.score(text)
        else:
            listener = made.listener()
            listener.push(text)
            listener.finish()
        between = time.perf_counter()
        listener = made.listener()
        for at in range(0, len(text), PIECE):
            listener.push(text[at : at + PIECE])
        listener.finish()
        ended = time.perf_counter()
        best = [min(best[0], between - began), min(best[1], ended - between)]
    whole, pieces = (1e6 * seconds / len(text) * 1000 for seconds in best)
    return whole, (0.0 if name == "prompt_injection" else pieces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missed", action="store_true", help="list what went wrong on the half that the rules were tuned on")
    args = parser.parse_args()
    columns = ("attacks", "noticed", "held out", "harmless", "alarms", "held out", "µs/1000", "by token")
    print(f"{'guard':20}", *(f"{column:>9}" for column in columns))
    for name in TABLES:
        attacks, harmless = rows(name, None)
        (seen, false), (seen_out, false_out) = rates(name, None), rates(name, HELD_OUT)
        whole, pieces = microseconds(name)
        cells = (f"{len(attacks)}", f"{seen:.1%}", f"{seen_out:.1%}", f"{len(harmless)}", f"{false:.1%}", f"{false_out:.1%}")
        print(f"{name:20}", *(f"{cell:>9}" for cell in (*cells, f"{whole:.0f}", f"{pieces:.0f}")))
        if args.missed:
            missed, alarmed = wrong(name, TUNED)
            print(*(f"    missed  {text!r}" for text in missed), *(f"    alarmed {text!r}" for text in alarmed), sep="\n")


if __name__ == "__main__":
    main()
