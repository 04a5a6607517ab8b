"""Continuous batching: requests join and leave at every step, and each gets one token per step.

One thread calls `step`; `submit` and `cancel` may be called from any. The slots [0, decoding) hold requests that answer; the
one after them holds the request whose prompt is being read, a chunk per step, so that a long prompt does not stall the others.
"""

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from backends.serving.contract import Contract
from backends.serving.decoder import Decoder, cores
from backends.serving.sampling import Sampling, log_chances
from backends.serving.text import TextStream
from llmspec.errors import CallError

DEFAULT_LENGTH = 2048
"""Tokens of prompt and answer together, where the caller names no limit and the model could take more."""
Finish = Literal["stop", "length", "cancelled"]


class PromptError(CallError):
    """A prompt that cannot be answered: too long, empty, or not of this vocabulary."""


@dataclass(frozen=True)
class Stats:
    """How the engine does, for who looks on from outside. Counts are since it began."""

    running: int = 0
    waiting: int = 0
    slots: int = 0
    kv_tokens_used: int = 0
    kv_tokens_total: int = 0
    prefix_tokens_asked: int = 0
    """Prompt tokens looked up in the prefix cache."""
    prefix_tokens_hit: int = 0
    tokens_drafted: int = 0
    """Tokens guessed ahead."""
    tokens_accepted: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Answer:
    """What came out."""

    ids: list[int]
    """Every token made, also the one that ended it."""
    text: str
    """Without special tokens and without the stop text."""
    finish: Finish


class Generation:
    """One request on its way. `text`, `ids` and `finish` may be read from any thread: they only grow."""

    def __init__(self, prompt: list[int], sampling: Sampling, stream: TextStream):
        self.prompt, self.sampling, self._stream = prompt, sampling, stream
        self.chooser = sampling.chooser(prompt)
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self.ending: Finish | None = None
        """How it shall end at the next step, when somebody asked for that."""
        self.read = 0
        """Tokens in its slot's memory."""
        self.submitted = time.monotonic()
        self.first_token: float | None = None
        """Seconds from submission to the first token."""
        self.queued: float | None = None
        """Seconds from submission until a slot was free."""
        self.gaps: list[float] = []
        """Seconds from each token to the next."""
        self._last = 0.0

    @property
    def text(self) -> str:
        return self._stream.text

    def take(self, token: int, stop_ids: frozenset[int], room: int) -> None:
        """One more token: is it the last?"""
        now = time.monotonic()
        if self.first_token is None:
            self.first_token = now - self.submitted
        else:
            self.gaps.append(now - self._last)
        self._last = now
        self.ids.append(token)
        if token in stop_ids:
            self.end("stop")
            return
        self._stream.push(token)
        if self._stream.stopped or self.chooser.done:
            self.end("stop")
        elif len(self.ids) >= min(self.sampling.max_tokens, room):
            self.end("length")

    def end(self, finish: Finish) -> None:
        self._stream.finish()
        self.finish = "stop" if self._stream.stopped else finish

    def answer(self) -> Answer:
        assert self.finish is not None
        return Answer(list(self.ids), self.text, self.finish)


