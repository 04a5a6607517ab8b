"""Counters of this worker, as Prometheus reads them."""

from bisect import bisect_left
from collections import defaultdict

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """How often a value fell into each range of seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(SECONDS, value)] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        below, said = 0, [f"# TYPE {name} histogram"]
        for bound, count in zip([*map(str, SECONDS), "+Inf"], self.counts, strict=True):
            below += count
            said.append(f'{name}_bucket{{le="{bound}"}} {below}')
        return [*said, f"{name}_sum {self.total:.6f}", f"{name}_count {below}"]


class Metrics:
    """What happened since this worker began. Touched on the event loop only."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = defaultdict(int)
        self.tokens = {"prompt": 0, "answer": 0}
        self.seconds, self.first_token = Histogram(), Histogram()

    def count(self, path: str, status: int, seconds: float, prompt: int, answer: int, first_token: float | None) -> None:
        self.requests[path, status] += 1
        self.tokens["prompt"] += prompt
        self.tokens["answer"] += answer
        self.seconds.observe(seconds)
        if first_token is not None:
            self.first_token.observe(first_token)

    def text(self, **gauges: float) -> str:
        said = ["# TYPE llmspec_requests_total counter"]
        said += [
            f'llmspec_requests_total{{path="{path}",status="{status}"}} {number}'
            for (path, status), number in sorted(self.requests.items())
        ]
        said.append("# TYPE llmspec_tokens_total counter")
        said += [f'llmspec_tokens_total{{kind="{kind}"}} {number}' for kind, number in self.tokens.items()]
        for name, value in gauges.items():
            said += [f"# TYPE llmspec_{name} gauge", f"llmspec_{name} {value:g}"]
        said += self.seconds.lines("llmspec_request_seconds") + self.first_token.lines("llmspec_first_token_seconds")
        return "\n".join(said) + "\n"
