"""What a target costs, from a dated table: jobs once, the endpoint at min and max scale each month.

What has no price, or no known amount, is listed as unpriced and never counted as zero.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from llmspec import network
from llmspec.card import Place
from llmspec.errors import StoreError
from llmspec.home import home
from llmspec.registry import name_of
from llmspec.section import STAGES
from llmspec.spec import Spec
from llmspec.spec.model import BedrockBase

MONTH = 730.0
"""Hours."""
GB = 1e9
STORAGE = "s3 gb"
KEYS = 2
"""Keys that encrypt the bucket and the logs; a region that gets copies has one more."""


@dataclass(frozen=True)
class Price:
    """One figure."""

    usd: float
    per: str
    as_of: str

    @property
    def figure(self) -> str:
        """'$0.00006': never with an exponent."""
        return f"${f'{self.usd:.12f}'.rstrip('0').rstrip('.')}"


@dataclass(frozen=True)
class Need:
    """What a target takes of one thing: for each month, or once, between its least and its most."""

    stage: str
    what: str
    """The table's word for it: `sagemaker ml.g5.xlarge`."""
    least: float
    most: float
    once: bool = False
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A need with its price."""

    need: Need
    price: Price

    @property
    def least(self) -> float:
        return self.need.least * self.price.usd

    @property
    def most(self) -> float:
        return self.need.most * self.price.usd


@dataclass(frozen=True)
class Costs:
    """What a target costs, as far as it is known."""

    region: str
    lines: list[Line] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)
    """What has no price, or no known amount. It costs something all the same."""
    budget: int | None = None
    lacking: tuple[str, ...] = ()
    """Stages of which the sum holds nothing: their machines have no price, or nobody knows how long they take."""

    def total(self, once: bool) -> tuple[float, float]:
        """Least and most, in dollars."""
        chosen = [line for line in self.lines if line.need.once == once]
        return sum(line.least for line in chosen), sum(line.most for line in chosen)

    @property
    def dates(self) -> str:
        """Of the oldest and the newest figure."""
        dates = sorted({line.price.as_of for line in self.lines})
        return " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else ""

    @property
    def verdict(self) -> str:
        """How the known part of a month compares with the budget, once it is said that it is a part; the jobs are paid in the
        first."""
        if self.budget is None:
            return f"the sum is not whole: {self._absent}" if self.lacking else ""
        (least, most), (jobs, _) = self.total(once=False), self.total(once=True)
        if least > self.budget:
            return f"above the budget of ${self.budget:,} even at min scale"
        if least + jobs > self.budget:
            return f"above the budget of ${self.budget:,} in the month that pays for these jobs, even at min scale"
        part = f"the sum is not whole, since {self._absent}: " if self.lacking else ""
        if most + jobs > self.budget:
            when = "at max scale" if most > self.budget else "at max scale in the month that pays for these jobs"
            return f"{part}what is priced is within the budget of ${self.budget:,} at min scale, and above it {when}"
        return f"{part}what is priced is within the budget of ${self.budget:,}; what is unpriced comes on top"

    @property
    def _absent(self) -> str:
        *others, last = self.lacking
        return f"{', '.join(others)} and {last} have no price" if others else f"{last} has no price"

    def to_dict(self) -> dict[str, Any]:
        lines = [
            {**vars(line.need), "usd": line.price.usd, "per": line.price.per, "as_of": line.price.as_of}
            | {"least_usd": round(line.least, 4), "most_usd": round(line.most, 4)}
            for line in self.lines
        ]
        once, month = self.total(once=True), self.total(once=False)
        return {
            "region": self.region,
            "lines": lines,
            "unpriced": self.unpriced,
            "once_usd": once,
            "monthly_usd": month,
            "dates": self.dates,
            "budget_usd": self.budget,
            "verdict": self.verdict,
        }


def own_table() -> Path:
    """What `llmspec prices --refresh` writes: it goes before the table that comes with llmspec."""
    return home() / "prices.json"


def table(region: str) -> dict[str, Price]:
    """What is known of a region, the project's own figures first."""
    shipped = json.loads((files("llmspec") / "prices.json").read_text(encoding="utf-8"))
    own: dict[str, Any] = {}
    if own_table().exists():
        try:
            own = json.loads(own_table().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{own_table()} cannot be read: {error}\n  delete it, or write it anew: llmspec prices FILE --refresh"
            ) from error
    found = {**shipped["prices"].get(region, {}), **own.get("prices", {}).get(region, {})}
    return {what: Price(**figure) for what, figure in found.items()}


