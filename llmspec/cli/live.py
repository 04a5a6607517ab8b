"""Progress in the terminal: one line per stage remains, the running one moves. Not a terminal: plain lines, one per event."""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llmspec.plan import Plan
from llmspec.present import coloured, seconds
from llmspec.progress import Event
from llmspec.stage import Product

if TYPE_CHECKING:
    from llmspec.apply import Outcome

PLAIN_EVERY_SECONDS = 5.0


class Display:
    """Hears events and draws them."""

    def __init__(self, product: Product, plan: Plan):
        self.product, self.plan = product, plan
        self.moving = sys.stdout.isatty()
        self._lock = threading.Lock()
        self._running: tuple[str, float] | None = None
        self._said = 0.0
        self._short: dict[str, list[str]] = {}
        self._now: dict[str, Any] = {}
        self._ended = threading.Event()

    def __enter__(self) -> "Display":
        if self.moving:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._clear()

    def hear(self, event: Event) -> None:
        with self._lock:
            getattr(self, f"_{event.kind}")(event)

    def _started(self, event: Event) -> None:
        self._running, self._now, self._said = (event.stage, time.monotonic()), {}, time.monotonic()
        if not self.moving:
            print(f"  … {event.stage}", flush=True)

    def _progress(self, event: Event) -> None:
        self._now = event.facts
        if not self.moving and time.monotonic() - self._said > PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            print(f"  … {event.stage:<12} {self._what()}", flush=True)

    def _note(self, event: Event) -> None:
        self._line("…", event.stage, str(event.facts["text"]))

    def _done(self, event: Event) -> None:
        facts = event.facts
        self._running = None
        took = "reused" if facts["reused"] else seconds(facts["seconds"])
        self._line("✗" if facts.get("short") else "✓", event.stage, f"{took:<8} {facts.get('summary') or ''}".rstrip())
        self._short |= {event.stage: facts["short"]} if facts.get("short") else {}
        for reason in facts.get("short") or ():
            print(f"{' ' * 26}{reason}")

    def _stopping(self, event: Event) -> None:
        self._line("…", event.stage, f"stopping  {self._what()}".rstrip())

    def _failed(self, event: Event) -> None:
        self._running = None
        first, *rest = str(event.facts["error"]).splitlines()
        self._line("✗", event.stage, first)
        for line in rest:
            print(f"{' ' * 17}{line}")

    def _what(self) -> str:
        """'step 40/120 · 12.1 steps/s · 8 s left · loss 1.31'."""
        now = self._now
        if not now:
            return ""
        parts = [f"{now['done']:,.0f}/{now['total']:,.0f} {now['unit']}"]
        if now.get("rate"):
            parts.append(f"{now['rate']:,.1f} {now['unit']}/s")
        if now.get("left") is not None:
            parts.append(f"{seconds(now['left'])} left")
        parts += [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in now["facts"].items()]
        return " · ".join(parts)

    def _line(self, mark: str, stage: str, text: str) -> None:
        self._clear()
        print(f"  {coloured(mark, mark)} {stage:<12} {text}", flush=True)

    def _clear(self) -> None:
        if self.moving:
            print("\r\x1b[K", end="", flush=True)

    def _tick(self) -> None:
        while not self._ended.wait(0.2):
            with self._lock:
                if self._running:
                    stage, since = self._running
                    print(
                        f"\r\x1b[K  … {stage:<12} {seconds(time.monotonic() - since):<8} {self._what()}"[:160], end="", flush=True
                    )

    def close(self, outcome: "Outcome") -> None:
        """What failed, what is still true, and what to do next."""
        if outcome.passed:
            return
        live, typed = self.product.releases.live(), self.product.loaded.as_typed
        still = f"The endpoint still serves release {live.number}." if live else "Nothing is live."
        if outcome.interrupted:
            kept = ", the checkpoint of the training too" if self._running and self._running[0] == "model" else ""
            print(f"Stopped. What was made is kept{kept}. {still}\n  Apply again to continue: llmspec apply {typed}")
            return
        print(f"Stopped at the gate. {still}" if "evaluation" in self._short else still)
        if "evaluation" in self._short:
            print(f"  Worst rows:   llmspec explain {typed} evaluation")
        print(f"  Try again:    llmspec apply {typed}   (what was made is kept)")
