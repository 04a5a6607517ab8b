"""What keeps users, data and the account safe: gates, guards, limits, isolation, records, and where data may lie."""

from collections.abc import Iterator

from llmspec.language.fields import format_path
from llmspec.policy.finding import Fault, View, rule
from llmspec.reads import plain_secrets
from llmspec.spec.data import CleanStep
from llmspec.spec.model import HubBase


@rule("gates", "warning", "Without a gate the next model goes live whatever it learned.")
def gates(view: View) -> Iterator[Fault]:
    if view.endpoint and not view.spec.evaluation.gates:
        where = view.written("evaluation.gates", "evaluation", "places.endpoint")
        yield Fault(
            where, "no score is asked for", "add `evaluation: {gates: [token_f1 >= 0.8]}`", "error" if view.strict else None
        )


@rule("guards", "warning", "Prompts try to take a model over, and answers repeat what training saw.")
def guards(view: View) -> Iterator[Fault]:
    if not view.endpoint:
        return
    on = {guard.name for guard in view.spec.endpoint.guards}
    where = view.written("endpoint.guards", "endpoint", "places.endpoint")
    for name in ("prompt_injection", "pii"):
        if name not in on:
            yield Fault(where, f"guard {name} is off", f"add {name} to endpoint.guards")


@rule("rate-limit", "warning", "One caller in a loop takes the room of all the others, and copies are added for it.")
def rate_limit(view: View) -> Iterator[Fault]:
    limits = view.spec.endpoint.limits
    if view.endpoint and limits.requests_per_minute is None and limits.tokens_per_minute is None:
        where = view.written("endpoint.limits", "endpoint", "places.endpoint")
        yield Fault(where, "a caller may ask without end", "add `limits: {requests_per_minute: 60}` to endpoint")


@rule("purification", "warning", "What training saw, somebody will get out of the model again.")
def purification(view: View) -> Iterator[Fault]:
    steps = [step for step in view.spec.data.clean if isinstance(step, CleanStep)]
    if not any("redact" in step.model_fields_set for step in steps):
        where = view.written("data.clean", "data")
        yield Fault(where, "personal data is left in the rows", "add `redact: [email, phone, credit_card]` to data.clean")


@rule("network-isolation", "warning", "Code from a model or a package that can reach the network can carry the data away.")
def network_isolation(view: View) -> Iterator[Fault]:
    fetching = _fetching(view)
    for stage in view.inside:
        if view.option(stage, "network_isolation") is False and stage not in fetching:
            where = f"places.{stage}.{view.name(stage)}.network_isolation"
            yield Fault(where, f"{stage} may reach the network", "take it out: inputs come and outputs go without it")
    if fetching:
        fault = f"{' and '.join(fetching)} may reach the network, since the base is fetched from the hub"
        yield Fault("model.base", fault, "copy it into a folder and name that: `base: {path: …}`")


def _fetching(view: View) -> list[str]:
    """Jobs that get their base from the hub by themselves: at SageMaker they cannot be cut off from the network then."""
    if not isinstance(view.spec.model.base, HubBase):
        return []
    return [stage for stage in ("features", "model") if stage in view.inside and view.name(stage) == "sagemaker"]


@rule("public", "warning", "What the internet reaches, strangers try all day; a private address is for the network alone.")
def public(view: View) -> Iterator[Fault]:
    if view.option("endpoint", "public"):
        cure = "take it out; what is joined to the network still asks"
        yield Fault(f"places.endpoint.{view.name('endpoint')}.public", "the endpoint has an address on the internet", cure)
    elif view.endpoint and view.name("endpoint") == "lambda":
        cure = "serve it at sagemaker, ecs or eks, or waive this: every request needs a key"
        yield Fault("places.endpoint", "a function is asked through an address on the internet", cure)


@rule("plain-secret", "warning", "Whoever reads the file, or its history in git, has what was meant for the program alone.")
def plain_secret(view: View) -> Iterator[Fault]:
    for path in plain_secrets(view.spec.model_dump(mode="json")):
        cure = "write `${secret.NAME}`, set NAME where llmspec runs, and have this one replaced"
        yield Fault(format_path(path), f"{path[-1]} is a secret, and is written for all to read", cure)


@rule("audit", "warning", "Who changed what, and who read the data, can only be told afterwards if it was recorded.")
def audit(view: View) -> Iterator[Fault]:
    if view.spec.governance is None or not view.spec.governance.audit:
        where = view.written("governance.audit", "governance", *(f"places.{stage}" for stage in view.inside))
        yield Fault(where, "nothing records who did what", "add `governance: {audit: true}`")


@rule("backup", "warning", "What is deleted by mistake is gone, and releases with it.")
def backup(view: View) -> Iterator[Fault]:
    governance = view.spec.governance
    if view.strict and (governance is None or (governance.backup is None and governance.replicate_to is None)):
        where = view.written("governance", *(f"places.{stage}" for stage in view.inside))
        yield Fault(where, "there is no second copy", "add `governance: {backup: {every: 1d, keep: 35d}}`")


@rule("retention", "warning", "Personal data may be kept only as long as it is needed, and storage is paid as long as it is kept.")
def retention(view: View) -> Iterator[Fault]:
    governance = view.spec.governance
    if view.endpoint and (governance is None or governance.retention.journal is None):
        where = view.written("governance.retention", "governance", "places.endpoint")
        yield Fault(where, "what users ask is kept for ever", "add `governance: {retention: {journal: 30d}}`")


@rule("residency", "warning", "Another jurisdiction is another law: a copy there may be one too many.")
def residency(view: View) -> Iterator[Fault]:
    governance, home = view.spec.governance, (view.spec.region or "").partition("-")[0]
    if governance is None:
        return
    copies = {"replicate_to": governance.replicate_to, "backup.copy_to": governance.backup.copy_to if governance.backup else None}
    for path, region in copies.items():
        if region is not None and region.partition("-")[0] != home:
            yield Fault(f"governance.{path}", f"a copy leaves {home} for {region}", f"name a region that begins with {home}-")


@rule("journal", "warning", "A journal in full holds what users said of themselves, for everybody who may read the bucket.")
def journal(view: View) -> Iterator[Fault]:
    if view.endpoint and view.spec.endpoint.journal.content == "full":
        yield Fault("endpoint.journal.content", "questions and answers are kept as they were said", "write `content: redacted`")
    if view.endpoint and view.option("endpoint", "capture_percent"):
        where = f"places.endpoint.{view.name('endpoint')}.capture_percent"
        yield Fault(where, "SageMaker's capture keeps them in full", "take it out: the journal is redacted")


@rule("local-address", "warning", "An address is the place's own affair in AWS: what is written about it has no effect there.")
def local_address(view: View) -> Iterator[Fault]:
    if not view.endpoint:
        return
    for name in ("host", "port", "tls"):
        if name in view.spec.endpoint.said:
            fault = f"{name} has no effect at {view.name('endpoint')}"
            yield Fault(f"endpoint.{name}", fault, f"write it under the target that is local: `endpoint: {{{name}: …}}`")
