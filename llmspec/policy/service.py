"""What keeps an endpoint up: copies, zones, room to grow, alarms that somebody hears, limits that its place can keep."""

from collections.abc import Iterator

from llmspec.expressions import DURATIONS
from llmspec.policy.finding import Fault, View, rule
from llmspec.section import format_duration

_REALTIME, _STREAMED, _ASYNC = 60.0, 480.0, 3600.0
"""Seconds that SageMaker gives an answer: whole, streamed, and through S3."""
_PAYLOAD = {"sagemaker": 6_000_000, "lambda": 6_000_000}
_SERVERLESS_PAYLOAD, _ASYNC_PAYLOAD = 4_000_000, 1_000_000_000
_BYTES_PER_TOKEN = 6
"""Of a question in JSON, at most about: four letters, and what JSON escapes."""


@rule("copies", "warning", "One copy is an outage whenever its machine, its zone or its release fails.")
def copies(view: View) -> Iterator[Fault]:
    scale = view.spec.endpoint.scale
    least = scale.min if scale else 1
    by_use = (
        view.name("endpoint") == "lambda" or view.option("endpoint", "form") in ("serverless", "async") if view.endpoint else True
    )
    if not by_use and least < 2:
        where = view.written("endpoint.scale.min", "endpoint.scale", "places.endpoint")
        yield Fault(where, f"{least} copy at least", "write `scale: {min: 2, max: 4}`", "error" if view.strict else None)


@rule("zones", "warning", "A data centre fails as a whole, a few times in a decade; copies in another one answer on.")
def zones(view: View) -> Iterator[Fault]:
    scale = view.spec.endpoint.scale
    if view.endpoint and scale and scale.zones < 2 and "scale" in view.endpoint.honours:
        yield Fault("endpoint.scale.zones", "all copies are in one zone", "write `zones: 2`", "error" if view.strict else None)


@rule("autoscaling", "warning", "With as many copies at night as at noon, one of them is paid for nothing or missing.")
def autoscaling(view: View) -> Iterator[Fault]:
    scale = view.spec.endpoint.scale
    if view.endpoint and scale and scale.min == scale.max:
        where = view.written("endpoint.scale.max", "endpoint.scale")
        yield Fault(where, f"always {scale.max} copies, whatever is asked", "make max larger than min")


@rule("concurrency", "warning", "A copy refuses or queues what is beyond its own limit before another copy is started.")
def concurrency(view: View) -> Iterator[Fault]:
    scale, own = view.spec.endpoint.scale, view.spec.endpoint.limits.concurrency
    if view.endpoint and scale and scale.concurrency_per_copy and scale.concurrency_per_copy > own:
        fault = f"another copy comes at {scale.concurrency_per_copy} requests, and one copy answers {own}"
        yield Fault("endpoint.scale.concurrency_per_copy", fault, "lower it, or raise endpoint.limits.concurrency")


@rule("alarms", "warning", "Users notice errors and slowness first when no alarm does.")
def alarms(view: View) -> Iterator[Fault]:
    if not view.endpoint:
        return
    watched = {alarm.metric for alarm in view.spec.monitors.alarms}
    where = view.written("monitors.alarms", "monitors", "places.endpoint")
    if "error_rate" not in watched:
        yield Fault(where, "no alarm on errors", "add `error_rate > 1%` to monitors.alarms")
    if not watched & set(DURATIONS):
        yield Fault(where, "no alarm on latency", "add `p95_latency > 5s for 5m` to monitors.alarms")


@rule("notify", "warning", "An alarm that nobody hears changes nothing.")
def notify(view: View) -> Iterator[Fault]:
    if view.endpoint and view.spec.monitors.alarms and view.spec.monitors.notify is None:
        yield Fault("monitors.alarms", "nobody is told when one rings", "add `notify: {email: …}` to monitors")


@rule("rollback", "error", "AWS turns no deployment back on its own: without an alarm a bad release takes over step by step.")
def rollback(view: View) -> Iterator[Fault]:
    rollout = view.spec.endpoint.rollout
    if view.endpoint and rollout and rollout.strategy != "all_at_once" and not (rollout.rollback_on or view.spec.monitors.alarms):
        yield Fault("endpoint.rollout", "no alarm turns this rollout back", "add `rollback_on: [error_rate > 2%]`")


@rule("timeout", "error", "The place ends an answer earlier than the spec promises.")
def timeout(view: View) -> Iterator[Fault]:
    if not view.endpoint:
        return
    asked, form = view.spec.endpoint.limits.timeout, view.option("endpoint", "form")
    where = view.written("endpoint.limits.timeout", "places.endpoint")
    most = {"realtime": _STREAMED, "async": _ASYNC, "serverless": _REALTIME}.get(form) or view.option("endpoint", "timeout")
    if most and asked > most:
        what = f"{format_duration(asked)} for an answer, and {view.name('endpoint')} ends it after {format_duration(most)}"
        yield Fault(where, what, "lower endpoint.limits.timeout, or choose another form or place")
    elif form == "realtime" and asked > _REALTIME:
        fault = f"{format_duration(asked)} for an answer: SageMaker ends one that is not streamed after 1m"
        yield Fault(where, fault, "stream, or write `timeout: 60s`", "warning")


@rule("payload", "error", "The place refuses a request that the endpoint would take.")
def payload(view: View) -> Iterator[Fault]:
    if not view.endpoint:
        return
    form = view.option("endpoint", "form")
    most = {"serverless": _SERVERLESS_PAYLOAD, "async": _ASYNC_PAYLOAD}.get(form) or _PAYLOAD.get(view.name("endpoint"))
    size = view.spec.endpoint.limits.input_tokens * _BYTES_PER_TOKEN
    if most and size > most:
        fault = (
            f"a prompt of {view.spec.endpoint.limits.input_tokens:,} tokens is about {size / 1e6:.0f} MB, and {most / 1e6:g} MB fit"
        )
        yield Fault("endpoint.limits.input_tokens", fault, "lower it, or use form: async at sagemaker")
