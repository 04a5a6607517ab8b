"""A small ECS and a small EMR Serverless before moto's: they do what moto only writes down, as local processes of the real door.

They follow the request alone: the environment that it says, and nothing else. Lines go to CloudWatch, into the group and the stream
that it names; a token gives the job that it gave before; who is told to end gets SIGTERM.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import boto3
from container_parts import WORK, environment

from llmspec import container

if TYPE_CHECKING:
    from moto_parts import Moto

ACCOUNT = "123456789012"


@dataclass
class Box:
    """One job."""

    id: str
    asked: dict[str, Any]
    """The request."""
    group: str
    stream: str
    process: subprocess.Popen[str] | None = None
    code: int | None = None
    told_to_end: str = ""
    ended: bool = False

    @property
    def runs(self) -> bool:
        return not self.ended


@dataclass
class Cloud(ABC):
    """In the gate of moto's server. `boxes` are the jobs that were ever asked for."""

    aws: Moto
    root: Path
    app: Any = None
    boxes: list[Box] = field(default_factory=list)
    fail_first: str = ""
    """The reason with which the next job ends before anything is started."""
    once_asked: Callable[[Box], None] = lambda _: None
    """What happens between a request and its start, once."""
    held: threading.Event = field(default_factory=threading.Event)
    """While it is not set, containers wait before they start."""

    def __post_init__(self) -> None:
        self.held.set()
        self.app, self.aws.gate.app = self.aws.gate.app, self

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if not self.mine(environ):
            return self.app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        code, answer = self.answer(environ, json.loads(body or b"{}"))
        content = json.dumps(answer).encode()
        start_response(code, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        return [content]

    @abstractmethod
    def mine(self, environ: Any) -> bool: ...

    @abstractmethod
    def answer(self, environ: Any, asked: dict[str, Any]) -> tuple[str, Any]: ...

    @abstractmethod
    def command(self, box: Box, folder: Path) -> tuple[list[str], dict[str, str]]:
        """What is started, with which environment."""

    def moto(self, environ: Any) -> dict[str, Any]:
        """What moto says, which checks the request."""
        told: list[str] = []
        content = b"".join(self.app(environ, lambda status, headers, *_: told.append(status)))
        assert told[0].startswith("200"), content
        found = json.loads(content)
        assert isinstance(found, dict)
        return found

    def before(self, asked: dict[str, Any]) -> Box | None:
        """The job that was asked for with this token."""
        return next((box for box in self.boxes if box.asked["clientToken"] == asked["clientToken"]), None)

    def begin(self, box: Box) -> None:
        self.boxes.append(box)
        threading.Thread(target=self._do, args=(box,), daemon=True).start()

    def end(self, box: Box, reason: str) -> None:
        box.told_to_end = reason
        if box.process is not None:
            box.process.send_signal(signal.SIGTERM)

    def box(self, runs: bool = True) -> Box:
        """The latest, once its process is there."""
        until = time.monotonic() + 60
        while not self.boxes or (runs and self.boxes[-1].process is None):
            assert time.monotonic() < until
            time.sleep(0.02)
        return self.boxes[-1]

    def close(self) -> None:
        self.held.set()
        for box in self.boxes:
            if box.process is not None and box.process.poll() is None:
                box.process.kill()
        self.aws.gate.app = self.app

    def _do(self, box: Box) -> None:
        if self.fail_first:
            time.sleep(0.5)  # AWS looks for a machine after it has answered
            box.told_to_end, self.fail_first = self.fail_first, ""
            box.ended = True
            return
        happens, self.once_asked = self.once_asked, lambda _: None
        happens(box)
        self.held.wait(60)
        if box.told_to_end:
            box.ended = True
            return
        folder = self.root / f"{len(self.boxes)}-{self.boxes.index(box)}"
        folder.mkdir()
        command, told = self.command(box, folder)
        told |= {name: value for name, value in self.aws.env.items() if not name.endswith("REGION")}
        # Spark Connect, where a test spoke it in this process, leaves names of its own.
        clean = {name: value for name, value in environment().items() if not name.startswith(("AWS", "SPARK"))}
        # On a machine of its own it would have this folder for itself.
        told[container.BASE] = told[container.BASE].replace("/tmp/llmspec", str(folder / "llmspec"))
        out = subprocess.PIPE
        box.process = subprocess.Popen(command, env=clean | told, cwd=folder, stdout=out, stderr=subprocess.STDOUT, text=True)
        self._log(box)
        box.code = box.process.wait()
        box.ended = True

    def _log(self, box: Box) -> None:
        assert box.process
        assert box.process.stdout
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        logs = boto3.client("logs", self.aws.env["AWS_REGION"], endpoint_url=self.aws.url, **keys)
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=box.group)
        logs.create_log_stream(logGroupName=box.group, logStreamName=box.stream)
        for line in box.process.stdout:
            event = {"timestamp": int(time.time() * 1000), "message": line.rstrip("\n") or " "}
            logs.put_log_events(logGroupName=box.group, logStreamName=box.stream, logEvents=[event])


