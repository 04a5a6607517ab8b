"""What the programs would make, without a CLI: they are run under Pulumi's own mocks. A list, and no comparison with what is there.

`python -m llmspec.infra.listed FILE TARGET` prints it as JSON, so that the process of a command stays light.
"""

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self, cast

from llmspec.errors import LLMSpecError, PlaceError
from llmspec.infra.change import CloudChange, real
from llmspec.infra.narrow import narrow
from llmspec.load import load
from llmspec.release import Release
from llmspec.secrets import stood_in
from llmspec.site import Site

Listed = dict[str, list[CloudChange] | str]
"""`foundation` and `service` -> what they would make, or why that cannot be said."""


class Listing:
    """A process that makes the lists. It loads what it needs, and lists the foundation, while the store is still being asked."""

    def __init__(self, site: Site):
        self._site = site
        words = [sys.executable, "-P", "-m", "llmspec.infra.listed", str(site.file), site.target]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def of(self, release: Release | str) -> Listed:
        """For a release, or told why there is none. What the store says is handed over."""
        known: dict[str, Any] = {"release": release, "ground": {}}
        if isinstance(release, Release):
            known = {"release": asdict(release), "ground": dict(self._site.ground) if self._site.founded else {}}
        said, cried = self._process.communicate(json.dumps(known))
        if self._process.returncode != 0:
            raise PlaceError((cried.strip() or "the list of resources could not be made").splitlines()[-1])
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return {
            part: told if isinstance(told, str) else [CloudChange("create", *each) for each in told] for part, told in found.items()
        }


def unlisted(error: LLMSpecError) -> str:
    """What stands in a list's place."""
    return f"cannot be listed: {str(error).splitlines()[0]}"


def under_mocks(program: Callable[[], None], region: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Type and name of each resource in the cloud, and what the program exports."""
    import pulumi
    from pulumi.runtime import mocks
    from pulumi.runtime.settings import set_root_resource

    answers, exports = _Answers(region), dict[str, Any]()

    def go() -> Any:
        program()
        return pulumi.Output.from_input(dict(pulumi.runtime.get_root_resource().outputs)).apply(exports.update)  # type: ignore[union-attr]

    with own_loop():
        set_root_resource(None)  # type: ignore[arg-type]  # or it would still hold what the program before it exported
        mocks.set_mocks(cast("Any", answers), project="llmspec", stack="list", preview=False)
        pulumi.runtime.test(go)()  # type: ignore[no-untyped-call]
    return answers.made, exports


@contextmanager
def own_loop() -> Iterator[None]:
    """The event loop of one program: whatever ran before may have closed its own, and nobody else closes this one."""
    with closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        yield
    asyncio.set_event_loop(None)


class _Answers:
    """What AWS might say: names made of names. Nothing of it is shown."""

    def __init__(self, region: str) -> None:
        self.made: list[tuple[str, str]] = []
        self._region = region

    def new_resource(self, args: Any) -> tuple[str, dict[str, Any]]:
        if not real(args.typ):
            return "", dict(args.inputs)
        self.made.append((args.typ, args.name))
        called = str(args.inputs.get("name") or args.inputs.get("bucket") or args.name)
        service = args.typ.split(":")[1].split("/")[0]
        arn = f"arn:aws:s3:::{called}" if service == "s3" else f"arn:aws:{service}:{self._region}:123456789012:{called}"
        proofs = [{"resourceRecordName": called, "resourceRecordType": "CNAME", "resourceRecordValue": called}]
        known = {"arn": arn, "name": called, "keyId": args.name, "prefixListId": "pl-1", "repositoryUrl": f"registry/{called}"}
        known |= {"domainValidationOptions": proofs} if args.typ == "aws:acm/certificate:Certificate" else {}
        return called if service == "s3" else f"{args.name}-id", {**known, **args.inputs}

    def call(self, args: Any) -> dict[str, Any]:
        zones = {"names": [f"{self._region}{letter}" for letter in "abcdef"]}
        return {"accountId": "123456789012", "partition": "aws", "region": self._region, **zones}

    def register_transform(self, transform: Any) -> None:
        """Our programs have none."""

    def register_invoke_transform(self, transform: Any) -> None:
        """Our programs have none."""


def _list(file: Path, target: str, asked: IO[str]) -> dict[str, Any]:
    from infra_pulumi.foundation import foundation
    from llmspec.infra.asked import foundation_args

    loaded = load(file, target)
    site = Site(loaded.spec, loaded.target, loaded.path)
    made, exports = under_mocks(lambda: foundation(foundation_args(site.spec, site.target)), site.region)
    known = json.load(asked)
    return {"foundation": made, "service": _served(site, known["release"], known["ground"] or exports)}


def _served(site: Site, release: dict[str, Any] | str, ground: dict[str, Any]) -> list[tuple[str, str]] | str:
    """For a release, on the foundation as it stands, or on what its program would give out."""
    from infra_pulumi.service import service
    from llmspec.infra.asked import serving

    if isinstance(release, str):
        return release

    def program() -> None:
        service(serving(site, Release(**release), ground, resolve=stood_in))

    try:
        return under_mocks(program, site.region)[0]
    except LLMSpecError as error:
        return unlisted(error)


if __name__ == "__main__":
    gc.disable()  # thousands of classes are made and kept until the end: looking for garbage among them was 2 of 6 seconds
    narrow()
    try:
        sys.stdout.write(json.dumps(_list(Path(sys.argv[1]), sys.argv[2], sys.stdin)) + "\n")
    except LLMSpecError as error:
        sys.exit(str(error).splitlines()[0])
