"""What a container is told, written once for both sides: names of variables, a release packed into them, where a job's inputs lie.

SageMaker takes 1,024 characters in a model's variable, so a release is packed, and goes on in further variables where it is longer.
"""

import base64
import binascii
import difflib
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from llmspec.errors import PlaceError
from llmspec.job import Job
from llmspec.release import Release

RELEASE = "LLMSPEC_RELEASE"
"""The release: packed, and then in `LLMSPEC_RELEASE_2`, `_3`, … too; as JSON; or the path of a file with it."""
MODEL = "LLMSPEC_MODEL"
"""Where the onnx artifact lies: a folder, or `s3://bucket/prefix`, which is fetched first."""
GRANTS = "LLMSPEC_PLATFORM_GRANTS"
"""What whoever comes through the platform may do without a key: `use`, `use,read_metrics`."""
KEYS = "LLMSPEC_KEYS"
"""The folder of keys and audit trail."""
JOURNAL = "LLMSPEC_JOURNAL"
"""A folder; `stdout` when absent."""
STOP_SECONDS = "LLMSPEC_STOP_SECONDS"
"""What the platform gives between SIGTERM and SIGKILL; 30 when absent."""
SERVING = (RELEASE, MODEL, GRANTS, KEYS, JOURNAL, STOP_SECONDS)
PORTS = ("SAGEMAKER_BIND_TO_PORT", "AWS_LWA_PORT", "PORT")
"""The first that is set says where to listen; 8080 when none is."""

JOB = "LLMSPEC_JOB"
"""The job's file, or `s3://…/job.json`, beside which its sources lie; the channel `job` when absent."""
BASE = "LLMSPEC_BASE"
"""The folder of all that SageMaker lays out; /opt/ml when absent."""
OUTPUT = "LLMSPEC_OUTPUT"
"""The folder that the artifact is put into, or `s3://…` of its place in the store; `model` in the base when absent."""
CHECKPOINTS = "LLMSPEC_CHECKPOINTS"
"""`s3://…` where the last checkpoint is kept; when absent the platform keeps the folder `checkpoints` in the base."""
MOST_SECONDS = "LLMSPEC_MOST_SECONDS"
"""A job that runs longer ends itself, where no platform does that; as long as it takes when absent."""
REASON = "LLMSPEC_REASON"
"""The folder that the reason of a failure is written into; `output` in the base when absent."""
WORK = (JOB, BASE, OUTPUT, REASON, CHECKPOINTS, MOST_SECONDS)
GIVEN = "LLMSPEC_SPARK"
"""What the door says to the work in it: Spark is there, set up by whoever submitted us."""
PIPES = "pipes.json"
"""Beside the job's file: what whoever started it needs said in the log, so that Dagster shows progress and lines live."""
SOURCES = "sources"
"""The channel of a data job's files."""
_LONGEST = 1000
_FURTHER = re.compile(rf"{RELEASE}_[0-9]+")


def packed(release: Release) -> dict[str, str]:
    """The variables that say it. The artifact's folder stays here: it is another one there."""
    text = json.dumps(json.loads(replace(release, artifact="").to_json()), separators=(",", ":"), ensure_ascii=False)
    told = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    pieces = [told[start : start + _LONGEST] for start in range(0, len(told), _LONGEST)]
    return {RELEASE if number == 1 else f"{RELEASE}_{number}": piece for number, piece in enumerate(pieces, 1)}


def unpacked(environment: Mapping[str, str]) -> Release:
    """The release that the variables say; PlaceError when they do not."""
    said = environment.get(RELEASE, "").strip()
    if not said:
        raise PlaceError(f"{RELEASE} is not set: it says which release this container serves")
    try:
        return Release.from_json(_text(said, environment))
    except OSError as error:
        raise PlaceError(f"{RELEASE}: {said[:200]} cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, AttributeError, EOFError, zlib.error, binascii.Error) as error:
        cure = "set all its parts as `llmspec` made them, by the version that is in this image"
        raise PlaceError(f"{RELEASE} holds no whole release ({type(error).__name__}): {cure}") from error


def released(environment: Mapping[str, str]) -> Release | None:
    """What a container of ours serves; None where the variables say no release."""
    return unpacked(environment) if RELEASE in environment else None


def _text(said: str, environment: Mapping[str, str]) -> str:
    if said.startswith("{"):
        return said
    if said.startswith("/"):  # what is packed begins with gzip's own first bytes, H4sI
        return Path(said).read_text(encoding="utf-8")
    number = 2
    while piece := environment.get(f"{RELEASE}_{number}", ""):
        said, number = said + piece.strip(), number + 1
    try:
        return gzip.decompress(base64.b64decode(said, validate=True)).decode()
    except gzip.BadGzipFile as error:
        raise ValueError(str(error)) from error


def unknown(environment: Mapping[str, str], known: tuple[str, ...]) -> Iterator[str]:
    """Variables of ours that mean nothing there: a misspelt one would be an option that is silently ignored."""
    for name in sorted(environment):
        if name.startswith("LLMSPEC_") and name not in known and not _FURTHER.fullmatch(name):
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name} means nothing here: " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")


def source_files(job: Job) -> Iterator[tuple[str, str, str]]:
    """Source, path and place in the channel, for each file of a data job. Places sort as the paths do, so rows keep their order."""
    for number, source in enumerate(sorted(job.files)):
        for index, path in enumerate(sorted(job.files[source])):
            yield source, path, f"{number:03}/{index:06}/{PurePath(path).name}"
