"""Pictures of numbers as SVG: scores beside the champion's, curves over time. Plain text, readable on a light or a dark page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TypeVar

Point = tuple[float, float | None]
Name = TypeVar("Name", bound=str)
INK, FAINT = "#7d8590", "#7d859055"
COLOURS = ("#2a9d8f", "#e09f3e", "#7b6fd0", "#d1495b", "#4f93d2")
WIDTH = 640
_FONT = "font-family='system-ui, sans-serif' font-size='12'"


def _text(x: float, y: float, said: str, anchor: str = "start", weight: str = "normal") -> str:
    return f"<text x='{x:g}' y='{y:g}' fill='{INK}' text-anchor='{anchor}' font-weight='{weight}'>{escape(said)}</text>"


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:g}' width='{WIDTH}' height='{height:g}' {_FONT}>"
    return "\n".join([head, f"<title>{escape(title)}</title>", _text(0, 16, title, weight="600"), *parts, "</svg>"])


def number(value: float) -> str:
    """Short, and never less exact than a reader needs: 0.8312 -> 0.831, 1234.5 -> 1,234."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def bars(title: str, scores: Mapping[Name, tuple[float, float | None, str | None]]) -> str:
    """One row per metric: its value, the champion's thinner and fainter below it, and the gate in words."""
    parts, top = [], 34.0
    for name, (value, champion, gate) in scores.items():
        parts += _row(top, name, value, champion, gate)
        top += 36
    if any(champion is not None for _, champion, _ in scores.values()):
        parts += [
            f"<rect x='120' y='{top + 1:g}' width='10' height='5' fill='{INK}' opacity='.6'/>",
            _text(136, top + 8, "champion"),
        ]
        top += 18
    return _svg(top, title, parts)


def _row(top: float, name: str, value: float, champion: float | None, gate: str | None) -> list[str]:
    known = [n for n in (value, champion) if n is not None and math.isfinite(n)]
    # shares are drawn against 1, so that 0.8 looks the same in every picture; anything else against the larger of the two
    whole = 1.0 if all(0 <= n <= 1 for n in known) else max(known) * 1.1 or 1.0

    def length(n: float) -> float:
        return 280 * max(0.0, min(n / whole, 1.0)) if math.isfinite(n) else 280.0

    parts = [
        _text(0, top + 12, name),
        f"<rect x='120' y='{top:g}' width='280' height='22' rx='3' fill='{FAINT}' opacity='.35'/>",
        f"<rect x='120' y='{top:g}' width='{length(value):.1f}' height='15' rx='3' fill='{COLOURS[0]}'/>",
        _text(410, top + 11, number(value), weight="600"),
    ]
    if champion is not None:
        bar = f"<rect x='120' y='{top + 17:g}' width='{length(champion):.1f}' height='5' rx='2' fill='{INK}' opacity='.6'/>"
        parts += [bar, _text(462, top + 11, f"was {number(champion)}")]
    return parts + ([_text(410, top + 25, gate)] if gate else [])


def curve(title: str, series: Mapping[str, Sequence[Point]], x: str = "", y: str = "") -> str:
    """Lines over a common axis; where a value is missing the line has a gap."""
    points = [(px, py) for line in series.values() for px, py in line if _drawn(py)]
    if not points:
        return _svg(60, title, [_text(0, 42, "nothing to show yet")])
    frame = _Frame([px for px, _ in points], [py for _, py in points if py is not None])
    parts = frame.axes(x, y)
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        parts += frame.line(line, colour)
        parts += [
            f"<rect x='{60 + 130 * index}' y='222' width='10' height='10' rx='2' fill='{colour}'/>",
            _text(75 + 130 * index, 231, name),
        ]
    return _svg(240, title, parts)


def _drawn(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


class _Frame:
    """Where a point of the data is on the picture."""

    left, right, top, bottom = 60.0, WIDTH - 10.0, 34.0, 190.0

    def __init__(self, xs: Sequence[float], ys: Sequence[float]):
        self.x0, self.x1 = min(xs), max(xs)
        self.y0, self.y1 = min(0.0, *ys), max(ys)
        if self.y1 <= self.y0:
            self.y1 = self.y0 + 1

    def at(self, x: float, y: float) -> tuple[float, float]:
        wide = (x - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.5
        high = (y - self.y0) / (self.y1 - self.y0)
        return self.left + wide * (self.right - self.left), self.bottom - high * (self.bottom - self.top)

    def axes(self, x: str, y: str) -> list[str]:
        parts = []
        for share in (0.0, 0.5, 1.0):
            value = self.y0 + share * (self.y1 - self.y0)
            _, at = self.at(self.x0, value)
            parts += [
                f"<line x1='{self.left:g}' x2='{self.right:g}' y1='{at:.1f}' y2='{at:.1f}' stroke='{FAINT}'/>",
                _text(self.left - 6, at + 4, number(value), "end"),
            ]
        parts += [_text(self.left, 206, number(self.x0)), _text(self.right, 206, f"{number(self.x1)} {x}".strip(), "end")]
        return parts + ([_text(self.right, 16, y, "end")] if y else [])

    def line(self, points: Sequence[Point], colour: str) -> list[str]:
        parts: list[str] = []
        for run in _runs(points):
            places = [self.at(px, py) for px, py in run]
            if len(places) == 1:
                parts.append(f"<circle cx='{places[0][0]:.1f}' cy='{places[0][1]:.1f}' r='2.5' fill='{colour}'/>")
                continue
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
            parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2' stroke-linejoin='round'/>")
        return parts


def _runs(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """The points between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for px, py in points:
        if py is not None and math.isfinite(py):
            runs[-1].append((px, py))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
