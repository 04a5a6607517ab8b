"""What answers the engine: a folder that records what exists, or moto behind boto3 where a provider of ours can speak to it."""

import json
import os
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from pulumi_engine.errors import RefusedError
from pulumi_engine.values import bare

ACCOUNT = "123456789012"
NAMED = {
    "aws:cloudwatch/dashboard:Dashboard": "dashboardName",
    "aws:lambda/function:Function": "name",
    "aws:iam/role:Role": "name",
    "aws:kms/alias:Alias": "name",
}
"""Types whose id is a name that they are given; of S3 it is the bucket, of SageMaker and CloudWatch the name."""


class Cloud:
    """Creates, changes, removes and reads single resources."""

    def __init__(self) -> None:
        folder = os.environ.get("PULUMI_ENGINE_CLOUD")
        self._folder = Path(folder) if folder else None
        self._fails: dict[str, str] = json.loads(os.environ.get("PULUMI_ENGINE_FAILS", "{}"))
        self._pause = os.environ.get("PULUMI_ENGINE_PAUSE", "")

    def create(self, kind: str, name: str, inputs: dict[str, Any], region: str) -> tuple[str, dict[str, Any]]:
        self._may(name)
        self.wait("before", name)
        plain = bare(inputs)
        made = self._provided(kind, region)
        if made is not None:
            id_, outputs = made.create(name, plain)
        else:
            id_, outputs = self._recorded(kind, name, plain, region)
        self.wait("after", name)
        return id_, {**plain, **outputs}

    def update(self, kind: str, id_: str, name: str, inputs: dict[str, Any], was: dict[str, Any], region: str) -> dict[str, Any]:
        self._may(name)
        self.wait("before", name)
        plain = bare(inputs)
        if (made := self._provided(kind, region)) is not None:
            made.update(id_, plain)
        else:
            self._write(kind, id_, plain)
        self.wait("after", name)
        kept = {key: value for key, value in was.items() if key not in plain and key not in _gone(was, plain)}
        return {**kept, **plain}

    def delete(self, kind: str, id_: str, name: str, inputs: dict[str, Any], region: str) -> None:
        self._may(f"delete {name}")
        self.wait("delete", name)
        if (made := self._provided(kind, region)) is not None:
            made.delete(id_, bare(inputs))
        elif file := self._file(kind, id_):
            file.unlink(missing_ok=True)

    def read(self, kind: str, id_: str, inputs: dict[str, Any], region: str) -> dict[str, Any] | None:
        """Its inputs as they are there now; None when it is gone."""
        if (made := self._provided(kind, region)) is not None:
            found: dict[str, Any] | None = made.read(id_, bare(inputs))
            return found
        file = self._file(kind, id_)
        if file is None:
            return bare(inputs)  # type: ignore[no-any-return]
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def outputs(self, kind: str, id_: str, name: str, inputs: dict[str, Any], region: str) -> dict[str, Any]:
        """What a resource that was found says of itself."""
        made = self._provided(kind, region)
        return {**bare(inputs), **_said(kind, id_, bare(inputs), region), **(made.says(made.seen(id_)) if made else {})}

    def invoke(self, token: str, region: str) -> dict[str, Any]:
        answers: dict[str, dict[str, Any]] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT, "id": ACCOUNT, "arn": "", "userId": ""},
            "aws:index/getRegion:getRegion": {"region": region, "id": region, "name": region},
            "aws:index/getAvailabilityZones:getAvailabilityZones": {
                "names": [f"{region}{letter}" for letter in "abc"],
                "id": region,
            },
            "aws:index/getPartition:getPartition": {"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws"},
        }
        if token not in answers:
            raise RefusedError(f"no answer to {token}")
        return answers[token]

    def wait(self, moment: str, name: str) -> None:
        """`PULUMI_ENGINE_PAUSE=before:store`: stand still there, for a test that kills or interrupts."""
        if self._pause == f"{moment}:{name}" and self._folder:
            (self._folder / "paused").write_text(str(os.getpid()), encoding="utf-8")
            while not (self._folder / "go").exists():
                time.sleep(0.02)

    def _may(self, name: str) -> None:
        if name in self._fails:
            raise RefusedError(self._fails[name])

    def _provided(self, kind: str, region: str) -> Any:
        if not os.environ.get("AWS_ENDPOINT_URL"):
            return None
        from pulumi_engine import moto

        return moto.provider(kind, region)

    def _recorded(self, kind: str, name: str, inputs: dict[str, Any], region: str) -> tuple[str, dict[str, Any]]:
        id_ = named(kind, inputs) or f"{name}-{uuid.uuid4().hex[:8]}"
        file = self._file(kind, id_)
        if file is not None and file.exists():
            raise RefusedError(f"creating {kind} ({id_}): api error EntityAlreadyExists: {id_} already exists")
        self._write(kind, id_, inputs)
        return id_, _said(kind, id_, inputs, region)

    def _write(self, kind: str, id_: str, inputs: dict[str, Any]) -> None:
        if file := self._file(kind, id_):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(inputs, indent=1), encoding="utf-8")

    def _file(self, kind: str, id_: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / kind.split(":", 1)[1].replace("/", ".").replace(":", ".") / f"{urllib.parse.quote(id_, safe='')}.json"


def named(kind: str, inputs: dict[str, Any]) -> str:
    """The id that its inputs alone decide; empty where AWS chooses."""
    service = kind.split(":")[1].split("/")[0]
    if service == "s3":
        return str(inputs.get("bucket") or "")
    if kind in NAMED:
        return str(inputs.get(NAMED[kind]) or "")
    return str(inputs.get("name") or "") if service in ("sagemaker", "cloudwatch", "ecr", "glue", "sns", "logs") else ""


def _said(kind: str, id_: str, inputs: dict[str, Any], region: str) -> dict[str, Any]:
    """Ids and ARNs made of names."""
    service = kind.split(":")[1].split("/")[0]
    called = str(inputs.get("name") or inputs.get("bucket") or id_)
    where = "arn:aws:s3:::" if service == "s3" else f"arn:aws:{service}:{'' if service == 'iam' else region}:{ACCOUNT}:"
    known = {"arn": f"{where}{called}", "name": called, "keyId": id_, "prefixListId": "pl-1"}
    return {**known, "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{called}"}


def _gone(was: dict[str, Any], inputs: dict[str, Any]) -> set[str]:
    return {name for name in was if name in ("tags", "tagsAll") and name not in inputs}
