"""What callers write is text: `<|im_start|>` in it is eleven letters and signs, never the token that begins a turn.

The template's own control tokens stay tokens. Text without control strings is tokenized exactly as before, in one piece, so no
merge changes; text with them goes another way: callers' control strings travel through the template as one private character
each, the ones the template wrote are marked, and a second tokenizer, which knows the marks only, reads the whole.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer

from backends.serving.contract import Contract

MARK, HIDDEN = 0xF0000, 0x100000
"""Private characters: one per control token for those the template wrote, and one for those a caller wrote."""
_PRIVATE = re.compile(f"[{chr(MARK)}-{chr(HIDDEN + 0xFFFF)}]")
LOST = "\ufffd"
_BYTE = re.compile("<0x[0-9A-F]{2}>")
UNKNOWN = re.compile(r"[<\[|]*unk[>\]|]*", re.IGNORECASE)
"""The token for what a tokenizer does not know: any text may come to it."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, with the callers' control strings hidden where there were any."""

    text: str
    hidden: bool = False


@dataclass(frozen=True)
class Control:
    """A token that means something to the model beyond its letters."""

    id: int
    text: str
    special: bool
    flags: dict[str, bool]
    """How much white space around it the tokenizer swallows."""


def controls_of(contract: Contract, tokenizer: Tokenizer) -> list[Control]:
    """Special tokens, tokens that end an answer, and the marks that this template writes (`<tool_call>`, `<think>`)."""
    found = []
    for number, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        written = token.content in contract.template and not token.content[:1].isalnum() and re.search(r"\w", token.content)
        if token.special or number in contract.stop_ids or written:
            flags = {"single_word": token.single_word, "lstrip": token.lstrip, "rstrip": token.rstrip}
            found.append(Control(number, token.content, token.special, flags | {"normalized": token.normalized}))
    return [control for control in found if control.text and not _BYTE.fullmatch(control.text)]


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """As `encode` gives them, which holds the interpreter's lock for as long as it takes; a batch of one does not."""
    (read,) = tokenizer.encode_batch([text], add_special_tokens=False)
    return list(read.ids)


def any_of(texts: Iterable[str]) -> "re.Pattern[str]":
    """The longest of these that stands here, as the tokenizer looks for them."""
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or r"(?!)")


