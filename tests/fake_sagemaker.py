"""A small SageMaker before moto's: it does the jobs that moto only writes down, as local processes of the real door.

It follows the request alone, as AWS does: channels are fetched from S3 to where it says, the container is started with the
environment that it says, its lines go to CloudWatch, and what it leaves is put where the request, or SageMaker itself, says.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from container_parts import WORK, environment
from serving_parts import eventually

if TYPE_CHECKING:
    from moto_parts import Moto

ML = "/opt/ml"
KINDS = {"TrainingJob": "/aws/sagemaker/TrainingJobs", "ProcessingJob": "/aws/sagemaker/ProcessingJobs"}


@dataclass
class Box:
    """One job."""

    kind: str
    name: str
    asked: dict[str, Any]
    """The request."""
    root: Path
    status: str = "InProgress"
    second: str = "Starting"
    more: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    starts: int = 0
    asked_to: str = ""
    """`stop` or `interrupt`."""

    @property
    def ml(self) -> Path:
        """The container's /opt/ml, another one at each start."""
        return self.root / f"{self.starts}" / "ml"

    def inside(self, path: str) -> Path:
        return Path(path.replace(ML, str(self.ml), 1))

    @property
    def ended(self) -> bool:
        return self.status in ("Completed", "Failed", "Stopped")

    @property
    def channels(self) -> dict[str, tuple[str, Path]]:
        """Channel -> its prefix in S3, and the folder that it is laid into."""
        if self.kind == "TrainingJob":
            found = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in self.asked["InputDataConfig"]}
            return {name: (uri, self.ml / "input" / "data" / name) for name, uri in found.items()}
        inputs = {each["InputName"]: each["S3Input"] for each in self.asked["ProcessingInputs"]}
        return {name: (each["S3Uri"], self.inside(each["LocalPath"])) for name, each in inputs.items()}

    @property
    def left(self) -> tuple[Path, str, str]:
        """The folder, the prefix and the key of what it leaves."""
        if self.kind == "TrainingJob":
            config = self.asked["OutputDataConfig"]
            assert config["CompressionType"] == "NONE"
            return self.ml / "model", f"{config['S3OutputPath']}/{self.name}/output/model/", config["KmsKeyId"]
        (output,) = self.asked["ProcessingOutputConfig"]["Outputs"]
        there = output["S3Output"]
        return self.inside(there["LocalPath"]), there["S3Uri"], self.asked["ProcessingOutputConfig"]["KmsKeyId"]


