"""build: what a job or an endpoint is started from is in the registry before it is. CodeBuild makes it, so nobody needs Docker.

Nothing is remembered here. What is there says the registry, what is under way says CodeBuild: whoever asks again waits for the
build that runs, and what two people ask for at once is one build.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from llmspec import s3_files
from llmspec.aws import Aws, RefusedError
from llmspec.errors import PlaceError
from llmspec.infra import images
from llmspec.infra.workspace import Say, quiet
from llmspec.present import about
from llmspec.registry import name_of
from llmspec.shelf import File, sha256_of
from llmspec.shelf_s3 import S3Shelf
from llmspec.site import Site
from llmspec.spec import Spec

EVERY_SECONDS = 5.0
"""Between two looks at a build."""
LOOKED_AT = 50
"""Of a project's builds, the latest so many."""
LAST_LINES = 12
"""Of a build that failed."""
ON_GPUS = {"SERVING_EXTRA": "serve-gpu", "SERVING_BASE": "nvcr.io/nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04"}
"""What `build.sh` makes the serving image from where a machine has a GPU: CUDA, cuDNN, and Ubuntu's Python 3.12."""


@dataclass(frozen=True)
class Need:
    """One thing that something is started from."""

    what: Literal["serving", "training", "spark"]
    tag: str

    @property
    def project(self) -> images.Image:
        """What Spark unpacks is made where the training image is."""
        return "serving" if self.what == "serving" else "training"

    @property
    def title(self) -> str:
        return "what Spark unpacks" if self.what == "spark" else f"the {self.what} image"


def training() -> Need:
    return Need("training", images.tag("training", "cpu"))


def spark() -> Need:
    return Need("spark", images.tag("training", "cpu"))


def needed(spec: Spec, stages: Iterable[str]) -> list[Need]:
    """What these stages are started from, each once. What is done on this machine needs nothing."""
    inside, found = spec.in_aws, list[Need]()
    for stage in stages:
        if stage not in inside:
            continue
        if stage == "endpoint":
            found.append(Need("serving", images.tag("serving", images.variant(inside[stage]))))
        else:
            found.append(spark() if name_of(type(inside[stage])) == "emr" else training())
    return list(dict.fromkeys(found))


def address(site: Site, need: Need) -> str:
    """Where it is, or will be."""
    if need.what == "spark":
        return f"{_code(site).uri}/spark-{need.tag}.tar.gz"
    return f"{site.ground['repositories'][need.what]}:{need.tag}"


def there(site: Site, need: Need) -> bool:
    if need.what == "spark":
        shelf = _code(site)
        key = f"{shelf.prefix}spark-{need.tag}.tar.gz"
        found = shelf.bucket.ask("list_objects_v2", Prefix=key).get("Contents", [])
        return key in [item["Key"] for item in found]
    repository = str(site.ground["repositories"][need.what]).partition("/")[2]
    what = {"repositoryName": repository, "imageIds": [{"imageTag": need.tag}]}
    try:
        Aws(site.region).ask("ecr", "describe_images", **what)
    except RefusedError as error:
        if error.code.startswith("ImageNotFound"):
            return False
        raise
    return True


def required(site: Site, need: Need) -> str:
    """Its address. PlaceError when it is not there, with what builds it."""
    where = address(site, need)
    if not there(site, need):
        raise PlaceError(f"{need.title} of this source is not there: {where}\n  build it: {site.apply_command}")
    return where


def ready(site: Site, stages: Iterable[str], say: Say = quiet) -> None:
    """All that these stages need is there when this ends. Builds of different images run side by side."""
    missing = [need for need in needed(site.spec, stages) if not there(site, need)]
    if not missing:
        return
    source = send_source(site)
    projects = dict.fromkeys(need.project for need in missing)
    builds = [Build(site, tuple(need for need in missing if need.project == project), source, say) for project in projects]
    left = builds
    try:
        while left := [build for build in left if not build.step()]:
            time.sleep(EVERY_SECONDS)
    except BaseException as stopped:
        if not isinstance(stopped, Exception):  # Ctrl-C: what is built is of use to whoever applies next, and ends by itself
            for build in left:
                build.leave()
        raise


def send_source(site: Site) -> str:
    """`bucket/key` of the source bundle, as CodeBuild is told of it. What is there already is not sent again."""
    shelf, name = _code(site), f"source-{images.digest()[: images.DIGITS]}.zip"
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(images.bundle())
        s3_files.send(shelf.bucket, shelf.prefix, Path(folder), {name: File(sha256_of(path), path.stat().st_size)})
    return f"{shelf.bucket.name}/{shelf.prefix}{name}"


@dataclass(frozen=True)
class Lacking:
    """What would be built before the first stage, as a plan says it."""

    need: Need
    last_seconds: float | None
    """How long the build before it took, measured by AWS; None where there was none."""

    @property
    def line(self) -> str:
        took = about(self.last_seconds) if self.last_seconds else "how long is not known: none was built here yet"
        return f"{self.need.what:<12} {self.need.tag}  {took}"

    def to_dict(self) -> dict[str, Any]:
        return {"what": self.need.what, "tag": self.need.tag, "last_seconds": self.last_seconds}


def lacking(site: Site, stages: Iterable[str]) -> list[Lacking]:
    """What `ready` would build for these stages. Before there is a foundation that is all of it."""
    needs = needed(site.spec, stages)
    if not needs or not site.founded:
        return [Lacking(need, None) for need in needs]
    return [Lacking(need, last_seconds(site, need)) for need in needs if not there(site, need)]


def last_seconds(site: Site, need: Need) -> float | None:
    for build in _builds(site, _project(site, need.project)):
        if build["buildStatus"] == "SUCCEEDED" and "endTime" in build:
            return float((build["endTime"] - build["startTime"]).total_seconds())
    return None


