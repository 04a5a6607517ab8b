"""A refresh: what each resource is by now."""

from collections.abc import Sequence

from pulumi_engine.diff import differences, top
from pulumi_engine.engine import Deployment, State, detailed
from pulumi_engine.values import bare


def refresh(deployment: Deployment, targets: list[str], clear: bool, spared: Sequence[str] = ()) -> None:
    """`clear` forgets creations that were never seen to end."""
    if clear:
        deployment.pending = [each for each in deployment.pending if each["type"] != "creating"]
    for urn, old in list(deployment.old.items()):
        if (targets and urn not in targets) or urn in spared:
            continue
        state = old
        if old["custom"] and old["type"].startswith("aws:"):
            deployment.told("resourcePreEvent", "refresh", old, old)
            state, op, found = _seen(deployment, old)
            more = {"diffs": [top(path) for path in found], "detailedDiff": detailed(found, [])}
            deployment.changes[op] = deployment.changes.get(op, 0) + 1
            deployment.told("resOutputsEvent", op, state, old, **more)
        if state is None:
            del deployment.old[urn]
        else:
            deployment.old[urn] = state
    deployment.save()


def _seen(deployment: Deployment, old: State) -> tuple[State | None, str, dict[str, str]]:
    region = deployment.region(old["provider"])
    now = deployment.cloud.read(old["type"], old["id"], old["inputs"], region)
    if now is None:
        return None, "delete", {}
    outputs = old["outputs"]
    if set(outputs) <= {"id"}:  # it was taken in, and is asked what it is for the first time
        outputs = deployment.cloud.outputs(old["type"], old["id"], old["urn"].split("::")[-1], now, region)
    found = differences({name: bare(old["inputs"].get(name)) for name in now}, now)
    if not found:
        return {**old, "outputs": outputs}, "same", {}
    return {**old, "inputs": {**old["inputs"], **now}, "outputs": {**outputs, **now}}, "update", found
