"""A job on GitHub becomes a role in AWS: `credential_process = python -P -m llmspec.ci.github_role`.

AWS's SDKs run it whenever what it gave has run out, so an apply that takes hours ends as the role that it began with. No key
exists: GitHub says in a token which repository and environment this is, and the role trusts that.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

from llmspec.errors import LLMSpecError, PlaceError

AUDIENCE = "sts.amazonaws.com"


def main() -> int:
    try:
        print(json.dumps(credentials(os.environ["LLMSPEC_ROLE"], token())))  # noqa: T201  (stdout is what the SDK reads)
    except LLMSpecError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def token() -> str:
    """GitHub's word on which job this is; good for some minutes."""
    url, key = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"), os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not key:
        raise PlaceError(
            "GitHub gives this job no identity\n  give it `permissions: {id-token: write}`; a fork's job never gets one"
        )
    request = urllib.request.Request(f"{url}&audience={AUDIENCE}", headers={"Authorization": f"bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["value"])
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
        raise PlaceError(f"GitHub did not say who this job is: {error}") from error


def credentials(role: str, word: str) -> dict[str, Any]:
    """What AWS gives for it, in the form that its SDKs ask of a process."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    os.environ.pop("AWS_CONFIG_FILE", None)  # it names this very process
    session = f"github-{os.environ.get('GITHUB_RUN_ID', 'run')}"
    sts = boto3.client("sts", region_name=os.environ["AWS_REGION"], config=Config(signature_version=UNSIGNED))
    try:
        given = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=session, WebIdentityToken=word)["Credentials"]
    except (BotoCoreError, ClientError) as error:
        raise PlaceError(
            f"AWS does not let this job be {role}: {error}\n  its trust must name this repository and environment"
        ) from error
    keys = {name: given[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
    return {"Version": 1, **keys, "Expiration": given["Expiration"].isoformat()}


if __name__ == "__main__":
    sys.exit(main())
