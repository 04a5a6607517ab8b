"""guards: what a release's requests and answers are guarded with."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_serializer, model_validator

from llmspec.section import Like, Section, did_you_mean, one_named, wrong


class GuardOptions(Section):
    """What one guard does."""

    main: ClassVar[str | None] = None
    """The field that a bare list stands for: `pii: [email, iban]`."""


class PromptInjection(GuardOptions):
    """Prompts and contexts that try to take the model over ("ignore all previous instructions"), in disguise too."""

    action: Literal["block", "note"] = "block"
    """block answers with finish_reason content_filter; note only writes it into the journal and counts it."""


class Pii(GuardOptions):
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


class Secrets(GuardOptions):
    """Credentials in answers: keys of known makes, private keys, tokens, passwords that are set or said."""

    action: Literal["mask", "block", "note"] = "mask"
    """mask writes [SECRET] in their place, block ends the answer, note only counts them."""


class OutputHtml(GuardOptions):
    """HTML that runs or loads, and pictures and links that carry data to foreign hosts, in answers."""

    main: ClassVar[str | None] = "hosts"
    hosts: list[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$"), Like("write a host's name: `shop.example`")]] = []
    """Hosts (and all below them) that pictures may come from and links may carry data to; the page's own always."""
    action: Literal["mask", "block", "note"] = "mask"
    """mask makes it harmless, block ends the answer, note only counts it."""


class SystemPromptLeak(GuardOptions):
    """The system prompt in answers: a dozen of its words in a row or half of it, spaced out and encoded too."""

    action: Literal["block", "note"] = "block"
    """block ends the answer before it is said, note only counts it."""


def _bare_guard(value: Any) -> Any:
    """'pii' -> {'pii': {}}; {'pii': ['email']} -> {'pii': {'kinds': ['email']}}; null -> the defaults."""
    value = one_named(value)
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        field = Guard.model_fields.get(name)
        if field is None:
            raise wrong(f"no guard named '{str(name)[:60]}'", did_you_mean(str(name), Guard.model_fields), word=str(name))
        kind = next(t for t in getattr(field.annotation, "__args__", ()) if t is not type(None))
        if options is None:
            return {name: {}}
        if isinstance(options, list) and getattr(kind, "main", None):
            return {name: {kind.main: options}}
    return value


class Guard(Section):
    """Exactly one of these."""

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

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise wrong("a guard is one name", "start each guard with its own '-'")
        return self

    @model_serializer(mode="wrap")
    def _only_itself(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """The guards it is not say nothing, so a guard that is added to the language changes no release."""
        return {self.name: handler(self)[self.name]}

    @property
    def name(self) -> str:
        (name,) = self.model_fields_set
        return name

    @property
    def options(self) -> Section:
        options = getattr(self, self.name)
        assert isinstance(options, Section)
        return options


def each_once(guards: list[Guard]) -> list[Guard]:
    seen: set[str] = set()
    for number, guard in enumerate(guards):
        if guard.name in seen:
            raise wrong(f"guard '{guard.name}' is listed twice", "keep one of them", f"[{number}]")
        seen.add(guard.name)
    return guards


Guards = Annotated[list[Annotated[Guard, BeforeValidator(_bare_guard)]], AfterValidator(each_once)]
"""A list of names, with options where wanted."""