@dataclass
class SageMaker:
    """In the gate of moto's server. `boxes` are the jobs that were ever asked for."""

    app: Any
    aws: Moto
    root: Path
    boxes: dict[str, Box] = field(default_factory=dict)
    refuse: Callable[[dict[str, Any]], tuple[str, str] | None] = lambda _: None
    """What to answer to a request for a job instead of making it."""
    fail_first: str = ""
    """The reason with which the next job fails before its container starts."""
    deaf: bool = False
    """Whoever asks may not read logs."""
    room: threading.Event = field(default_factory=threading.Event)
    """While it is not set, jobs wait for their machine."""

    def __post_init__(self) -> None:
        self.room.set()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        service, _, verb = target.partition(".")
        if self.deaf and verb == "DescribeLogStreams":
            return _sent(start_response, *_no("AccessDeniedException", "not authorized to perform: logs:DescribeLogStreams"))
        if service == "SageMaker" and (kind := next((kind for kind in KINDS if verb == f"List{kind}s"), "")):
            return self._listed(kind, environ, start_response)
        kind = next((kind for kind in KINDS if verb in (f"Create{kind}", f"Describe{kind}", f"Stop{kind}")), "")
        if service != "SageMaker" or not kind:
            return self.app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
        code, answer = self._answer(verb.removesuffix(kind), kind, json.loads(body), environ)
        return _sent(start_response, code, answer)

    def _answer(self, verb: str, kind: str, asked: dict[str, Any], environ: Any) -> tuple[str, Any]:
        name = asked[f"{kind}Name"]
        box = self.boxes.get(name)
        if verb == "Create":
            if box is not None:
                return _no("ResourceInUse", f"Job name must be unique within an AWS account and region, and {name} exists")
            if refusal := self.refuse(asked):
                return _no(*refusal)
            code, said = self._moto(environ)
            self.boxes[name] = box = Box(kind, name, asked, self.root / name)
            threading.Thread(target=self._do, args=(box,), daemon=True).start()
            return code, said
        if box is None:
            return _no("ValidationException", "Requested resource not found.")
        if verb == "Stop":
            if box.ended:
                return _no("ValidationException", f"The request was rejected because the job is in status {box.status}.")
            self._signal(box, "stop")
            return "200 OK", {}
        code, said = self._moto(environ)
        return code, said | self._described(box)

    def _listed(self, kind: str, environ: Any, start_response: Any) -> list[bytes]:
        """Those in the state that is asked for; moto calls all of them completed."""
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        boxes = [box for box in self.boxes.values() if box.kind == kind and asked.get("StatusEquals") in (None, box.status)]
        noun = "training-job" if kind == "TrainingJob" else "processing-job"
        arn = f"arn:aws:sagemaker:{self.aws.env['AWS_REGION']}:123456789012:{noun}/"
        said = [
            {f"{kind}Name": box.name, f"{kind}Arn": arn + box.name, f"{kind}Status": box.status, "CreationTime": 0} for box in boxes
        ]
        return _sent(start_response, "200 OK", {f"{kind}Summaries": said})

    def _described(self, box: Box) -> dict[str, Any]:
        found = {f"{box.kind}Status": box.status, **box.more}
        if box.kind == "TrainingJob":
            found |= {"SecondaryStatus": box.second, "ModelArtifacts": {"S3ModelArtifacts": box.left[1]}}
        return found

    def _moto(self, environ: Any) -> tuple[str, dict[str, Any]]:
        told: list[str] = []
        content = b"".join(self.app(environ, lambda status, headers, *_: told.append(status)))
        found = json.loads(content)
        assert told[0].startswith("200"), content
        return told[0], found

    def job(self, name: str = "") -> Box:
        """The only one that was asked for with this in its name, once it is there."""
        eventually(lambda: [each for each in self.boxes if name in each], 60)
        (found,) = [box for each, box in self.boxes.items() if name in each]
        return found

    def interrupt(self, box: Box) -> None:
        """The machine is taken away; SageMaker finds another one."""
        self._signal(box, "interrupt")

    def _signal(self, box: Box, what: str) -> None:
        box.asked_to = what
        box.status = "Stopping" if what == "stop" else box.status
        if box.process is not None:
            box.process.send_signal(signal.SIGTERM)
        elif what == "stop":
            box.status = box.second = "Stopped"

    def _do(self, box: Box) -> None:
        """From the request to its end. An interruption begins it again, with nothing but its checkpoints."""
        if self.fail_first:
            box.more, self.fail_first = {"FailureReason": self.fail_first}, ""
            box.status = box.second = "Failed"
            return
        self.room.wait()
        while not box.ended:
            box.starts += 1
            box.asked_to = ""
            code = self._start(box)
            box.process = None
            if box.asked_to == "interrupt" and code:
                box.second = "Interrupted"
                continue
            self._end(box, code)

    def _start(self, box: Box) -> int:
        box.second = "Downloading"
        for uri, folder in box.channels.values():
            self._fetch(uri, folder)
        kept = box.asked.get("CheckpointConfig")
        if kept:
            assert kept["LocalPath"] == f"{ML}/checkpoints"
            self._fetch(kept["S3Uri"], box.ml / "checkpoints")
        told = {name: str(box.inside(value)) for name, value in box.asked.get("Environment", {}).items()}
        clean = {name: value for name, value in environment(LLMSPEC_BASE=str(box.ml)).items() if not name.startswith("AWS")}
        command = [sys.executable, "-P", "-m", WORK, "train"]
        box.process = subprocess.Popen(
            command, env=clean | told, cwd=box.ml, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        box.second = "Training"
        self._log(box)
        code = box.process.wait()
        if kept:
            self._store(box.ml / "checkpoints", kept["S3Uri"], "")
        return code

    def _end(self, box: Box, code: int) -> None:
        folder, uri, key = box.left
        box.second = "Uploading"
        if folder.exists() and not box.asked_to:
            self._store(folder, uri, key)
        said = {name: (box.ml / "output" / name) for name in ("failure", "message")}
        told = {name: path.read_text() for name, path in said.items() if path.exists()}
        if box.asked_to == "stop":
            box.status = box.second = "Stopped"
        elif code:
            own = told.get("failure", "") if box.kind == "TrainingJob" else "See job logs for more information"
            box.more = {"FailureReason": f"AlgorithmError: {own}, exit code: {code}"}
            if box.kind == "ProcessingJob":
                box.more["ExitMessage"] = told.get("message", "")
            box.status = box.second = "Failed"
        else:
            box.status = box.second = "Completed"

    def _fetch(self, uri: str, folder: Path) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        folder.mkdir(parents=True, exist_ok=True)
        for key in self.aws.keys(bucket, prefix):
            path = folder / key.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.aws.body(bucket, key))

    def _store(self, folder: Path, uri: str, kms: str) -> None:
        """In no order that anybody could rely on: the manifest goes first."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        how = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms} if kms else {}
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in sorted(paths, key=lambda path: path.name != "manifest.json"):
            self.aws.s3.put_object(Bucket=bucket, Key=prefix + path.relative_to(folder).as_posix(), Body=path.read_bytes(), **how)

    def _log(self, box: Box) -> None:
        """Its lines, to the group and into a stream as SageMaker calls them."""
        assert box.process
        assert box.process.stdout
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        logs = boto3.client("logs", self.aws.env["AWS_REGION"], endpoint_url=self.aws.url, **keys)
        group, stream = KINDS[box.kind], f"{box.name}/algo-1-{box.starts}"
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        where = {"logGroupName": group, "logStreamName": stream}
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(box.process.stdout), daemon=True)  # type: ignore[union-attr,arg-type]
        reader.start()
        sent, going = 0, True
        while going or sent < len(lines):
            reader.join(0.1)
            going = reader.is_alive()
            new = lines[sent : sent + 1000]
            events = [{"timestamp": int(time.time() * 1000), "message": line.rstrip("\n") or " "} for line in new]
            if events:
                logs.put_log_events(**where, logEvents=events)
            sent += len(new)

    def close(self) -> None:
        """Nothing is left running."""
        self.room.set()
        for box in self.boxes.values():
            if box.process is not None:
                self._signal(box, "stop")
        eventually(lambda: all(box.process is None for box in self.boxes.values()), 30)
        shutil.rmtree(self.root, ignore_errors=True)


def _no(code: str, message: str) -> tuple[str, Any]:
    return "400 Bad Request", {"__type": code, "message": message}


def _sent(start_response: Any, code: str, answer: Any) -> list[bytes]:
    content = json.dumps(answer).encode()
    start_response(code, [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(content)))])
    return [content]
