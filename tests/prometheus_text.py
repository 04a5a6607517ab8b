"""Prometheus's text format 0.0.4, read strictly: whatever a scraper might stumble over is an error here."""

import math
import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """One metric with all its samples."""

    kind: str = ""
    about: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        """The one sample whose labels include these."""
        found = [value for (name, has), value in self.samples.items() if name == suffix and labels.items() <= dict(has).items()]
        assert len(found) == 1, (suffix, labels, found)
        return found[0]


def families(text: str) -> dict[str, Family]:
    """The page, or an AssertionError that shows the line."""
    assert text.endswith("\n")
    found: dict[str, Family] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, current, about = line.split(" ", 3)
            assert current not in found, f"a family in two places: {line}"
            found[current] = Family(about=about)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current, line
            assert not found[name].kind, line
            assert kind in ("counter", "gauge", "histogram"), line
            found[name].kind = kind
        else:
            _take(found[current], current, line)
    for name, family in found.items():
        assert family.kind, f"{name} has no type"
        assert family.kind != "counter" or name.endswith("_total"), f"{name}: a counter's name ends in _total"
        if family.kind == "histogram":
            _check(name, family)
    return found


def _take(family: Family, name: str, line: str) -> None:
    match = SAMPLE.fullmatch(line)
    assert match, f"not a sample: {line}"
    sample, written, number = match.groups()
    suffix = sample.removeprefix(name)
    assert sample.startswith(name), line
    assert suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)), line
    labels = LABEL.findall(written or "")
    assert ",".join(f'{key}="{value}"' for key, value in labels) == (written or ""), f"labels: {line}"
    assert len({key for key, _ in labels}) == len(labels), f"a label twice: {line}"
    key = (suffix, frozenset(labels))
    assert key not in family.samples, f"a sample twice: {line}"
    family.samples[key] = float(number)


def _check(name: str, family: Family) -> None:
    groups: dict[Labels, dict[float, float]] = {}
    for (suffix, labels), value in family.samples.items():
        if suffix == "_bucket":
            rest = frozenset(item for item in labels if item[0] != "le")
            groups.setdefault(rest, {})[float(dict(labels)["le"])] = value
    for labels, buckets in groups.items():
        bounds = sorted(buckets)
        assert list(buckets) == bounds, f"{name}: bounds out of order"
        assert bounds[-1] == math.inf, f"{name}: no +Inf"
        assert [buckets[bound] for bound in bounds] == sorted(buckets.values()), f"{name}: not cumulative"
        assert buckets[math.inf] == family.samples["_count", labels], f"{name}: count"
        assert ("_sum", labels) in family.samples, f"{name}: no sum"