class Engine:
    """An onnx artifact, ready to answer."""

    def __init__(self, folder: Path, slots: int = 16, max_len: int | None = None, threads: int | None = None):
        self.contract = Contract.load(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.decoder = Decoder(folder, slots, max_len or DEFAULT_LENGTH, threads or cores())
        self.slots, self.max_len = slots, self.decoder.max_len
        self._stop_ids = frozenset(self.contract.stop_ids)
        self._waiting: deque[Generation] = deque()
        self._active: list[Generation] = []
        """In the order of their slots; the last may still be reading its prompt."""
        self._lengths = np.zeros(slots, np.int64)
        self._steps = 0

    # asking

    def encode(self, text: str) -> list[int]:
        """Rendered text -> tokens. The contract's template has already written the special ones."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def check(self, prompt: list[int]) -> None:
        if not prompt:
            raise PromptError("the prompt is empty")
        if len(prompt) >= self.max_len:
            raise PromptError(
                f"the prompt has {len(prompt):,} tokens and the model takes {self.max_len:,} with the answer: shorten it"
            )
        if not 0 <= min(prompt) <= max(prompt) < self.decoder.vocab_size:
            raise PromptError(f"the prompt has tokens outside the vocabulary of {self.decoder.vocab_size:,}")

    def submit(self, prompt: list[int], sampling: Sampling) -> Generation:
        """Queue a request; it joins at the next step that has a free slot."""
        self.check(prompt)
        # A stop text within JSON would cut it: the grammar knows the end by itself.
        stops = () if sampling.grammar else (*self.contract.stop_texts, *sampling.stop)
        stream = TextStream(self.tokenizer, stops)
        generation = Generation(prompt, sampling, stream)
        self._waiting.append(generation)
        return generation

    def cancel(self, generation: Generation, finish: Finish = "cancelled") -> None:
        """End it at the next step, with what it has."""
        generation.ending = finish

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        return len(self._active)

    @property
    def stats(self) -> Stats:
        """May be read from any thread."""
        used = sum(item.read + len(item.ids) for item in list(self._active))
        return Stats(
            running=self.num_active,
            waiting=self.num_waiting,
            slots=self.slots,
            kv_tokens_used=used,
            kv_tokens_total=self.slots * self.max_len,
            steps=self._steps,
        )

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._active)

    def generate(self, prompts: list[list[int]], max_tokens: int, **sampling: Any) -> list[Answer]:
        """All the answers, in order; each as if it had been asked alone."""
        generations = [self.submit(prompt, Sampling(max_tokens, **sampling)) for prompt in prompts]
        while any(generation.finish is None for generation in generations):
            self.step()
        return [generation.answer() for generation in generations]

    def logprobs(self, sequences: list[list[int]]) -> list["np.ndarray[Any, Any]"]:
        """For each sequence of n tokens, the n - 1 values log p(token | tokens before it)."""
        assert not self._active, "log p is read while nobody is being answered: it uses their memory"
        return [self._logprobs(np.asarray(sequence, np.int64)) for sequence in sequences]

    def _logprobs(self, sequence: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        if len(sequence) > self.max_len:
            raise PromptError(f"the sequence has {len(sequence):,} tokens and the engine was made for {self.max_len:,}")
        found = [np.zeros(0)]
        for start in range(0, len(sequence) - 1, self.decoder.chunk):
            tokens = sequence[start : min(start + self.decoder.chunk, len(sequence) - 1)]
            logits = self.decoder.forward(0, tokens[None, :], np.array([start + len(tokens)]))
            found.append(log_chances(logits, sequence[start + 1 : start + 1 + len(tokens)]))
        return np.concatenate(found)

    # answering

    def step(self) -> list[Generation]:
        """Read some prompt, give everyone who answers one token, and say who has news."""
        self._steps += 1
        news = self._sweep()
        news += self._prefill()
        news += self._decode()
        return news

    def _sweep(self) -> list[Generation]:
        """Those who were cancelled leave."""
        gone = [item for item in [*self._waiting, *self._active] if item.ending]
        for item in gone:
            item.end(item.ending or "cancelled")
            if item in self._active:
                self._release(self._active.index(item))
            else:
                self._waiting.remove(item)
        return gone

    def _prefill(self) -> list[Generation]:
        """About one chunk of tokens, of one long prompt or of several short ones.

        A prompt is cut at the same places whatever else is asked, so that its answer is the same too.
        """
        done, answered = 0, []
        while done < self.decoder.chunk and (joining := self._joining()):
            slot = len(self._active) - 1
            tokens = np.asarray(joining.prompt[joining.read : joining.read + self.decoder.chunk], np.int64)
            joining.read += len(tokens)
            done += len(tokens)
            scored = joining.sampling.prompt_logprobs is not None
            wanted = None if scored else np.array([len(tokens) - 1])
            logits = self.decoder.forward(slot, tokens[None, :], np.array([joining.read]), wanted)
            if scored:
                following = joining.prompt[joining.read - len(tokens) + 1 : joining.read + 1]
                joining.chooser.score(logits[: len(following)], np.asarray(following))
            if joining.read == len(joining.prompt):
                self._lengths[slot] = joining.read
                answered.append(joining)
                self._give(slot, logits[-1])
        return answered

    def _joining(self) -> Generation | None:
        """Whoever is reading its prompt; else the next who waits, when a slot is free."""
        if self._active and not self._active[-1].ids:
            return self._active[-1]
        if self._waiting and len(self._active) < self.slots:
            self._active.append(self._waiting.popleft())
            self._active[-1].queued = time.monotonic() - self._active[-1].submitted
            return self._active[-1]
        return None

    def _decode(self) -> list[Generation]:
        decoding = [item for item in self._active if item.ids]
        if not decoding:
            return []
        rows = len(decoding)
        self._lengths[:rows] += 1
        tokens = np.array([[item.ids[-1]] for item in decoding], np.int64)
        logits = self.decoder.forward(0, tokens, self._lengths[:rows])
        for slot in reversed(range(rows)):  # from the last: a slot that is released is filled from behind
            self._give(slot, logits[slot])
        return decoding

    def _give(self, slot: int, logits: "np.ndarray[Any, Any]") -> None:
        item = self._active[slot]
        if item.sampling.max_tokens:
            item.take(item.chooser.next(logits), self._stop_ids, room=self.max_len - len(item.prompt))
        else:
            item.end("length")
        if item.finish:
            self._release(slot)

    def _release(self, hole: int) -> None:
        """Fill the hole with the last who answers, and that one's with whoever reads its prompt."""
        answering = sum(1 for item in self._active if item.ids)
        for source in (answering - 1, len(self._active) - 1):
            if source > hole:
                moved = self._active[source]
                self.decoder.move(source, hole, int(self._lengths[source]) if moved.ids else moved.read)
                self._active[hole], self._lengths[hole] = moved, self._lengths[source]
                hole = source
        self._active.pop()
