"""Runs in a Lambda: an alarm from SNS becomes a line in a chat room, whose address stays in Secrets Manager until it is used."""

import json
import os
import urllib.request
from typing import Any

import boto3


def handle(event: dict[str, Any], context: object) -> None:  # noqa: ARG001 - how Lambda calls it
    """Post each alarm; what the room refuses is raised, so that SNS tries again."""
    address = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["WEBHOOK_SECRET"])["SecretString"]
    for record in event["Records"]:
        post(address, said(record["Sns"]["Message"]))


def said(message: str) -> str:
    """`ALARM bot-prod-error_rate: error_rate > 0.01`, or the message as it is when it is no alarm."""
    try:
        alarm = json.loads(message)
        return f"{alarm['NewStateValue']} {alarm['AlarmName']}: {alarm['AlarmDescription']}"
    except (ValueError, KeyError, TypeError):
        return message


def post(address: str, text: str) -> None:
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
