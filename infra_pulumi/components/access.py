"""access: people who sign in before they ask, in three groups that are named after the roles of `endpoint.access`.

API Gateway asks only whether somebody signed in: groups stand in tokens, for whoever reads them."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra_pulumi.owner import Owner

GROUPS = {
    "admin": "Deploys, tests, uses, and reads the audit trail",
    "developer": "Tests, uses, and reads metrics",
    "user": "Uses the endpoint",
}


@dataclass(frozen=True)
class AccessArgs:
    """`endpoint.access.keys: cognito`."""

    domain: str | None = None
    """Begins the address of the page to sign in at; unique in the region. None: clients sign in through the API."""
    callback_urls: tuple[str, ...] = ()
    """Where that page sends people back to."""
    mfa_required: bool = True
    """A second factor, from an app. False: whoever wants one."""
    session_minutes: int = 60
    keep: bool = True
    """`destroy` leaves the people."""

    def __post_init__(self) -> None:
        if bool(self.domain) != bool(self.callback_urls):
            raise ValueError("access: a page to sign in at needs both domain and callback_urls")
        if insecure := [url for url in self.callback_urls if not url.startswith(("https://", "http://localhost"))]:
            raise ValueError(f"access: callback_urls: {', '.join(insecure)} would carry a token without TLS; write https://")


class Access(pulumi.ComponentResource):
    """Nobody signs themselves up: admins let people in."""

    def __init__(self, owner: Owner, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llmspec:aws:Access", "access", None, opts)
        self._owner, self._args = owner, args
        self._opts = pulumi.ResourceOptions(parent=self)
        self.pool = self._pool()
        for precedence, (name, description) in enumerate(GROUPS.items(), start=1):
            aws.cognito.UserGroup(
                name, name=name, description=description, precedence=precedence, user_pool_id=self.pool.id, opts=self._opts
            )
        self.client = self._client()
        if args.domain:
            aws.cognito.UserPoolDomain("sign-in", domain=args.domain, user_pool_id=self.pool.id, opts=self._opts)
        self.register_outputs({"pool": self.pool.id, "client": self.client.id})

    def _pool(self) -> aws.cognito.UserPool:
        return aws.cognito.UserPool(
            "people",
            name=self._owner.prefix,
            username_attributes=["email"],
            auto_verified_attributes=["email"],
            username_configuration={"case_sensitive": False},
            admin_create_user_config={"allow_admin_create_user_only": True},
            account_recovery_setting={"recovery_mechanisms": [{"name": "verified_email", "priority": 1}]},
            password_policy={
                "minimum_length": 14,
                "require_lowercase": True,
                "require_uppercase": True,
                "require_numbers": True,
                "require_symbols": False,
                "temporary_password_validity_days": 3,
            },
            mfa_configuration="ON" if self._args.mfa_required else "OPTIONAL",
            software_token_mfa_configuration={"enabled": True},
            deletion_protection="ACTIVE" if self._args.keep else "INACTIVE",
            tags=self._owner.tagged("access"),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=self._args.keep),
        )

    def _client(self) -> aws.cognito.UserPoolClient:
        """A public client: no secret that somebody would have to keep, PKCE instead."""
        page = self._args.domain is not None
        return aws.cognito.UserPoolClient(
            "people",
            name=self._owner.prefix,
            user_pool_id=self.pool.id,
            generate_secret=False,
            explicit_auth_flows=["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            access_token_validity=self._args.session_minutes,
            id_token_validity=self._args.session_minutes,
            refresh_token_validity=30,
            token_validity_units={"access_token": "minutes", "id_token": "minutes", "refresh_token": "days"},
            enable_token_revocation=True,
            prevent_user_existence_errors="ENABLED",
            allowed_oauth_flows_user_pool_client=page,
            allowed_oauth_flows=["code"] if page else None,
            allowed_oauth_scopes=["openid", "email"] if page else None,
            supported_identity_providers=["COGNITO"],
            callback_urls=list(self._args.callback_urls) if page else None,
            opts=self._opts,
        )
