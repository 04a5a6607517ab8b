"""What this worker did, as Prometheus reads it: under vLLM's names, so that its dashboards and autoscalers fit, and under ours.

Touched on the event loop only. Whoever scrapes gets tokens up to this moment, also those of answers that are still being made.
"""

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from backends.serving.record import Record
from backends.serving.stats import Stats
from llmspec.release import Release

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUICK = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
"""Seconds to a first token, or to the next one. vLLM's bounds, so that one dashboard's quantiles fit both."""
LONG = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
"""Seconds of a whole request: vLLM's bounds, and finer ones below, as small models answer in less."""
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
REASONS = {"cancelled": "abort"}
"""Our word for how an answer ended: vLLM's, where it has another."""
Labels = Mapping[str, object]


class Histogram:
    """How often a value fell into each range."""

    def __init__(self, bounds: tuple[float, ...]):
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """Since this worker began; a scraper sees a new release as a counter that starts again."""

    def __init__(self, release: Release):
        self._release, self._since = release, time.time()
        self._live: set[Record] = set()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.blocks: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.ratings: Counter[str] = Counter()
        self._finished: Counter[str] = Counter({"stop": 0, "length": 0, "abort": 0, "content_filter": 0})
        self._tokens = (0, 0)
        self._histograms = {
            "time_to_first_token_seconds": ("From a request's arrival to its first token.", Histogram(QUICK)),
            "inter_token_latency_seconds": ("From one token of an answer to the next.", Histogram(QUICK)),
            "request_time_per_output_token_seconds": ("An answer's mean time per token after the first.", Histogram(QUICK)),
            "e2e_request_latency_seconds": ("From a request's arrival to its answer's end.", Histogram(LONG)),
            "request_queue_time_seconds": ("How long a request waited for a slot.", Histogram(LONG)),
            "request_prompt_tokens": ("Tokens of a request's prompts.", Histogram(TOKENS)),
            "request_generation_tokens": ("Tokens of a request's answers.", Histogram(TOKENS)),
        }

    def begin(self, record: "Record") -> None:
        self._live.add(record)

    def end(self, record: "Record", path: str) -> None:
        """What came of a request. The path is one of few, whatever strangers ask for: each is a series for ever."""
        self._live.discard(record)
        self.requests[path, record.status] += 1
        self.blocks.update([record.guard] if record.guard else [])
        self.found.update(record.found)
        self.ratings.update([record.rating] if record.rating else [])
        self._finished.update(REASONS.get(reason, reason) for reason in record.reasons)
        prompt, answer = _tokens_of(record)
        self._tokens = (self._tokens[0] + prompt, self._tokens[1] + answer)
        if prompt or any(made.joined is not None for made in record.made):
            self._measure(record, prompt, answer)

    def _measure(self, record: "Record", prompt: int, answer: int) -> None:
        seen: dict[str, Iterable[float]] = {
            "time_to_first_token_seconds": [] if record.first_token_seconds is None else [record.first_token_seconds],
            "inter_token_latency_seconds": (gap for made in record.made for gap in made.gaps),
            "request_time_per_output_token_seconds": (sum(m.gaps) / len(m.gaps) for m in record.made if m.gaps),
            "e2e_request_latency_seconds": [record.seconds],
            "request_queue_time_seconds": [made.queued for made in record.made if made.queued is not None],
            "request_prompt_tokens": [prompt],
            "request_generation_tokens": [answer],
        }
        for name, values in seen.items():
            for value in values:
                self._histograms[name][1].observe(value)

    def text(self, stats: Stats, journal_lost: int = 0) -> str:
        """The whole page."""
        return "\n".join([*self._vllm(stats), *self._ours(stats), *_journal(journal_lost), *_process(self._since)]) + "\n"

    def _vllm(self, stats: Stats) -> Iterator[str]:
        labels = {"model_name": self._release.spec, "engine": "0"}
        running = [_tokens_of(record) for record in self._live]
        prompt, answer = (self._tokens[side] + sum(tokens[side] for tokens in running) for side in (0, 1))
        used = stats.kv_tokens_used / stats.kv_tokens_total if stats.kv_tokens_total else 0.0
        gauges = {
            "num_requests_running": ("Requests being answered.", stats.running),
            "num_requests_waiting": ("Requests that wait for a slot.", stats.waiting),
            "kv_cache_usage_perc": ("Share of the key-value memory that is in use, from 0 to 1.", used),
        }
        counters = {
            "prefix_cache_queries_total": ("Prompt tokens looked up in the prefix cache.", stats.prefix_tokens_asked),
            "prefix_cache_hits_total": ("Prompt tokens found there.", stats.prefix_tokens_hit),
            "prompt_tokens_total": ("Prompt tokens read.", prompt),
            "generation_tokens_total": ("Tokens generated.", answer),
            "spec_decode_num_draft_tokens_total": ("Tokens guessed ahead.", stats.tokens_drafted),
            "spec_decode_num_accepted_tokens_total": ("Guessed tokens that were right.", stats.tokens_accepted),
        }
        for kind, families in (("gauge", gauges), ("counter", counters)):
            for name, (about, value) in families.items():
                yield from _family(f"vllm:{name}", kind, about, [(labels, value)])
        ended = [(labels | {"finished_reason": reason}, number) for reason, number in self._finished.items()]
        yield from _family("vllm:request_success_total", "counter", "Answers by how they ended.", ended)
        for name, (about, histogram) in self._histograms.items():
            yield from _distribution(f"vllm:{name}", about, histogram, labels)

    def _ours(self, stats: Stats) -> Iterator[str]:
        release = self._release
        info = {"spec": release.spec, "target": release.target, "release": release.number, "artifact": release.artifact_key}
        yield from _family("llmspec_release_info", "gauge", "What is served.", [(info, 1)])
        yield from _family("llmspec_release", "gauge", "The number of the release that is served.", [({}, release.number)])
        yield from _family("llmspec_running", "gauge", "Requests being answered.", [({}, stats.running)])
        yield from _family("llmspec_waiting", "gauge", "Requests that wait.", [({}, stats.waiting)])
        yield from _family("llmspec_slots", "gauge", "Requests that can be answered at the same time.", [({}, stats.slots)])
        yield from _family("llmspec_steps_total", "counter", "Runs of the model.", [({}, stats.steps)])
        asked = [({"path": path, "status": status}, number) for (path, status), number in sorted(self.requests.items())]
        yield from _family("llmspec_requests_total", "counter", "HTTP requests by path and status.", asked)
        blocked = [({"guard": guard}, number) for guard, number in sorted(self.blocks.items())]
        yield from _family("llmspec_guard_blocks_total", "counter", "Requests that a guard blocked.", blocked)
        found = [({"guard": guard}, number) for guard, number in sorted(self.found.items())]
        yield from _family("llmspec_guard_found_total", "counter", "Requests in which a guard masked or noted something.", found)
        rated = [({"rating": rating}, number) for rating, number in sorted(self.ratings.items())]
        yield from _family("llmspec_feedback_total", "counter", "What people said of answers.", rated)