def _called(place: Place) -> str:
    return name_of(type(place))


def costs(
    spec: Spec,
    seconds: Mapping[str, float | None],
    known: Mapping[str, Price] | None = None,
    tokens: tuple[int, int] | None = None,
    kept: int = 0,
) -> Costs | None:
    """What the spec costs, where something of it is in AWS. `seconds` is what its pending jobs are thought to take, `tokens` what
    the last evaluation of a hosted model took, `kept` the bytes that lie in S3 for what is current."""
    inside = spec.in_aws
    if (not inside and not spec.hosted) or spec.region is None:
        return None
    known = table(spec.region) if known is None else known
    found = [*needs(spec, inside, seconds), *_kept(kept), *_questions(spec, seconds, tokens)]
    lines = [Line(need, known[need.what]) for need in found if need.what in known]
    missing = [f"{need.stage}: {need.what} in {spec.region}" for need in found if need.what not in known]
    budget = spec.governance.budget if spec.governance else None
    unpriced = [*dict.fromkeys(missing), *_unasked(spec, seconds, tokens, known), *_unknown(spec, inside, seconds)]
    absent = {need.stage for need in found if need.what not in known} | {stage for stage in inside if _endless(stage, seconds)}
    lacking = tuple(stage for stage in STAGES if stage in absent)
    return Costs(spec.region, lines, unpriced, budget.dollars if budget else None, lacking)


def _endless(stage: str, seconds: Mapping[str, float | None]) -> bool:
    """A pending job of which nobody knows how long it takes."""
    return stage != "endpoint" and stage in seconds and seconds[stage] is None


def needs(spec: Spec, inside: Mapping[str, Place], seconds: Mapping[str, float | None]) -> Iterator[Need]:
    """Everything whose amount is known."""
    for stage, place in inside.items():
        if stage == "endpoint":
            yield from _endpoint(spec, place)
        elif (took := seconds.get(stage)) is not None:
            hours = took / 3600
            yield from (Need(stage, what, amount * hours, amount * hours, True, note) for what, amount, note in _job(place))
    if not inside:
        return
    if doors := len(network.doors(spec)):
        hours, zones = doors * network.zones(spec) * MONTH, network.zones(spec)
        yield Need("network", "vpc endpoint", hours, hours, note=f"{doors} in each of {zones} zones")
    if gateways := network.gateways(spec):
        yield Need("network", "nat gateway", gateways * MONTH, gateways * MONTH, note=f"{gateways} of them")
    rules = spec.governance
    copies = {rules.replicate_to, rules.backup.copy_to if rules.backup else None} - {None} if rules else set()
    yield Need("keys", "kms key", KEYS + len(copies), KEYS + len(copies))


def _job(place: Any) -> Iterator[tuple[str, float, str]]:
    """What an hour of a job takes."""
    match _called(place):
        case "sagemaker":
            yield f"sagemaker {place.instance}", 1.0, "at most: spot is cheaper" if place.spot else ""
        case "emr":
            workers = place.workers + 1
            yield "emr vcpu", workers * float(place.cpu), f"{workers} workers"
            yield "emr gb", workers * place.memory / GB, f"{workers} workers"
        case "ecs":
            yield from _tasks(place)


def _tasks(place: Any) -> Iterator[tuple[str, float, str]]:
    if place.instance:
        yield f"ec2 {place.instance}", 1.0, ""
        return
    yield "fargate vcpu", place.cpu, ""
    yield "fargate gb", place.memory / GB, ""


def _endpoint(spec: Spec, place: Any) -> Iterator[Need]:
    """A month at min and at max scale, which each release of an A/B test has for itself."""
    scale, sides = spec.endpoint.scale, len(spec.endpoint.variants or ()) or 1
    least, most = (scale.min, scale.max) if scale else (1, 1)
    copies = f"{least} to {most} copies" if least != most else f"{most} cop{'y' if most == 1 else 'ies'}"
    if sides > 1:
        least, most, copies = least * sides, most * sides, f"{copies} of each of {sides} releases"
    kind = _called(place)
    if kind == "sagemaker" and place.form != "serverless":
        yield Need("endpoint", f"sagemaker {place.instance}", least * MONTH, most * MONTH, note=copies)
    elif kind == "lambda":
        busy = most * place.memory / GB * MONTH * 3600
        yield Need("endpoint", "lambda gb", 0.0, busy, note=f"from never asked to {most} always busy")
    elif kind in ("ecs", "eks"):
        yield Need("endpoint", "load balancer", MONTH, MONTH)
        if kind == "eks":
            yield Need("endpoint", "eks cluster", MONTH, MONTH)
            yield Need(
                "endpoint", f"ec2 {place.instance}", least * MONTH, most * MONTH, note=f"a machine for each of {copies}, at most"
            )
            return
        for what, amount, _ in _tasks(place):
            yield Need("endpoint", what, least * amount * MONTH, most * amount * MONTH, note=copies)


