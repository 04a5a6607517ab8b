"""Why the cloud said no: which resource, what AWS said, and what helps."""

import re
from dataclasses import dataclass, field
from typing import Any

from llmspec.errors import PlaceError
from llmspec.infra.change import called

_COLOUR = re.compile(r"<\{%.*?%\}>")
_ECHO = "Resource monitor has terminated"
"""What the program says when the engine has stopped for a reason that was told before."""
UNFINISHED = "timeout while waiting for"
"""What AWS's provider says when it has waited as long as it does, and AWS is still at it."""
CURES: tuple[tuple[str, str], ...] = (
    (r"update (was )?canceled", "it was interrupted: apply again to continue"),
    (r"not authorized to perform:? ?(?P<action>[\w:*-]+)", "who applies needs {action}"),
    (
        r"AccessDenied|UnauthorizedOperation|Forbidden|\b403\b",
        "who applies lacks a permission; AWS names it above, or in CloudTrail",
    ),
    (
        r"ExpiredToken|InvalidClientTokenId|no valid credential|NoCredentialProviders|failed to refresh cached credentials",
        "sign in (`aws sso login`, `aws configure`), or set AWS_PROFILE",
    ),
    (
        r"UnreservedConcurrentExecution",
        "Lambda keeps copies for functions that reserve none: ask for more of 'Concurrent executions', or lower endpoint.scale.max",
    ),
    (
        r"LimitExceeded|QuotaExceeded|ServiceQuota|account-level service limit|InsufficientInstanceCapacity|VcpuLimit",
        "ask for more at https://console.aws.amazon.com/servicequotas, or name another instance",
    ),
    (r"BucketAlreadyExists\b", "a bucket's name is unique in the world, and somebody has this one: name another `store:`"),
    (
        r"BucketAlreadyOwnedByYou",
        "this account has it, and it may hold another product's artifacts: name another `store:`, or `pulumi import` what is yours",
    ),
    (
        r"AlreadyExists|AlreadyOwnedByYou|already exists|ResourceInUse|ConflictException",
        "it is there and no stack has it: remove it in AWS, or `pulumi import` it",
    ),
    (r"DeleteConflict|DependencyViolation|BucketNotEmpty|is not empty", "something still uses it: remove that first"),
    (r"cannot be deleted\s+because it is protected", "it is protected on purpose: take the protection off first"),
    (
        UNFINISHED,
        "AWS had not finished when the waiting ended, and may still be at it: apply again, which reads what became of it",
    ),
    (r"Throttl|RequestLimitExceeded|TooManyRequests|timeout|connection re", "AWS was busy or out of reach: apply again"),
)
"""What AWS's answer holds -> what helps; the first that fits is told."""


@dataclass
class Faults:
    """Hears the engine's events and keeps what went wrong."""

    said: list[tuple[str, str]] = field(default_factory=list)
    """URN, or nothing where no single resource is meant; and what was said."""

    def hear(self, event: Any) -> None:
        heard = event.diagnostic_event
        if heard is not None and heard.severity == "error" and (text := _plain(heard.message)) and _ECHO not in text:
            self.said.append((heard.urn or "", text))

    def error(self, stack: str, otherwise: str) -> PlaceError:
        """Everything that failed, each with its reason and its cure."""
        mine = [(urn, text) for urn, text in self.said if urn] or self.said or [("", _last(otherwise))]
        told = [_told(urn, text) for urn, text in dict(mine).items()]
        return PlaceError("\n".join([*told, f"  {stack}: what was made before is kept, and the next apply goes on from there"]))


def _told(urn: str, text: str) -> str:
    parts = urn.split("::")
    where = f"{called(parts[2].split('$')[-1])} {parts[-1]}: " if len(parts) > 2 else f"{urn}: " if urn else ""
    return f"{where}{text}\n  {cure(text)}"


def cure(text: str) -> str:
    for pattern, help_ in CURES:
        if found := re.search(pattern, text):
            return help_.format(**found.groupdict())
    return "correct what AWS names, and apply again"


def _plain(message: str) -> str:
    """Of a provider's lines the one with the cause: it stands behind a star where there are several."""
    lines = [line.strip() for line in _COLOUR.sub("", message).splitlines() if line.strip()]
    starred = [line.removeprefix("* ") for line in lines if line.startswith("* ")]
    chosen = (starred or [line for line in lines if "error" in line.lower()] or lines or [""])[0]
    return chosen.removeprefix("error: ").strip()


def _last(text: str) -> str:
    """The CLI's last word, of all that it printed."""
    said = re.findall(r"\berror: (.+)", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return str((said or lines or ["pulumi ended without a word"])[-1])
