"""Continuous batching: requests join and leave at every step, and each gets one token per step.

One thread calls `step`; `submit` and `cancel` may be called from any. A step reads some prompt, as much as those who are being
answered will not notice, and then gives each of them a token.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from backends.serving.contract import Contract
from backends.serving.decoder import Decoder, cores
from backends.serving.fair_queue import FairQueue
from backends.serving.generation import Answer, Finish, Generation
from backends.serving.prefix import PrefixCache
from backends.serving.sampling import Sampling, log_chances
from backends.serving.seats import Seats
from backends.serving.stats import Stats
from backends.serving.tempo import LEAST, Tempo
from backends.serving.text import TextStream
from llmspec.errors import CallError

__all__ = ["Answer", "Engine", "Finish", "Generation", "PromptError", "Stats"]
DEFAULT_LENGTH = 2048
"""Tokens of prompt and answer together, where the caller names no limit and the model could take more."""
WARM = 4
"""Tokens of the first answer, which nobody reads."""


class PromptError(CallError):
    """A prompt that cannot be answered: too long, empty, or not of this vocabulary."""


class Engine:
    """An onnx artifact, ready to answer."""

    def __init__(
        self,
        folder: Path,
        slots: int = 16,
        max_len: int | None = None,
        threads: int | None = None,
        *,
        memory: int | None = None,
        prefix_cache: bool = True,
    ):
        self.contract = Contract.load(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.decoder = Decoder(folder, slots, max_len or DEFAULT_LENGTH, threads or cores(), memory, prefix_cache)
        self.slots, self.max_len = self.decoder.slots, self.decoder.max_len
        self.prefix = PrefixCache(self.decoder, self.decoder.room.prefix)
        self._stop_ids = frozenset(self.contract.stop_ids)
        self._waiting: FairQueue[Generation] = FairQueue()
        self._seats = Seats(self.decoder)
        self._reading: Generation | None = None
        """Whose prompt is half read."""
        self._tempo = Tempo()
        self._any_ending = False
        self._steps = self._drafted = self._accepted = 0

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

    def submit(self, prompt: list[int], sampling: Sampling, client: str = "") -> Generation:
        """Queue a request; it joins at a step that has a free slot, when it is its client's turn."""
        self.check(prompt)
        # A stop text within JSON would cut it: the grammar knows the end by itself.
        stops = () if sampling.grammar else (*self.contract.stop_texts, *sampling.stop)
        stream = TextStream(self.tokenizer, stops)
        generation = Generation(prompt, sampling, stream, client)
        self._waiting.push(client, generation)
        return generation

    def cancel(self, generation: Generation, finish: Finish = "cancelled") -> None:
        """End it at the next step, with what it has."""
        generation.ending = finish
        self._any_ending = True

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        return len(self._seats)

    @property
    def busy(self) -> bool:
        return len(self._waiting) > 0 or len(self._seats) > 0

    @property
    def stats(self) -> Stats:
        return Stats(
            running=self.num_active,
            waiting=self.num_waiting,
            slots=self.slots,
            kv_tokens_used=int(self._seats.lengths.sum()) + self.prefix.tokens,
            kv_tokens_total=self.slots * self.max_len + self.prefix.most_tokens,
            prefix_tokens_asked=self.prefix.asked,
            prefix_tokens_hit=self.prefix.hit,
            tokens_drafted=self._drafted,
            tokens_accepted=self._accepted,
            steps=self._steps,
        )

    def expected_wait(self, client: str = "") -> float:
        """Seconds until a request that this client brings now would get a slot, as the last answers went."""
        if self.num_active + self.num_waiting < self.slots:
            return 0.0
        ahead = self._waiting.ahead(client)
        longest = max((item.sampling.max_tokens for item in (*self._seats, *ahead)), default=0)
        return self._tempo.wait(len(ahead), self.slots, longest)

    def warm_up(self) -> None:
        """A first answer. It tells how long a step takes, and so the first who come in numbers how long they would wait."""
        prompt = self.encode(self.contract.render([{"role": "user", "content": "Hello"}]))
        self.generate([prompt[: max(1, self.max_len - WARM)]], max_tokens=WARM)
        self._tempo.begin()

    def generate(self, prompts: list[list[int]], max_tokens: int, **sampling: Any) -> list[Answer]:
        """All the answers, in order; each as if it had been asked alone."""
        generations = [self.submit(prompt, Sampling(max_tokens, **sampling)) for prompt in prompts]
        while any(generation.finish is None for generation in generations):
            self.step()
        return [generation.answer() for generation in generations]

    def logprobs(self, sequences: list[list[int]]) -> list["np.ndarray[Any, Any]"]:
        """For each sequence of n tokens, the n - 1 values log p(token | tokens before it)."""
        assert not len(self._seats), "log p is read while nobody is being answered: it uses their memory"
        return [self._logprobs(sequence) for sequence in sequences]

    def _logprobs(self, sequence: list[int]) -> "np.ndarray[Any, Any]":
        if len(sequence) > self.max_len:
            raise PromptError(f"the sequence has {len(sequence):,} tokens and the engine was made for {self.max_len:,}")
        found = [np.zeros(0)]
        for start in range(0, len(sequence) - 1, self.decoder.chunk):
            end = min(start + self.decoder.chunk, len(sequence) - 1)
            logits = self.decoder.read(0, sequence, start, end, every=True)
            found.append(log_chances(logits, np.asarray(sequence[start + 1 : end + 1])))
        return np.concatenate(found)

    # answering

    def step(self) -> list[Generation]:
        """Read some prompt, give everyone who answers one token, and say who has news."""
        return [item for news in self.halves() for item in news]

    def halves(self) -> Iterator[list[Generation]]:
        """The same, but those whose answers begin are said before the others' tokens are computed."""
        self._steps += 1
        yield self._sweep() + self._read()
        yield self._decode()

    def _sweep(self) -> list[Generation]:
        """Those who were cancelled leave."""
        if not self._any_ending:
            return []
        self._any_ending = False
        waiting = [item for item in self._waiting.items() if item.ending]
        seated = [item for item in self._seats if item.ending]
        for item in waiting:
            self._waiting.remove(item)
        for item in waiting + seated:
            item.end(item.ending or "cancelled")
            self._leave(item)
        return waiting + seated

    # reading prompts

    def _read(self) -> list[Generation]:
        """Pieces of prompts, until it is time for the next tokens. Returns those whose answers or turns have begun."""
        answering = len(self._seats.answering)
        left = self._tempo.tokens(self.decoder.chunk, answering, self.num_waiting + (self._reading is not None))
        begun: list[Generation] = []
        worth = min(left, LEAST)
        while left >= worth and (group := [self._reading] if self._reading else self._join(left)):
            started = time.perf_counter()
            tokens = self._read_piece(group[0], left, begun) if len(group) == 1 else self._read_group(group, begun)
            self._tempo.read(tokens, time.perf_counter() - started)
            left -= tokens
        return begun

    def _join(self, most: int) -> list[Generation]:
        """The next who waits gets a slot; when its prompt is short and new, others like it are read along with it."""
        free = self._seats.free()
        if not free or not self._waiting.peek():
            return []
        first = self._seat(free[0])
        if first.sampling.prompt_logprobs is None:
            first.read = first.reused = self.prefix.load(first.slot, first.prompt, first.chain)
        group, width = [first], _even(len(first.prompt))
        if first.reused or first.sampling.prompt_logprobs is not None:
            return group
        for slot in free[1:]:
            other = self._waiting.peek()
            if not other or other.sampling.prompt_logprobs is not None or self.prefix.knows(other.chain):
                break
            width = max(width, _even(len(other.prompt)))
            if width * (len(group) + 1) > most:
                break
            self.prefix.miss(other.prompt)
            group.append(self._seat(slot))
        return group

    def _seat(self, slot: int) -> Generation:
        item = self._waiting.pop()
        self._seats.take(slot, item)
        item.joined = time.monotonic()
        return item

    def _read_piece(self, item: Generation, most: int, begun: list[Generation]) -> int:
        start, end = item.read, min(item.read + most, len(item.prompt))
        scored = item.sampling.prompt_logprobs is not None
        logits = self.decoder.read(item.slot, item.prompt, start, end, every=scored)
        if scored:
            following = np.asarray(item.prompt[start + 1 : end + 1])
            item.chooser.score(logits[: len(following)], following)
        item.read = end
        self.prefix.keep(item.slot, item.chain, start, end)
        self._seats.lengths[item.slot] = end
        self._reading = None if item.answering else item
        if item.answering:
            self._begin(item, logits[-1], begun)
        elif start == item.reused:
            begun.append(item)
        return end - start

    def _read_group(self, group: list[Generation], begun: list[Generation]) -> int:
        logits = self.decoder.read_together(group[0].slot, [item.prompt for item in group])
        for item, row in zip(group, logits, strict=True):
            item.read = len(item.prompt)
            self.prefix.keep(item.slot, item.chain, 0, item.read)
            self._seats.lengths[item.slot] = item.read
            self._begin(item, row, begun)
        return len(group) * _even(max(len(item.prompt) for item in group))

    def _begin(self, item: Generation, logits: "np.ndarray[Any, Any]", begun: list[Generation]) -> None:
        """The prompt has been read: the answer's first token."""
        begun.append(item)
        if item.sampling.max_tokens == 0:
            item.end("length")
            self._leave(item)
        else:
            self._give(item, logits)

    # making answers

    def _decode(self) -> list[Generation]:
        self._seats.close_gaps()
        answering = self._seats.answering
        if not answering:
            return []
        started = time.perf_counter()
        draft = self._guess(answering[0]) if len(answering) == 1 else []
        if draft:
            self._verify(answering[0], draft)
        else:
            self._advance(answering)
            self._tempo.stepped(time.perf_counter() - started)
        return answering

    def _advance(self, answering: list[Generation]) -> None:
        """One token for each."""
        slots = np.array([item.slot for item in answering])
        rows = int(slots[-1]) + 1
        logits = self.decoder.forward(0, self._seats.last[:rows], self._seats.lengths[:rows] + 1, slots)
        self._seats.lengths[slots] += 1
        for item, row in zip(answering, logits, strict=True):
            self._give(item, row)

    def _give(self, item: Generation, logits: "np.ndarray[Any, Any]") -> int:
        token = int(logits.argmax()) if item.sampling.plain else item.chooser.next(logits)
        self._seats.last[item.slot] = token
        item.take(token, self._stop_ids, room=self.max_len - len(item.prompt))
        if item.finish:
            self._leave(item)
        return token

    def _guess(self, item: Generation) -> list[int]:
        """What one who is answered alone may say next."""
        if not self.decoder.guessable or not item.sampling.plain:
            return []
        room = min(item.sampling.max_tokens, self.max_len - len(item.prompt)) - len(item.ids)
        return item.drafts.guess(room - 1) if room > 1 else []

    def _verify(self, item: Generation, draft: list[int]) -> None:
        """Several tokens in one go: each is chosen as ever, and the first that was guessed wrong ends it."""
        slot, length = item.slot, int(self._seats.lengths[item.slot])
        tokens = np.array([[int(self._seats.last[slot, 0]), *draft]])
        logits = self.decoder.forward(slot, tokens, np.array([length + tokens.shape[1]]))
        given = 0
        for row, guessed in zip(logits, [*draft, None], strict=True):
            self._seats.lengths[slot] = length + given + 1
            token = self._give(item, row)
            if token != guessed or item.finish:
                break
            given += 1
        item.drafts.judge(given)
        self._drafted += len(draft)
        self._accepted += given

    def _leave(self, item: Generation) -> None:
        if item.slot < 0:
            return
        if item.joined is not None and item.finish != "cancelled":
            self._tempo.answered(time.monotonic() - item.joined)
        if item is self._reading:
            self._reading = None
        self._seats.leave(item)


def _even(number: int) -> int:
    return number + number % 2