def _tokens_of(record: "Record") -> tuple[int, int]:
    """Prompt and answer as far as they were really read and made. Never less than a moment ago: a counter only grows."""
    if not record.made:
        return (record.prompt_tokens, 0) if record.status == 200 and not record.stopped else (0, 0)
    begun = [made for made in record.made if made.joined is not None]
    read = [made for made in begun if made.tokens_made or made.finish in ("stop", "length")]
    return sum(made.tokens_read for made in read), sum(made.tokens_made for made in read)


def _journal(lost: int) -> Iterator[str]:
    yield from _family("llmspec_journal_lost_total", "counter", "Lines of the journal that could not be written.", [({}, lost)])


def _process(since: float) -> Iterator[str]:
    """The few that every Prometheus client library has, where the kernel says them."""
    times = os.times()
    yield from _family("process_start_time_seconds", "gauge", "When it started, in Unix time.", [({}, round(since, 3))])
    yield from _family("process_cpu_seconds_total", "counter", "Processor time.", [({}, times.user + times.system)])
    statm = Path("/proc/self/statm")
    if statm.exists():
        resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        yield from _family("process_resident_memory_bytes", "gauge", "Memory in RAM.", [({}, resident)])
        yield from _family("process_open_fds", "gauge", "Open files.", [({}, sum(1 for _ in Path("/proc/self/fd").iterdir()))])


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{_written(labels)} {value:.10g}"


def _distribution(name: str, about: str, histogram: Histogram, labels: Labels) -> Iterator[str]:
    yield from _family(name, "histogram", about, [])
    below = 0
    for bound, count in zip([*map(str, map(float, histogram.bounds)), "+Inf"], histogram.counts, strict=True):
        below += count
        yield f"{name}_bucket{_written({**labels, 'le': bound})} {below}"
    yield f"{name}_sum{_written(labels)} {histogram.total:.10g}"
    yield f"{name}_count{_written(labels)} {below}"


def _written(labels: Labels) -> str:
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
    return "{" + ",".join(f'{name}="{str(value).translate(escapes)}"' for name, value in labels.items()) + "}" if labels else ""