def _kept(size: int) -> Iterator[Need]:
    if size:
        yield Need("storage", STORAGE, size / GB, size / GB, note="the newest artifact of each stage")


def _unknown(spec: Spec, inside: Mapping[str, Place], seconds: Mapping[str, float | None]) -> Iterator[str]:
    """What costs something, and nobody knows how much of it there will be."""
    for stage in inside:
        if _endless(stage, seconds):
            yield f"{stage}: nothing tells how long it takes"
    place: Any = inside.get("endpoint")
    if place is not None and _called(place) == "sagemaker" and place.form == "serverless":
        yield "endpoint: serverless is paid by use"
    if place is not None and _called(place) == "eks":
        yield "endpoint: what EKS Auto Mode takes for each machine, about 12 % of its price"
    if place is not None and _called(place) == "lambda":
        yield "endpoint: requests to the API"
        if spec.endpoint.access.keys == "cognito":
            yield "endpoint: people who sign in"
        if spec.endpoint.scale and spec.endpoint.scale.min:
            yield "endpoint: provisioned concurrency"
    if not inside:
        return
    yield "images: builds at CodeBuild, by the minute, for each new version of llmspec's own source"
    yield "storage: artifacts that are made and older ones, versions and logs, by what is kept"
    yield "traffic, logs, metrics and requests: by use"
    if network.gateways(spec):
        yield "network: what goes through the NAT gateways, by the gigabyte"
    if spec.governance and (audit := spec.governance.audit):
        watching = {"Config": audit.config, "Security Hub": audit.security_hub, "Inspector": audit.inspector}
        yield f"audit: {', '.join(['CloudTrail', *(name for name, on in watching.items() if on)])}, by use"
    if spec.governance and (spec.governance.backup or spec.governance.replicate_to):
        yield "backup: by what is kept"


SIDES = ("input", "output")
"""Tokens that a hosted model reads, and those that it writes: each has its price."""


def per_token(model: BedrockBase, side: str) -> str:
    """The table's word for 1,000 tokens of a hosted model. A profile within a geography costs what the model does."""
    name = model.bedrock.rpartition("/")[2]
    inside = model.geography and model.geography != "global"
    return f"bedrock {name.partition('.')[2] if inside else name} {side}"


def _questions(spec: Spec, seconds: Mapping[str, float | None], tokens: tuple[int, int] | None) -> Iterator[Need]:
    """An evaluation of a hosted model: as last time, or at most what the limits let through."""
    model, limits, rows = spec.hosted, spec.endpoint.limits, spec.evaluation.rows
    if model is None or "evaluation" not in seconds:
        return
    if tokens:
        for side, number in zip(SIDES, tokens, strict=True):
            yield Need("evaluation", per_token(model, side), number / 1000, number / 1000, True, "as last time")
    elif rows:
        for side, number in zip(SIDES, (limits.input_tokens, limits.output_tokens), strict=True):
            most = rows * number / 1000
            yield Need(
                "evaluation", per_token(model, side), most, most, True, f"at most: {rows} questions, none of them paid before"
            )


def _unasked(
    spec: Spec, seconds: Mapping[str, float | None], tokens: tuple[int, int] | None, known: Mapping[str, Price]
) -> Iterator[str]:
    """Questions to a hosted model, as far as nobody knows how many there will be."""
    if spec.hosted is None:
        return
    if "evaluation" in seconds and not tokens and not spec.evaluation.rows:
        yield "evaluation: questions to the model, as many as the test part has rows (evaluation.rows bounds them)"
    words = [per_token(spec.hosted, side) for side in SIDES]
    figures = [
        f"{known[word].figure} per {known[word].per} of {side}" for word, side in zip(words, SIDES, strict=True) if word in known
    ]
    yield f"endpoint: questions to {spec.hosted.bedrock}, by use" + (f", at {' and '.join(figures)}" if figures else "")
    yield from (f"endpoint: {word} in {spec.region}" for word in words if word not in known)
