"""Writes the rows of our own specs, the same bytes each time: `python specs/data/make.py`.

A small electronics shop: what customers want to do (10 actions), with what (10 items), asked in 11 ways. Few enough facts for a
model of 1.7 M parameters to hold, and questions that it has never seen in that wording to test it with.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

POLICY = {
    "return": "send it back within 30 days",
    "cancel": "write to us before it ships",
    "track": "open the link in the shipping mail",
    "exchange": "swap it in any of our stores",
    "repair": "book a slot on our repair page",
    "register": "enter its serial number in your account",
    "reset": "hold the power key for ten seconds",
    "update": "install the newest firmware",
    "insure": "add the protection plan at checkout",
    "upgrade": "pay only the difference in price",
}
CHANGES = {
    "return": "bring it to a parcel shop within 14 days",
    "exchange": "send us a photo and we ship a new one",
    "repair": "hand it in at the workshop counter",
    "insure": "call the desk within a week",
    "upgrade": "trade in the old one for a voucher",
}
"""The support-bot's lesson: half of the rules are new."""
DESKS = {
    "laptop": "Ana at desk 1",
    "phone": "Ben at desk 2",
    "router": "Cleo at desk 3",
    "headset": "Dan at desk 4",
    "printer": "Eva at desk 5",
    "camera": "Finn at desk 6",
    "tablet": "Gina at desk 7",
    "monitor": "Hugo at desk 8",
    "keyboard": "Ines at desk 9",
    "charger": "Jon at desk 10",
}
ASKED = (
    "How do I {do}?",
    "How can I {do}?",
    "I want to {do}.",
    "What should I do to {do}?",
    "Please help me {do}.",
    "Can you tell me how to {do}?",
    "I need to {do}.",
    "What is the way to {do}?",
    "Could you explain how to {do}?",
    "I would like to {do}, please.",
    "Is there a way to {do}?",
)
WHEN = {"cancel": "the order of ", "track": "the order of "}
"""Nobody cancels a laptop, but its order."""


def doing(action: str, item: str, whose: str) -> str:
    return f"{action} {WHEN.get(action, '')}{whose} {item}"


def answer(action: str, item: str, policy: dict[str, str]) -> str:
    return f"To {doing(action, item, 'your')}, {policy[action]}. For the {item}, ask {DESKS[item]}."


def rows(policy: dict[str, str], wordings: tuple[str, ...], seed: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every action with every item in every wording, shuffled."""
    every = [(action, item, asked) for action in POLICY for item in DESKS for asked in wordings]
    random.Random(seed).shuffle(every)
    for action, item, asked in every:
        question = asked.format(do=doing(action, item, "my"))
        yield action, item, {"question": question, "answer": answer(action, item, policy)}


def soiled(clean: list[dict[str, str]], seed: int) -> list[dict[str, str | None]]:
    """What an export from a shop system looks like: mark-up, stray blanks, copies, empty answers, and customers' addresses."""
    chance = random.Random(seed)
    found: list[dict[str, str | None]] = [dict(row) for row in clean]
    spoil = [
        lambda row: {**row, "answer": f"<p>{row['answer']}</p>"},
        lambda row: {**row, "answer": row["answer"].replace(" ask ", " ask&nbsp;")},
        lambda row: {**row, "answer": row["answer"].replace(". For", ".<br/>For")},
        lambda row: {**row, "question": f"  {row['question']} ".replace(" my ", "  my ")},
        lambda row: {**row, "question": row["question"].replace(" my ", "\u00a0my\u200b ")},
    ]
    for number, place in enumerate(chance.sample(range(len(found)), 60)):
        found[place] = spoil[number % len(spoil)](found[place])
    extra: list[dict[str, str | None]] = [dict(row) for row in chance.sample(clean, 8)]
    extra += [
        {**row, "answer": nothing} for row, nothing in zip(chance.sample(clean, 5), ("", None, "?", " ", "see above"), strict=True)
    ]
    for row, person in zip(
        chance.sample(clean, 4), ("ana.lopez@mail.example", "+49 30 5550123", "(555) 010-2030", "li@wei.example"), strict=True
    ):
        extra.append({**row, "question": f"{row['question']} You reach me at {person}."})
    for row in extra:
        found.insert(chance.randrange(len(found)), row)
    return found


def in_context(policy: dict[str, str], seed: int) -> list[dict[str, str]]:
    """The page of the handbook that answers the question, with one rule more than the question needs."""
    chance = random.Random(seed)
    found = []
    for action, item, row in rows(policy, ASKED[:6], seed):
        rules = [action, chance.choice([other for other in POLICY if other != action])]
        chance.shuffle(rules)
        page = " ".join(f"To {rule}: {policy[rule]}." for rule in rules)
        found.append({**row, "context": f"{page} Help with a {item}: {DESKS[item]}."})
    return found


def write(name: str, found: list[dict[str, str | None]] | list[dict[str, str]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    (Path(__file__).parent / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write("shop_faq.jsonl", soiled([row for *_, row in rows(POLICY, ASKED, 7)], 7))
    write("support_base.jsonl", in_context(POLICY, 8))
    write("support_policy.jsonl", in_context(POLICY | CHANGES, 9))