@dataclass
class Build:
    """What one project of CodeBuild is to make of one source."""

    site: Site
    needs: tuple[Need, ...]
    source: str
    say: Say
    ours: str = ""
    """The id of the build that makes it, once it is known."""
    _said: str = field(default="", repr=False)

    @property
    def title(self) -> str:
        return " and ".join(need.title for need in self.needs)

    @property
    def project(self) -> str:
        return _project(self.site, self.needs[0].project)

    def step(self) -> bool:
        """Look, and do what is next; whether all of it is there."""
        builds = _builds(self.site, self.project)
        running = next((build for build in builds if build["buildStatus"] == "IN_PROGRESS"), None)
        if running:
            self._follow(running)
            return False
        if all(there(self.site, need) for need in self.needs):
            self._tell("is there")
            return True
        if self.ours:
            raise self._failed(next(build for build in builds if build["id"] == self.ours))
        self._begin(sum(_said(build, "TAG") == self.needs[0].tag for build in builds))
        return False

    def leave(self) -> None:
        """Who stops waiting is told what goes on without him."""
        if self.ours:
            self.say(f"{self.title}: its build goes on, and the next apply finds it; {link(self.site, self.project, self.ours)}")
            self.say(f"  to end it: aws codebuild stop-build --region {self.site.region} --id {self.ours}")

    def _begin(self, before: int) -> None:
        """A token is good for five minutes and one attempt: who ask at once get one build, and none gets one that failed."""
        asked = self._variables()
        named = [{"name": name, "value": value, "type": "PLAINTEXT"} for name, value in asked.items()]
        token = "-".join([*asked.get("ONLY", "").split(), self.needs[0].tag, str(before)])
        said = Aws(self.site.region).ask(
            "codebuild",
            "start_build",
            projectName=self.project,
            sourceLocationOverride=self.source,
            environmentVariablesOverride=named,
            idempotencyToken=token,
        )
        self.ours = str(said["build"]["id"])
        self._tell(f"is built at CodeBuild, {link(self.site, self.project, self.ours)}")

    def _variables(self) -> dict[str, str]:
        """Whatever build.sh is to know of this source; what it makes without being told is left out."""
        first = self.needs[0]
        only = {} if first.what == "serving" or len(self.needs) > 1 else {"ONLY": first.what}
        return {"TAG": first.tag, **only, **(ON_GPUS if first.tag.endswith("-gpu") else {})}

    def _follow(self, build: Mapping[str, Any]) -> None:
        if _said(build, "TAG") == self.needs[0].tag and _said(build, "ONLY") in ("", self._variables().get("ONLY", "all of it")):
            self.ours = str(build["id"])
            self._tell(f"{build.get('currentPhase', 'SUBMITTED').lower().replace('_', ' ')}")
        else:  # a project builds one at a time
            self._tell(f"waits for the build of {_said(build, 'TAG') or 'something else'}")

    def _tell(self, state: str) -> None:
        if state != self._said:
            self._said = state
            self.say(f"{self.title} ({self.needs[0].tag}): {state}")

    def _failed(self, build: Mapping[str, Any]) -> PlaceError:
        phases = [phase for phase in build.get("phases", []) if phase.get("phaseStatus") not in (None, "SUCCEEDED")]
        why = [f"{phase['phaseType']}: {context['message']}" for phase in phases for context in phase.get("contexts", [])]
        state = str(build["buildStatus"])
        reason = "; ".join(why) or (f"{phases[0]['phaseType']}: {state}" if phases else state)
        if state == "SUCCEEDED":
            reason = "its build ended well, and it is not there"
        lines = "".join(f"\n    {line}" for line in self._last_lines(build))
        return PlaceError(f"{self.title} was not built: {reason}{lines}", link(self.site, self.project, self.ours))

    def _last_lines(self, build: Mapping[str, Any]) -> list[str]:
        logs = build.get("logs", {})
        if not logs.get("streamName"):
            return ["it wrote no log"]
        try:
            said = Aws(self.site.region).ask(
                "logs", "get_log_events", logGroupName=logs["groupName"], logStreamName=logs["streamName"], limit=LAST_LINES
            )
        except PlaceError as error:
            return [f"its log cannot be read: {str(error).splitlines()[0]}"]
        return [str(event["message"]).rstrip() for event in said["events"]]


def link(site: Site, project: str, build: str) -> str:
    """Where a person looks at it."""
    home = f"https://{site.region}.console.aws.amazon.com/codesuite/codebuild"
    return f"{home}/projects/{project}/build/{build.replace(':', '%3A')}/?region={site.region}"


def _builds(site: Site, project: str) -> list[dict[str, Any]]:
    """The latest of a project, newest first; none of one that is not there, which a start will say."""
    aws = Aws(site.region)
    try:
        ids = aws.ask("codebuild", "list_builds_for_project", projectName=project, sortOrder="DESCENDING")["ids"][:LOOKED_AT]
    except RefusedError as error:
        if error.gone:
            return []
        raise
    found = aws.ask("codebuild", "batch_get_builds", ids=ids)["builds"] if ids else []
    return sorted(found, key=lambda build: build["startTime"], reverse=True)


def _said(build: Mapping[str, Any], name: str) -> str:
    """A variable that a build was started with."""
    told = build.get("environment", {}).get("environmentVariables", [])
    return next((str(each["value"]) for each in told if each["name"] == name), "")


def _project(site: Site, image: images.Image) -> str:
    return str(site.ground["build_projects"][image])


def _code(site: Site) -> S3Shelf:
    """The product's folder of sources."""
    store = site.store
    assert isinstance(store, S3Shelf), "the language asks for a bucket where something is in AWS"
    return store.below(f"{site.name}/code")
