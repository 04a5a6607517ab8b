"""A data job at EMR Serverless: the same program as everywhere, on the Spark of the foundation's application.

Our code gets there as an archive with a Python of its own, which driver and workers unpack; `containers/spark.Dockerfile` says why.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from backends.places.aws import GB
from backends.places.direct import Direct, Seen
from backends.places.remote import PAPER, Errand
from backends.places.talk import talking
from llmspec.aws import Aws, RefusedError
from llmspec.errors import DAMAGED_CODE, PlaceError
from llmspec.infra import build
from llmspec.job import Job

if TYPE_CHECKING:
    import dagster

    from backends.places.emr import Emr

MIB_OF_GB = 1024
PYTHON = "./environment/bin/python"
"""Of the archive, where Spark unpacks it."""
ENTRY = """\
from backends.work.container import main

raise SystemExit(main())
"""
"""What Spark starts: the door, which is in the archive."""
SERVICE = "emr-serverless"
GOING = ("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING")
_OF_AWS = ("Internal", "insufficient capacity", "Insufficient capacity")


@dataclass(frozen=True)
class Run(Direct):
    """One errand as a job run."""

    place: "Emr"

    @property
    def aws(self) -> Aws:
        return Aws(self.errand.site.region)

    @property
    def application(self) -> str:
        """The foundation's, with the release that the spec names: another Spark would be another promise."""
        errand, ground = self.errand, self.errand.ground
        cure = errand.site.apply_again
        if "spark_application" not in ground:
            raise PlaceError(f"{errand.job.stage}: the foundation has no Spark application\n  {cure}")
        found = str(ground["spark_application"])
        label = self.aws.ask(SERVICE, "get_application", applicationId=found)["application"]["releaseLabel"]
        if label != self.place.release:
            raise PlaceError(f"{errand.job.stage}: the application {found} has {label}, and not {self.place.release}\n  {cure}")
        return found

    @property
    def called(self) -> str:
        """The name of every run of this content."""
        return self.errand.name(0).removesuffix("-0")

    def running(self) -> Seen | None:
        what: dict[str, Any] = {"applicationId": self.application, "states": list(GOING)}
        while True:
            said = self.aws.ask(SERVICE, "list_job_runs", **what)
            for run in said["jobRuns"]:
                if run.get("name") == self.called:
                    return self.look(Seen(str(run["id"]), "", True))
            if not said.get("nextToken"):
                return None
            what["nextToken"] = said["nextToken"]

    def ask(self, token: str, number: int) -> Seen | None:
        wanted = self.request(token)
        if faults := self.aws.faults(SERVICE, "start_job_run", wanted):
            raise PlaceError("\n".join(f"{self.errand.job.stage}: {fault}" for fault in faults))
        try:
            said = self.aws.ask(SERVICE, "start_job_run", **wanted)
        except RefusedError as error:
            if error.code.startswith("Conflict"):  # this attempt was another run: the card has changed since
                return None
            raise
        return self.look(Seen(str(said["jobRunId"]), "SUBMITTED", True))

    def look(self, seen: Seen) -> Seen:
        what = {"applicationId": self.errand.ground["spark_application"], "jobRunId": seen.id}
        return _seen(self.aws.ask(SERVICE, "get_job_run", **what)["jobRun"])

    def end(self, seen: Seen) -> None:
        self.aws.ask(SERVICE, "cancel_job_run", applicationId=self.errand.ground["spark_application"], jobRunId=seen.id)

    def link(self, seen: Seen) -> str:
        region, application = self.errand.site.region, self.errand.ground["spark_application"]
        home = f"https://{region}.console.aws.amazon.com/emr/home?region={region}"
        return f"{home}#/serverless/applications/{application}/job-runs/{seen.id}"

    def request(self, token: str) -> dict[str, Any]:
        """One attempt: what failed for the data's reasons would fail again, and be paid again."""
        paper, errand = self.errand.shelf.below(PAPER), self.errand
        paper.write("entry.py", ENTRY)
        submit = {
            "entryPoint": f"{paper.uri}/entry.py",
            "entryPointArguments": ["spark"],
            "sparkSubmitParameters": " ".join(f"--conf {name}={value}" for name, value in self.settings().items()),
        }
        return {
            "applicationId": self.application,
            "clientToken": token,
            "name": self.called,
            "executionRoleArn": errand.role,
            "jobDriver": {"sparkSubmit": submit},
            "configurationOverrides": {"monitoringConfiguration": self.monitoring(token)},
            "executionTimeoutMinutes": ceil(self.place.max_runtime / 60),
            "retryPolicy": {"maxAttempts": 1},
            "tags": errand.tags,
        }

    def settings(self) -> dict[str, str]:
        """Half of a worker's memory is the JVM's, half is Python's, where the rows are cleaned and come together."""
        place, half = self.place, round(self.place.memory / GB * MIB_OF_GB) // 2
        sizes = {f"{who}.cores": str(place.cpu) for who in ("driver", "executor")}
        sizes |= {f"{who}.{what}": f"{half}m" for who in ("driver", "executor") for what in ("memory", "memoryOverhead")}
        found = {f"spark.{name}": value for name, value in sizes.items()}
        found |= {
            "spark.executor.instances": str(place.workers),
            "spark.dynamicAllocation.enabled": "false",
            "spark.driver.maxResultSize": "0",
            "spark.api.mode": "classic",
            # EMR's own default is Glue's catalogue, whose tables no job of ours reads, and to which no private network has a door.
            "spark.sql.catalogImplementation": "in-memory",
            "spark.archives": f"{build.required(self.errand.site, build.spark())}#environment",
        }
        told = {**self.told, "PYSPARK_DRIVER_PYTHON": PYTHON, "PYSPARK_PYTHON": PYTHON}
        workers = ("AWS_REGION", "AWS_DEFAULT_REGION", "PYSPARK_PYTHON")
        found |= {f"spark.emr-serverless.driverEnv.{name}": value for name, value in told.items()}
        return found | {f"spark.executorEnv.{name}": told[name] for name in workers}

    def monitoring(self, token: str) -> dict[str, Any]:
        """The driver's words go where we listen, into a group with a key of its own; all of Spark's logs beside the job."""
        errand = self.errand
        return {
            "cloudWatchLoggingConfiguration": {
                "enabled": True,
                "logGroupName": self.log_group,
                "logStreamNamePrefix": f"{errand.job.stage}/{token}",
                "logTypes": {"SPARK_DRIVER": ["STDOUT", "STDERR"]},
            },
            "s3MonitoringConfiguration": {
                "logUri": f"{errand.shelf.below('logs').uri}/",
                "encryptionKeyArn": errand.ground["data_key"],
            },
            "managedPersistenceMonitoringConfiguration": {"enabled": False},
        }


def run(place: "Emr", context: "dagster.AssetExecutionContext", job: Job) -> None:
    """To the artifact in the store."""
    with talking(context, job) as talk:
        Run(Errand(place.site, job), talk, place).result()


def _seen(said: Mapping[str, Any]) -> Seen:
    state, details = str(said["state"]), str(said.get("stateDetails") or "")
    failed = state == "FAILED"
    return Seen(
        id=str(said["jobRunId"]),
        doing=state,
        runs=state in GOING,
        ending=state == "CANCELLING",
        why=details,
        of_aws=failed and any(text in details for text in _OF_AWS),
        stream=said["configurationOverrides"]["monitoringConfiguration"]["cloudWatchLoggingConfiguration"]["logStreamNamePrefix"],
        damaged=failed and re.search(rf"[Ee]xit[ ]?[Cc]ode:? {DAMAGED_CODE}\b", details) is not None,
    )
