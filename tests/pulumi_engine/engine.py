"""One update: the program runs and registers what it wants, each resource becomes a step, and what it no longer wants goes.

The checkpoint is written around each step, so a process that is killed leaves what the real engine leaves: what was done, and
a pending operation for what was being done.
"""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf import json_format

from pulumi_engine.backend import Stack
from pulumi_engine.cipher import Cipher, of
from pulumi_engine.cloud import Cloud, named
from pulumi_engine.diff import differences, forcing, top
from pulumi_engine.errors import RefusedError
from pulumi_engine.events import Events
from pulumi_engine.values import bare, marked

ROOT = "pulumi:pulumi:Stack"
State = dict[str, Any]


class Deployment:
    """What was, what is wanted, and what was done about it."""

    def __init__(self, stack: Stack, cipher: Cipher, events: Events, dry: bool) -> None:
        self.stack, self.cipher, self.events, self.dry = stack, cipher, events, dry
        self.cloud, self.lock = Cloud(), threading.RLock()
        latest = stack.load()
        opened = of(latest["secrets_providers"]) if latest.get("secrets_providers") else cipher
        found: list[State] = opened.open(latest.get("resources", []))
        self.old: dict[str, State] = {state["urn"]: state for state in found if not state.get("delete")}
        self.pending: list[dict[str, Any]] = opened.open(latest.get("pending_operations", []))
        self.new: dict[str, State] = {}
        self.later: list[State] = [state for state in found if state.get("delete")]
        """Replaced, and still there."""
        self.changes: dict[str, int] = {}
        self.failed: list[str] = []
        self.cancelled = False
        signal.signal(signal.SIGINT, self._cancel)

    def _cancel(self, *_: object) -> None:
        self.cancelled = True

    # what a step does

    def register(self, request: Any) -> tuple[State, dict[str, Any]]:
        """The state after the step, and what the program is told."""
        with self.lock:
            self._go_on()
            wanted = self._wanted(request)
            old = self.old.get(wanted["urn"])
            if not wanted["custom"] or wanted["type"].startswith("pulumi:providers:"):
                return self._kept(wanted, old)
            _ignore(wanted, old, list(request.ignoreChanges))
            if old is None:
                return self._create(wanted)
            found = differences(old["inputs"], wanted["inputs"])
            if not found:
                return self._same(wanted, old)
            forced = forcing(wanted["type"], list(found), list(request.replaceOnChanges))
            if forced:
                return self._replace(wanted, old, found, forced, request.deleteBeforeReplace)
            return self._update(wanted, old, found)

    def _go_on(self) -> None:
        if self.cancelled or self.failed:
            raise RefusedError("the update is over")

    def _wanted(self, request: Any) -> State:
        kind, parent = request.type, request.parent
        chain = f"{parent.split('::')[2]}$" if parent and not parent.split("::")[2].endswith(ROOT) else ""
        urn = f"urn:pulumi:{self.stack.name}::{self.stack.project}::{chain}{kind}::{request.name}"
        if urn in self.new:
            raise RefusedError(f"Duplicate resource URN '{urn}'; try giving it a unique name")
        state = {"urn": urn, "type": kind, "custom": request.custom, "parent": parent, "provider": request.provider}
        state |= {"protect": request.protect, "retainOnDelete": request.retainOnDelete, "dependencies": list(request.dependencies)}
        return state | {"inputs": json_format.MessageToDict(request.object), "outputs": {}}

    def _kept(self, wanted: State, old: State | None) -> tuple[State, dict[str, Any]]:
        """Components, the stack itself and providers are nothing outside."""
        op = "create" if old is None else "update" if differences(old["inputs"], wanted["inputs"]) else "same"
        if wanted["custom"]:
            wanted["id"] = (old or {}).get("id") or str(uuid.uuid4())
        wanted["outputs"] = dict(wanted["inputs"]) if wanted["custom"] else (old or {}).get("outputs", {})
        self.told("resourcePreEvent", op, wanted, old)
        self._done(wanted, op)
        self.told("resOutputsEvent", op, wanted, old)
        return wanted, wanted["inputs"]

    def _same(self, wanted: State, old: State) -> tuple[State, dict[str, Any]]:
        wanted |= {"id": old["id"], "outputs": old["outputs"]}
        self.told("resourcePreEvent", "same", wanted, old)
        self._done(wanted, "same")
        self.told("resOutputsEvent", "same", wanted, old)
        return wanted, marked(wanted["outputs"], wanted["inputs"])

    def _create(self, wanted: State, op: str = "create", **more: Any) -> tuple[State, dict[str, Any]]:
        self.told("resourcePreEvent", op, wanted, None, **more)
        if self.dry:
            self._done({**wanted, "id": ""}, op)
            return {**wanted, "id": ""}, wanted["inputs"]
        with self._operation("creating", wanted):
            name, region = wanted["urn"].split("::")[-1], self.region(wanted["provider"])
            wanted["id"], said = self.cloud.create(wanted["type"], name, wanted["inputs"], region)
            wanted["outputs"] = said
            self._done(wanted, op)
        self.told("resOutputsEvent", op, wanted, None, **more)
        return wanted, marked(said, wanted["inputs"])

    def _update(self, wanted: State, old: State, found: dict[str, str]) -> tuple[State, dict[str, Any]]:
        more = {"diffs": [top(path) for path in found], "detailedDiff": detailed(found, [])}
        self.told("resourcePreEvent", "update", wanted, old, **more)
        wanted["id"] = old["id"]
        if self.dry:
            wanted["outputs"] = {**old["outputs"], **wanted["inputs"]}
            self._done(wanted, "update")
            return wanted, wanted["outputs"]
        with self._operation("updating", wanted):
            name, region = wanted["urn"].split("::")[-1], self.region(wanted["provider"])
            wanted["outputs"] = self.cloud.update(wanted["type"], old["id"], name, wanted["inputs"], old["outputs"], region)
            self._done(wanted, "update")
        self.told("resOutputsEvent", "update", wanted, old, **more)
        return wanted, marked(wanted["outputs"], wanted["inputs"])

    def _replace(
        self, wanted: State, old: State, found: dict[str, str], forced: list[str], first: bool
    ) -> tuple[State, dict[str, Any]]:
        """The old one goes first where both would have one name."""
        more = {"keys": forced, "diffs": [top(path) for path in found], "detailedDiff": detailed(found, forced)}
        clash = named(wanted["type"], bare(wanted["inputs"])) == old["id"]
        if first or clash:
            self.told("resourcePreEvent", "delete-replaced", None, old, **more)
            if not self.dry:
                self._removed(old)
        self.told("resourcePreEvent", "replace", wanted, old, **more)
        made, said = self._create(wanted, "create-replacement", **more)
        self.changes["replace"] = self.changes.get("replace", 0) + 1
        self.changes.pop("create-replacement", None)
        if not (first or clash):
            self.later.append(old)
        return made, said

    # what is left over

    def sweep(self) -> None:
        """What the program did not ask for, the youngest first."""
        for old in list(reversed(self.later)):
            self._go_on()
            self.told("resourcePreEvent", "delete-replaced", None, old)
            if not self.dry:
                self._removed(old)
                self.later.remove(old)
                self.save()
        for urn, old in reversed(list(self.old.items())):
            if urn not in self.new:
                self._go_on()
                self._delete(old)

    def _delete(self, old: State) -> None:
        if old.get("protect"):
            raise RefusedError(f"resource {old['urn']} cannot be deleted\nbecause it is protected")
        self.told("resourcePreEvent", "delete", None, old)
        self.changes["delete"] = self.changes.get("delete", 0) + 1
        if not self.dry:
            self._removed(old)
            del self.old[old["urn"]]
            self.save()
            self.told("resOutputsEvent", "delete", None, old)

    def _removed(self, old: State) -> None:
        if old["custom"] and old["type"].startswith("aws:") and not old.get("retainOnDelete"):
            with self._operation("deleting", old):
                name = old["urn"].split("::")[-1]
                self.cloud.delete(old["type"], old["id"], name, old["inputs"], self.region(old["provider"]))

    # bookkeeping

    def region(self, provider: str) -> str:
        """Where a resource is made: its provider says, or the environment."""
        urn = provider.rsplit("::", 1)[0]
        known = self.new.get(urn) or self.old.get(urn)
        said = bare(known["inputs"]).get("region") if known else None
        return str(said or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")

    @contextmanager
    def _operation(self, kind: str, state: State) -> Iterator[None]:
        entry = {"resource": state, "type": kind}
        self.pending.append(entry)
        self.save()
        try:
            yield
        except RefusedError as refused:
            self.fail(state, str(refused), {"creating": "create", "updating": "update", "deleting": "delete"}[kind])
            raise
        finally:
            self.pending.remove(entry)
            self.save()

    def fail(self, state: State, reason: str, op: str = "create") -> None:
        self.failed.append(reason)
        told = {"message": f"error: {reason}\n", "color": "never", "severity": "error", "urn": state["urn"]}
        self.events.tell(diagnosticEvent=told)
        seen = {"op": op, "urn": state["urn"], "type": state["type"], "provider": state.get("provider", "")}
        self.events.tell(resOpFailedEvent={"metadata": seen, "status": 1, "steps": 1})
        print(f"  {state['type']} ({state['urn'].split('::')[-1]}):\n    error: {reason}", flush=True)

    def _done(self, state: State, op: str) -> None:
        self.new[state["urn"]] = state
        self.changes[op] = self.changes.get(op, 0) + 1
        self.save()

    def told(self, event: str, op: str, state: State | None, old: State | None, **more: Any) -> None:
        self.events.step(event, op, state, old, planning=self.dry, **more)

    def save(self) -> None:
        """What was registered, then what was there before and was not visited yet."""
        if self.dry:
            return
        rest = [state for urn, state in self.old.items() if urn not in self.new]
        replaced = [{**state, "delete": True} for state in self.later]
        sealed = self.cipher.seal({"resources": [*self.new.values(), *rest, *replaced], "pending_operations": self.pending})
        provider = {"type": self.cipher.kind, "state": self.cipher.state}
        self.stack.save({"manifest": {"time": "", "magic": "", "version": "v3"}, "secrets_providers": provider, **sealed})


def detailed(found: dict[str, str], forced: list[str]) -> dict[str, Any]:
    return {
        path: {"diffKind": f"{kind}-replace" if top(path) in forced else kind, "inputDiff": True} for path, kind in found.items()
    }


def _ignore(wanted: State, old: State | None, names: list[str]) -> None:
    for name in names:
        if old is not None and name in old["inputs"]:
            wanted["inputs"][name] = old["inputs"][name]
