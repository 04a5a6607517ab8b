"""Webhook: alarms for a chat room. SNS wants HTTPS subscribers to confirm, which no room does: a small Lambda stands between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from infra_pulumi.account import Account
from infra_pulumi.components.role import Role, RoleArgs
from infra_pulumi.names import fitted
from infra_pulumi.policies import Statement
from infra_pulumi.serving.wanted import Serving
from infra_pulumi.trust import trusted


@dataclass(frozen=True)
class WebhookArgs:
    """Whose alarms, and where they go."""

    wanted: Serving
    topic: pulumi.Input[str]
    address: pulumi.Input[str]


class Webhook(pulumi.ComponentResource):
    """Secret, role, function, subscription."""

    def __init__(self, name: str, args: WebhookArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("llmspec:service:Webhook", name, None, opts)
        self._name, self._args, self._tags = name, args, args.wanted.tags("monitors")
        self._child = pulumi.ResourceOptions(parent=self)
        secret = self._secret()
        function = self._function(secret, self._role(secret))
        aws.lambda_.Permission(
            name,
            action="lambda:InvokeFunction",
            function=function.name,
            principal="sns.amazonaws.com",
            source_arn=args.topic,
            opts=self._child,
        )
        aws.sns.TopicSubscription(name, topic=args.topic, protocol="lambda", endpoint=function.arn, opts=self._child)
        self.register_outputs({"function": function.name})

    def _secret(self) -> aws.secretsmanager.Secret:
        secret = aws.secretsmanager.Secret(
            self._name,
            # A beginning and no name: a secret that was deleted holds its own for a week.
            name_prefix=f"{self._args.wanted.owner.prefix}-webhook-",
            kms_key_id=self._args.wanted.ground.key_arn,
            recovery_window_in_days=7,
            tags=self._tags,
            opts=self._child,
        )
        aws.secretsmanager.SecretVersion(
            self._name, secret_id=secret.id, secret_string=pulumi.Output.secret(self._args.address), opts=self._child
        )
        return secret

    def _role(self, secret: aws.secretsmanager.Secret) -> Role:
        wanted, account = self._args.wanted, Account(self._args.wanted.owner.region)
        group = pulumi.Output.concat(account.arn("logs", "log-group:"), wanted.ground.log_group, ":log-stream:*")
        allows = (
            Statement(("secretsmanager:GetSecretValue",), (secret.arn,)),
            Statement(("kms:Decrypt",), (wanted.ground.key_arn,)),
            Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (group,)),
        )
        args = RoleArgs("monitors", allows=allows, trusts=(trusted("lambda"),), boundary=wanted.ground.boundary)
        return Role(wanted.owner, account, "webhook", args, self._child)

    def _function(self, secret: aws.secretsmanager.Secret, role: Role) -> aws.lambda_.Function:
        source = pulumi.FileAsset(str(Path(__file__).with_name("webhook_handler.py")))
        return aws.lambda_.Function(
            self._name,
            name=fitted(f"{self._args.wanted.owner.prefix}-webhook", 64),
            runtime="python3.13",
            handler="webhook_handler.handle",
            code=pulumi.AssetArchive({"webhook_handler.py": source}),
            role=role.arn,
            timeout=30,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables={"WEBHOOK_SECRET": secret.arn}),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="JSON", log_group=self._args.wanted.ground.log_group),
            tags=self._tags,
            opts=self._child,
        )
