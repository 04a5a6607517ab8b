"""The guards of the endpoint: they read what goes in and what comes out, and never touch the model between.

A release says which are on. Control strings in callers' text are made plain text always (`control_tokens`).
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backends.serving.guards import credentials, injection
from backends.serving.guards.in_json import JsonMarkup, JsonMasker, Spelling
from backends.serving.guards.leak import AnyLeak, ReadAs, prompt_of
from backends.serving.guards.markup import Markup
from backends.serving.guards.masking import Masker
from llmspec import redaction
from llmspec.spec.guards import Guard, OutputHtml, Pii, PromptInjection, Secrets, SystemPromptLeak


@dataclass(frozen=True)
class Verdict:
    """What a guard found."""

    guard: str
    blocked: bool
    """False where the spec only wants it noted."""


class Filter(Protocol):
    """Text goes in and comes out in pieces; all pieces together are the same however it was cut."""

    hits: int

    def push(self, text: str) -> str: ...

    def finish(self) -> str: ...


@dataclass
class Watch:
    """One guard at work on one answer."""

    name: str
    filter: Filter
    action: str
    seen: int = 0
    """Hits that have been counted."""


class OutputGuard:
    """One answer on its way out."""

    def __init__(self, watches: Sequence[Watch], count: Callable[[str, str, int], None]):
        self._watches, self._count = watches, count
        self._noting = {watch.name for watch in watches if watch.action == "note"}
        self.blocked: str | None = None
        """The guard that ended the answer; what `push` gave before may be said, and nothing after."""
        self.found: set[str] = set()
        """Guards that found something, masked or not."""
        self.clean = 0
        """So many characters came out exactly as they went in; no more, once something was masked."""

    def push(self, text: str) -> str:
        """What may be said now."""
        return self._through(text, final=False)

    def finish(self) -> str:
        """No more text: what was held back, as far as it may be said."""
        return self._through("", final=True)

    def _through(self, text: str, final: bool) -> str:
        if self.blocked:
            return ""
        for watch in self._watches:
            said = watch.filter.push(text) + (watch.filter.finish() if final else "")
            self._note(watch)
            if watch.action != "note":
                text = said
            final = final or self.blocked is not None
        if self.found <= self._noting:
            self.clean += len(text)
        return text

    def _note(self, watch: Watch) -> None:
        if watch.filter.hits > watch.seen:
            self._count(watch.name, watch.action, watch.filter.hits - watch.seen)
            watch.seen = watch.filter.hits
            self.found.add(watch.name)
            if watch.action == "block":
                self.blocked = self.blocked or watch.name


class Guards:
    """What a release is guarded with."""

    def __init__(self, guards: Sequence[Guard], system_prompt: str | None):
        self._options = [(guard.name, guard.options) for guard in guards]
        self._system_prompt = system_prompt
        self.guard_blocks: Counter[str] = Counter()
        """Guard -> requests and answers that it ended."""
        self.guard_masks: Counter[str] = Counter()
        """Guard -> pieces of answers that it masked."""
        self.guard_notes: Counter[str] = Counter()
        """Guard -> what it only noted."""

    async def check(self, messages: list[dict[str, Any]], context: str | None = None) -> Verdict | None:
        """What users wrote, and the context. System messages and earlier answers are the application's own."""
        texts = [message["content"] for message in messages if message["role"] == "user"]
        return await self.check_texts([*texts, context] if context else texts)

    async def check_texts(self, texts: Sequence[str]) -> Verdict | None:
        """Likewise for prompts that are no conversation."""
        for name, options in self._options:
            if isinstance(options, PromptInjection) and await _attacked(texts):
                self._count(name, options.action, 1)
                return Verdict(name, options.action == "block")
        return None

    async def prepare(self, messages: list[dict[str, Any]]) -> None:
        """Make long system messages ready for the listeners of their answers; others need not wait for it."""
        if any(isinstance(options, SystemPromptLeak) for _, options in self._options):
            for text in _system(messages):
                if len(text) > LONG_PROMPT:
                    await asyncio.to_thread(prompt_of, text)

    def listener(self, messages: list[dict[str, Any]] | None = None, json: bool = False) -> OutputGuard:
        """For one answer, which may have to be JSON. `messages`: what it answers; system messages in it are kept from leaking."""
        hidden = _system(messages or []) or [self._system_prompt or ""]
        watches = [watch for name, options in self._options for watch in self._watches(name, options, hidden, json)]
        return OutputGuard(sorted(watches, key=lambda watch: ORDER.index(watch.name)), self._count)

    def _watches(self, name: str, options: Any, hidden: list[str], json: bool) -> list[Watch]:
        masker = JsonMasker if json else Masker
        match options:
            case SystemPromptLeak():
                leaks = (AnyLeak(prompt) for text in hidden if (prompt := prompt_of(text)))
                return [Watch(name, ReadAs(Spelling(), leak) if json else leak, options.action) for leak in leaks]
            case OutputHtml():
                hosts, stop = frozenset(options.hosts), options.action == "block"
                markup = JsonMarkup(lambda: Markup(hosts), stop) if json else Markup(hosts, stop)
                return [Watch(name, markup, options.action)]
            case Secrets():
                mask = credentials.mask_in_json if json else credentials.mask
                return [Watch(name, masker(mask, credentials.unfinished, options.action == "block"), options.action)]
            case Pii():
                masked = personal(tuple(kind for kind in redaction.ANSWER_KINDS if kind in options.kinds))
                return [Watch(name, masker(masked, lambda _: False, options.action == "block"), options.action)]
        return []

    def _count(self, name: str, action: str, hits: int) -> None:
        match action:
            case "block":
                self.guard_blocks[name] += 1
            case "mask":
                self.guard_masks[name] += hits
            case _:
                self.guard_notes[name] += hits


def _system(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "system"]


async def _attacked(texts: Sequence[str]) -> bool:
    if sum(map(len, texts)) > LONG_TEXT:
        return await asyncio.to_thread(lambda: any(map(injection.attacks, texts)))
    return any(map(injection.attacks, texts))


def refusal(guard: str) -> str:
    """What the client is told of it."""
    return f"The endpoint's guard '{guard}' stopped this."


CONTENT_FILTER = "content_filter"
"""The finish_reason of what a guard ended."""
LONG_TEXT = 20_000
"""Characters above which a text is read in a thread, by guards and tokenizer: others must not wait for it."""
LONG_PROMPT = 1_000
"""Characters above which a system message is made ready in a thread: that takes ten times as long as to read it."""
ORDER = ("prompt_injection", "system_prompt_leak", "output_html", "secrets", "pii")
"""Leaks are looked for in what the model said; the marks of the maskers are the last that is written."""


_REMOTE = re.compile(r"(?<![\w.+%'-])(git@)")
"""Begins the address of a repository, which is nobody's; legit@shop.example is somebody's."""


def personal(kinds: tuple[str, ...]) -> Callable[[str], str]:
    """Masks these kinds in a segment."""

    def mask(segment: str) -> str:
        if (
            "@" not in segment
            and sum(c.isdigit() for c in segment) < 7
            and not ("ip" in kinds and segment.count(".") + segment.count(":") > 2)
        ):
            return segment
        for kind in kinds:
            remotes = kind == "email" and "git@" in segment
            parts = _REMOTE.split(segment) if remotes else [segment]
            segment = "".join(part if part == "git@" else redaction.mask(part, kind, f"[{kind.upper()}]") for part in parts)
        return segment

    return mask