class Ecs(Cloud):
    """Definitions and the cluster are moto's; tasks are ours."""

    def mine(self, environ: Any) -> bool:
        service, _, verb = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        return service.startswith("AmazonEC2ContainerService") and verb in ("RunTask", "DescribeTasks", "ListTasks", "StopTask")

    def answer(self, environ: Any, asked: dict[str, Any]) -> tuple[str, Any]:
        match environ["HTTP_X_AMZ_TARGET"].partition(".")[2]:
            case "RunTask":
                return self._run(environ, asked)
            case "ListTasks":
                found = [box for box in self.boxes if box.asked["startedBy"] == asked["startedBy"]]
                wanted = [box for box in found if box.runs and not box.told_to_end]
                return "200 OK", {"taskArns": [box.id for box in wanted]}
            case "DescribeTasks":
                return "200 OK", {"tasks": [self._described(box) for box in self.boxes if box.id in asked["tasks"]]}
            case _:
                (box,) = [box for box in self.boxes if box.id == asked["task"]]
                self.end(box, asked["reason"])
                return "200 OK", {"task": self._described(box)}

    def _run(self, environ: Any, asked: dict[str, Any]) -> tuple[str, Any]:
        if box := self.before(asked):
            if box.asked != asked:
                return "400 Bad Request", {"__type": "ConflictException", "message": "the token was for another task"}
            return "200 OK", {"tasks": [self._described(box)], "failures": []}
        (made,) = self.moto(environ)["tasks"]
        options = self._container(asked)["logConfiguration"]["options"]
        stream = f"{options['awslogs-stream-prefix']}/work/{made['taskArn'].rpartition('/')[2]}"
        box = Box(made["taskArn"], asked, options["awslogs-group"], stream)
        self.begin(box)
        return "200 OK", {"tasks": [self._described(box)], "failures": []}

    def definition(self, asked: dict[str, Any]) -> dict[str, Any]:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        ecs = boto3.client("ecs", self.aws.env["AWS_REGION"], endpoint_url=self.aws.url, **keys)
        found: dict[str, Any] = ecs.describe_task_definition(taskDefinition=asked["taskDefinition"])["taskDefinition"]
        return found

    def _container(self, asked: dict[str, Any]) -> dict[str, Any]:
        (found,) = self.definition(asked)["containerDefinitions"]
        assert isinstance(found, dict)
        return found

    def command(self, box: Box, folder: Path) -> tuple[list[str], dict[str, str]]:
        (override,) = box.asked["overrides"]["containerOverrides"]
        told = {each["name"]: each["value"] for each in override["environment"]}
        return [sys.executable, "-P", "-m", WORK, *self._container(box.asked)["command"]], told

    def _described(self, box: Box) -> dict[str, Any]:
        status = "STOPPED" if box.ended else "RUNNING" if box.process else "PROVISIONING"
        work = {"name": "work"} | ({"exitCode": box.code} if box.code is not None else {})
        said = {"taskArn": box.id, "lastStatus": status, "containers": [work]}
        said["desiredStatus"] = "STOPPED" if box.ended or box.told_to_end else "RUNNING"
        if box.ended:
            said["stoppedReason"] = box.told_to_end or "Essential container in task exited"
        return said


