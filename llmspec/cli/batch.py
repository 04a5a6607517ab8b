"""Ask many questions from a file: OpenAI's batch lines in, and out, in the same order. Killed or stopped, it goes on where it was.

Asks the live endpoint. When none is live, the release that should be is brought up apart, for as long as the batch lasts.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmspec.batch import Batch, Tally
from llmspec.batch_client import Asker
from llmspec.cli.common import target_option
from llmspec.client import key_in
from llmspec.errors import CallError, PlaceError
from llmspec.present import count, seconds
from llmspec.release import Release
from llmspec.spec.endpoint import Limits
from llmspec.stage import Product

PLAIN_EVERY_SECONDS = 5.0


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    parser.add_argument("asked", metavar="IN", type=Path, help="the requests: JSON lines with custom_id, method, url and body")
    parser.add_argument("answers", metavar="OUT", type=Path, help="the answers; what is there already is not asked again")
    parser.add_argument(
        "--at-once", type=int, metavar="N", help="how many at the same time; the endpoint's concurrency when absent"
    )
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    release = product.releases.live()
    if release is None:
        raise PlaceError(f"{product.name} is not live; bring it up with: llmspec apply {product.loaded.as_typed}")
    at_once = args.at_once if args.at_once is not None else Limits.model_validate(release.serving["limits"]).concurrency
    if at_once < 1:
        raise CallError("--at-once needs to be at least 1")
    progress = Progress()
    batch = Batch(args.asked, args.answers, at_once, progress.see)
    tally = batch.run(lambda: answering(product, release))
    progress.close(tally, args.answers)
    return 1 if tally.failed else 0


@contextmanager
def answering(product: Product, release: Release) -> Iterator[Asker]:
    """Asks what is live; else the live release, apart."""
    place = product.place("endpoint")
    live = place.live(product.name, product.target)
    if live:
        yield Asker(live.url, key_in(os.environ), live.certificate, place.headers(live), place.call(live))
        return
    print(f"No endpoint is up: release {release.number} answers for this batch only.", file=sys.stderr)
    with place.apart(release) as url:
        yield Asker(url)


class Progress:
    """One line on stderr that moves; where nobody looks, a line every few seconds."""

    def __init__(self) -> None:
        self._moving, self._began, self._said = sys.stderr.isatty(), time.monotonic(), 0.0

    def see(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._said > (0.2 if self._moving else PLAIN_EVERY_SECONDS):
            self._said = now
            print(f"\r\x1b[K  {self._line(tally)}" if self._moving else f"  {self._line(tally)}", end="", file=sys.stderr)
            print("" if self._moving else "\n", end="", file=sys.stderr, flush=True)

    def _line(self, tally: Tally) -> str:
        """'412/1,000 lines · 38.1 lines/s · 1,204 tokens/s · 15 s left · 2 failed'."""
        took, asked = max(time.monotonic() - self._began, 1e-9), tally.done - tally.found
        parts = [f"{tally.done:,}/{tally.total:,} lines"]
        if asked:
            parts += [f"{asked / took:,.1f} lines/s", f"{tally.tokens / took:,.0f} tokens/s"]
            parts += [f"{seconds((tally.total - tally.done) * took / asked)} left"]
        return " · ".join(parts + ([f"{tally.failed:,} failed"] if tally.failed else []))

    def close(self, tally: Tally, answers: Path) -> None:
        if self._moving:
            print("\r\x1b[K", end="", file=sys.stderr)
        found = f", {tally.found:,} of them by an earlier run" if tally.found else ""
        failed = f"; {tally.failed:,} failed, with the reason in the line" if tally.failed else ""
        took = seconds(time.monotonic() - self._began)
        print(f"{answers}: {count(tally.done, 'line')} answered in {took}{found}{failed}", file=sys.stderr)
