"""A job at ECS: one task on Fargate, in the foundation's cluster and network."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from backends.places.aws import GB
from backends.places.direct import Direct, Seen
from backends.places.remote import Errand
from backends.places.talk import talking
from llmspec import container, secrets
from llmspec.aws import Aws, RefusedError
from llmspec.errors import DAMAGED_CODE, PlaceError
from llmspec.infra import build
from llmspec.job import Job, digest_of

if TYPE_CHECKING:
    import dagster

    from backends.places.ecs import Ecs

WORK = "work"
"""The container."""
STOP_SECONDS = 120
"""From SIGTERM to SIGKILL, the most that Fargate gives."""
UNITS = 1024
"""Of a vCPU, and MiB of a GB, as ECS counts."""
_OF_AWS = (
    "Capacity is unavailable",
    "CannotPullContainerError: inspect",
    "Timeout waiting for network interface",
    "SpotInterruption",
)


def secret_name(errand: Errand, name: str) -> str:
    """`bot-prod/SHOP_TOKEN`: under which name Secrets Manager holds what the spec calls `${secret.SHOP_TOKEN}`."""
    return f"{errand.site.name}-{errand.site.target}/{name}"


@dataclass(frozen=True)
class Task(Direct):
    """One errand as a task."""

    place: "Ecs"

    @property
    def aws(self) -> Aws:
        return Aws(self.errand.site.region)

    @property
    def cluster(self) -> str:
        return str(_of(self.errand, "cluster"))

    @property
    def started_by(self) -> str:
        """By which a task of this content is found."""
        return self.errand.name(0).removesuffix("-0")

    def running(self) -> Seen | None:
        found = self.aws.ask("ecs", "list_tasks", cluster=self.cluster, startedBy=self.started_by, desiredStatus="RUNNING")
        return self.look(Seen(found["taskArns"][0], "", True)) if found["taskArns"] else None

    def ask(self, token: str, number: int) -> Seen | None:
        wanted = self.request(token)
        if faults := self.aws.faults("ecs", "run_task", wanted):
            raise PlaceError("\n".join(f"{self.errand.job.stage}: {fault}" for fault in faults))
        try:
            said = self.aws.ask("ecs", "run_task", **wanted)
        except RefusedError as error:
            if error.code.startswith("Conflict"):  # this attempt was another task: the card has changed since
                return None
            raise
        if not said["tasks"]:
            why = "; ".join(str(item.get("reason")) for item in said["failures"])
            raise PlaceError(f"{self.errand.job.stage}: ECS starts no task: {why}")
        return self.seen(said["tasks"][0])

    def look(self, seen: Seen) -> Seen:
        said = self.aws.ask("ecs", "describe_tasks", cluster=self.cluster, tasks=[seen.id])
        return self.seen(said["tasks"][0]) if said["tasks"] else Seen(seen.id, "MISSING", False, why="ECS knows it no more")

    def seen(self, said: dict[str, Any]) -> Seen:
        """A task's own reason, and its container's, which is about the work."""
        (work,) = [item for item in said["containers"] if item["name"] == WORK]
        code, status = work.get("exitCode"), str(said["lastStatus"])
        reasons = [str(text) for text in (work.get("reason"), said.get("stoppedReason")) if text]
        why = "; ".join([*reasons, f"exit code {code}"] if code else reasons)
        return Seen(
            id=str(said["taskArn"]),
            doing=status,
            runs=status != "STOPPED",
            ending=said.get("desiredStatus") == "STOPPED" and status != "STOPPED",
            why=why,
            of_aws=code is None and any(text in why for text in _OF_AWS),
            damaged=code == DAMAGED_CODE,
            stream=f"{self.errand.job.stage}/{WORK}/{_number(said['taskArn'])}",
        )

    def end(self, seen: Seen) -> None:
        self.aws.ask("ecs", "stop_task", cluster=self.cluster, task=seen.id, reason="interrupted where llmspec runs")

    def link(self, seen: Seen) -> str:
        region, cluster = self.errand.site.region, self.cluster.rpartition("/")[2]
        return f"https://{region}.console.aws.amazon.com/ecs/v2/clusters/{cluster}/tasks/{_number(seen.id)}?region={region}"

    def request(self, token: str) -> dict[str, Any]:
        """What makes it this job is said to the task; its definition serves every job of the stage."""
        if (network := self.errand.network) is None:
            raise PlaceError(f"{self.errand.job.stage}: the foundation has no network for a task\n  {self.errand.site.apply_again}")
        told = {**self.told, container.MOST_SECONDS: str(ceil(self.place.max_runtime))}
        environment = [{"name": name, "value": value} for name, value in sorted(told.items())]
        return {
            "cluster": self.cluster,
            "taskDefinition": self.definition(),
            "count": 1,
            "launchType": "FARGATE",
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": network["Subnets"],
                    "securityGroups": network["SecurityGroupIds"],
                    "assignPublicIp": "DISABLED",
                }
            },
            "overrides": {"containerOverrides": [{"name": WORK, "environment": environment}]},
            "startedBy": self.started_by,
            "clientToken": token,
            "tags": _tags(self.errand.tags),
        }

    def definition(self) -> str:
        """The definition with this content: found, or registered. It costs nothing, and stays for the next job."""
        wanted = self.wanted()
        family = f"{self.errand.site.name}-{self.errand.site.target}-{self.errand.job.stage}-{digest_of(wanted)[:10]}"
        try:
            said = self.aws.ask("ecs", "describe_task_definition", taskDefinition=family)
        except RefusedError as error:
            if error.code != "ClientException":
                raise
            tags = {name: value for name, value in self.errand.tags.items() if name != "llmspec:key"}
            said = self.aws.ask("ecs", "register_task_definition", family=family, tags=_tags(tags), **wanted)
        return str(said["taskDefinition"]["taskDefinitionArn"])

    def wanted(self) -> dict[str, Any]:
        """The job's role also starts it: it may pull our image and write our log, and is the only one that secrets are for."""
        errand, place, region = self.errand, self.place, self.errand.site.region
        logs = {"awslogs-group": self.log_group, "awslogs-region": region, "awslogs-stream-prefix": errand.job.stage}
        work: dict[str, Any] = {
            "name": WORK,
            "image": build.required(errand.site, build.training()),
            "essential": True,
            "cpu": round(place.cpu * UNITS),
            "memory": round(place.memory / GB * UNITS),
            "command": ["train"],
            "secrets": [{"name": name, "valueFrom": arn} for name, arn in self.secrets().items()],
            "linuxParameters": {"initProcessEnabled": True},
            "stopTimeout": STOP_SECONDS,
            "logConfiguration": {"logDriver": "awslogs", "options": logs},
        }
        return {
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
            "cpu": str(round(place.cpu * UNITS)),
            "memory": str(round(place.memory / GB * UNITS)),
            "ephemeralStorage": {"sizeInGiB": ceil(place.disk / GB)},
            "executionRoleArn": errand.role,
            "taskRoleArn": errand.role,
            "containerDefinitions": [work],
        }

    def secrets(self) -> dict[str, str]:
        """Name -> ARN, which ECS reads when the container starts. All that are missing are one error."""
        found, missing = {}, []
        for name in sorted(secrets.names_in([self.errand.job.options])):
            called = secret_name(self.errand, name)
            if held := self.aws.look("secretsmanager", "describe_secret", SecretId=called):
                found[name] = str(held["ARN"])
            else:
                missing.append(f"aws secretsmanager create-secret --name {called} --secret-string …")
        if missing:
            cure = "\n  ".join(missing)
            raise PlaceError(f"{self.errand.job.stage}: secrets that a task is to read are not in Secrets Manager\n  {cure}")
        return found


def run(place: "Ecs", context: "dagster.AssetExecutionContext", job: Job) -> None:
    """To the artifact in the store."""
    with talking(context, job) as talk:
        Task(Errand(place.site, job), talk, place).result()


def _of(errand: Errand, name: str) -> Any:
    if name not in errand.ground:
        raise PlaceError(f"{errand.job.stage}: the foundation has no {name}\n  {errand.site.apply_again}")
    return errand.ground[name]


def _number(arn: str) -> str:
    return arn.rpartition("/")[2]


def _tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in tags.items()]