class Emr(Cloud):
    """The application is moto's; runs are ours, on a Spark of this machine's."""

    spark: str = ""
    """A Spark Connect address; spark-submit and a JVM when empty."""

    def mine(self, environ: Any) -> bool:
        return re.fullmatch(r"/applications/\w+(/jobruns.*)?", environ["PATH_INFO"]) is not None

    def answer(self, environ: Any, asked: dict[str, Any]) -> tuple[str, Any]:
        found = re.fullmatch(r"/applications/(\w+)/jobruns(?:/(\w+))?", environ["PATH_INFO"])
        if found is None:  # moto's list of releases is older than the one that we need
            said = self.moto(environ)
            return "200 OK", {"application": said["application"] | {"releaseLabel": "emr-spark-8.1.0"}}
        application, run = found.groups()
        match environ["REQUEST_METHOD"], run:
            case "POST", None:
                return self._start(environ, application, asked)
            case "GET", None:
                states = parse_qs(environ["QUERY_STRING"])["states"]
                runs = [self._described(box, application) for box in self.boxes]
                listed = [{**each, "id": each["jobRunId"]} for each in runs if each["state"] in states]
                return "200 OK", {"jobRuns": listed}
        (box,) = [box for box in self.boxes if box.id == run]
        if environ["REQUEST_METHOD"] == "DELETE":
            self.end(box, "cancelled")
            return "200 OK", {"applicationId": application, "jobRunId": run}
        return "200 OK", {"jobRun": self._described(box, application)}

    def _start(self, environ: Any, application: str, asked: dict[str, Any]) -> tuple[str, Any]:
        if (box := self.before(asked)) is None:
            run = self.moto(environ)["jobRunId"]
            told = asked["configurationOverrides"]["monitoringConfiguration"]["cloudWatchLoggingConfiguration"]
            stream = f"{told['logStreamNamePrefix']}/applications/{application}/jobs/{run}/SPARK_DRIVER/stdout"
            box = Box(run, asked, told["logGroupName"], stream)
            self.begin(box)
        elif box.asked != asked:
            return "409 Conflict", {"__type": "ConflictException", "message": "the token was for another run"}
        return "200 OK", {"applicationId": application, "jobRunId": box.id, "arn": "arn"}

    def settings(self, box: Box) -> dict[str, str]:
        words = shlex.split(box.asked["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"])
        assert words[::2] == ["--conf"] * (len(words) // 2)
        return dict(word.split("=", 1) for word in words[1::2])

    def command(self, box: Box, folder: Path) -> tuple[list[str], dict[str, str]]:
        """The archive is what this environment is; sizes are a cluster's."""
        submit, start = box.asked["jobDriver"]["sparkSubmit"], "spark.emr-serverless.driverEnv."
        told = {name.removeprefix(start): value for name, value in self.settings(box).items() if name.startswith(start)}
        told |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
        bucket, _, key = submit["entryPoint"].removeprefix("s3://").partition("/")
        (folder / "entry.py").write_bytes(self.aws.body(bucket, key))
        command = ["entry.py", *submit["entryPointArguments"]]
        if self.spark:
            return [sys.executable, *command], told | {"SPARK_REMOTE": self.spark}
        import pyspark

        told |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(Path(pyspark.__file__).parent), "PATH": os.environ["PATH"]}
        same = ("spark.driver.maxResultSize", "spark.api.mode")
        confs = [word for name in same for word in ("--conf", f"{name}={self.settings(box)[name]}")]
        quiet = ["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=4"]
        return [f"{told['SPARK_HOME']}/bin/spark-submit", "--master", "local[2]", *confs, *quiet, *command], told

    def _described(self, box: Box, application: str) -> dict[str, Any]:
        state = "RUNNING" if box.process else "PENDING"
        if box.ended:
            state = "CANCELLED" if box.told_to_end == "cancelled" else "FAILED" if box.code != 0 else "SUCCESS"
        elif box.told_to_end:
            state = "CANCELLING"
        details = box.told_to_end or (f"Job failed, please check complete logs. ExitCode: {box.code}" if box.code else "")
        plain = {"createdAt": 0, "updatedAt": 0, "arn": "arn", "createdBy": "me", "releaseLabel": "emr-spark-8.1.0"}
        asked = {name: box.asked[name] for name in ("name", "configurationOverrides", "jobDriver")}
        role = {"executionRole": box.asked["executionRoleArn"]}
        return plain | asked | role | {"applicationId": application, "jobRunId": box.id, "state": state, "stateDetails": details}
