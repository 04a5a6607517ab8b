"""guards: what a release's requests and answers are guarded with."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from llmspec.choice import OneOf, Options
from llmspec.section import Like, wrong


class PromptInjection(Options):
    """Prompts and contexts that try to take the model over ("ignore all previous instructions"), in disguise too."""

    action: Literal["block", "note"] = "block"
    """block answers with finish_reason content_filter; note only writes it into the journal and counts it."""


class Pii(Options):
    """Personal data in answers."""

    main: ClassVar[str | None] = "kinds"
    kinds: Annotated[list[Literal["email", "phone", "credit_card", "iban", "ssn", "ip"]], Field(min_length=1)] = [
        "email",
        "phone",
        "credit_card",
        "iban",
        "ssn",
    ]
    """What is looked for; card numbers and IBANs count only when their check digits are right."""
    action: Literal["mask", "block", "note"] = "mask"
    """mask writes [EMAIL] in its place, block ends the answer, note only counts it."""


class Secrets(Options):
    """Credentials in answers: keys of known makes, private keys, tokens, passwords that are set or said."""

    action: Literal["mask", "block", "note"] = "mask"
    """mask writes [SECRET] in their place, block ends the answer, note only counts them."""


class OutputHtml(Options):
    """HTML that runs or loads, and pictures and links that carry data to foreign hosts, in answers."""

    main: ClassVar[str | None] = "hosts"
    hosts: list[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$"), Like("write a host's name: `shop.example`")]] = []
    """Hosts (and all below them) that pictures may come from and links may carry data to; the page's own always."""
    action: Literal["mask", "block", "note"] = "mask"
    """mask makes it harmless, block ends the answer, note only counts it."""


class SystemPromptLeak(Options):
    """The system prompt in answers: a dozen of its words in a row or half of it, spaced out and encoded too."""

    action: Literal["block", "note"] = "block"
    """block ends the answer before it is said, note only counts it."""


class Guard(OneOf):
    """Exactly one of these."""

    called: ClassVar[str] = "guard"

    prompt_injection: PromptInjection | None = None
    """Prompts that try to take the model over end with content_filter."""
    pii: Pii | None = None
    """Personal data in answers is masked."""
    secrets: Secrets | None = None
    """Credentials in answers are masked."""
    output_html: OutputHtml | None = None
    """Answers are made safe to show on a page."""
    system_prompt_leak: SystemPromptLeak | None = None
    """An answer that gives the system prompt away ends with content_filter."""


def each_once(guards: list[Guard]) -> list[Guard]:
    seen: set[str] = set()
    for number, guard in enumerate(guards):
        if guard.name in seen:
            raise wrong(f"guard '{guard.name}' is listed twice", "keep one of them", f"[{number}]")
        seen.add(guard.name)
    return guards


Guards = Annotated[list[Guard], AfterValidator(each_once)]
"""A list of names, with options where wanted."""