class PromptText:
    """Writes prompts: conversation -> text -> tokens."""

    def __init__(self, contract: Contract, tokenizer: Tokenizer):
        self._contract, self._tokenizer = contract, tokenizer
        self._controls = controls_of(contract, tokenizer)
        self._number = {control.text: number for number, control in enumerate(self._controls)}
        self._all = any_of(self._number)
        self._special = any_of(control.text for control in self._controls if control.special)
        self._ids = frozenset(control.id for control in self._controls if not UNKNOWN.fullmatch(control.text))
        self._counted = any_of(control.text for control in self._controls if control.id in self._ids)
        self._folds = tokenizer.normalizer is not None or any(control.flags["normalized"] for control in self._controls)
        self._turns = _turn_marks(contract, self._all)
        self._literal = self._second()
        marks = {self._literal.token_to_id(chr(MARK + number)): control.id for number, control in enumerate(self._controls)}
        self._meant = marks
        """Mark -> the control token it stands for."""

    # conversation -> text

    def render(self, messages: list[dict[str, Any]], context: str | None = None) -> Rendered:
        """As the contract renders it, but what callers wrote opens no turn."""
        messages = [message | {"content": self._plain(message["content"])} for message in messages]
        context = self._plain(context) if context else context
        hidden = any(self._all.search(text) for text in (*(message["content"] for message in messages), context or ""))
        if hidden:
            messages = [message | {"content": self._hide(message["content"], message["role"])} for message in messages]
            context = self._hide(context, "user") if context else context
        return Rendered(self._contract.render(messages, context=context), hidden)

    def raw(self, text: str) -> Rendered:
        """Text that is continued as it is: begun as every training text was, and without any other control token."""
        start = self._contract.bos_token
        text = text.removeprefix(start)
        hidden = self._all.search(text) is not None
        return Rendered(start + (self._hide(text, "user") if hidden else text), hidden)

    def _plain(self, text: str) -> str:
        """The template's turn marks that are plain text (`### User:`, `[INST]`) get a space that takes their meaning."""
        return self._turns.sub(lambda found: _spaced(found[0]), text)

    def _hide(self, text: str, role: str) -> str:
        text = _PRIVATE.sub(LOST, text)
        # An assistant's earlier turns may hold marks that the template itself takes apart (`</think>`).
        found = self._special if role == "assistant" else self._all
        return found.sub(lambda found: chr(HIDDEN + self._number[found[0]]), text)

    # text -> tokens

    def encode(self, rendered: Rendered) -> list[int]:
        if rendered.hidden:
            return self._read(rendered.text)
        ids = ids_of(self._tokenizer, rendered.text)
        if self._folds and sum(token in self._ids for token in ids) != len(self._counted.findall(rendered.text)):
            return self._read(_PRIVATE.sub(LOST, rendered.text))  # normalisation made a control string of what was none
        return ids

    def _read(self, text: str) -> list[int]:
        """Through the second tokenizer: marks are control tokens, control strings are text."""
        text = self._all.sub(lambda found: chr(MARK + self._number[found[0]]), text)
        text = _PRIVATE.sub(self._shown, text)
        ids = ids_of(self._literal, text)
        # The model of some tokenizers knows control strings as words.
        spelt = {token: self._letter_by_letter(token) for token in self._ids.intersection(ids)}
        return [part for token in ids for part in spelt.get(token) or [self._meant.get(token, token)]]

    def _shown(self, found: "re.Match[str]") -> str:
        number = ord(found[0]) - HIDDEN
        return self._controls[number].text if number >= 0 else found[0]

    def _letter_by_letter(self, token: int) -> list[int]:
        text = next(control.text for control in self._controls if control.id == token)
        spelt = [part for letter in text for part in ids_of(self._literal, letter)]
        return [part for part in spelt if part not in self._ids]

    def _second(self) -> Tokenizer:
        """The same tokenizer, to which control strings are text, and the marks what control strings were."""
        told = json.loads(self._tokenizer.to_str())
        for token in told["added_tokens"]:
            token["special"] = token["special"] or token["content"] in self._number
        literal = Tokenizer.from_str(json.dumps(told))
        literal.encode_special_tokens = True
        marks = enumerate(control.flags | {"normalized": False} for control in self._controls)
        literal.add_tokens([AddedToken(chr(MARK + number), special=False, **flags) for number, flags in marks])
        return literal


def _turn_marks(contract: Contract, controls: "re.Pattern[str]") -> "re.Pattern[str]":
    """What this template writes between turns in plain text: brackets wherever they stand, other marks at the start of a line."""
    anywhere, at_start = set(), set()
    for piece in _between(contract):
        for line in controls.sub("\n", piece).splitlines():
            for mark in (line.strip(), *line.split()):
                if not 3 <= len(mark) <= 40 or not re.search("[A-Za-z]", mark):
                    continue
                if mark[0] in "[<{|" and mark[-1] in "]>}|":
                    anywhere.add(mark)
                elif mark == line.strip() and (mark[0] == "#" or mark[-1] == ":") and len(mark.split()) <= 3:
                    at_start.add(mark)
    found = [rf"^[^\S\n]*(?:{any_of(at_start).pattern})"] if at_start else []
    found += [any_of(anywhere).pattern] if anywhere else []
    return re.compile("|".join(found) or r"(?!)", re.MULTILINE)


def _between(contract: Contract) -> list[str]:
    """The template's own words, found by rendering a conversation and taking out what was said."""
    contract = replace(contract, system_prompt=None)
    said = [("system", "\ue000"), ("user", "\ue001"), ("assistant", "\ue002"), ("user", "\ue003")]
    for turns in (said, said[1:]):
        try:
            messages = [{"role": role, "content": text} for role, text in turns]
            return re.split("[\ue000-\ue004]", contract.render(messages, context="\ue004"))
        except (TemplateError, ValueError):  # it knows no system role
            continue
    return []


def _spaced(mark: str) -> str:
    """'### User:' -> '### User :', '[INST]' -> '[ INST]'."""
    if mark.endswith(":"):
        return mark[:-1] + " :"
    at = len(mark) - len(mark.lstrip()) + 1
    return mark[:at] + " " + mark[at:]
