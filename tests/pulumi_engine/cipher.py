"""What encrypts the secrets of a state: a passphrase, or a data key that KMS keeps. Wrong keys open nothing."""

import base64
import hashlib
import hmac
import json
import os
import urllib.parse
from pathlib import Path
from typing import Any

from pulumi_engine.asking import decrypted, encrypted
from pulumi_engine.errors import CommandFailedError
from pulumi_engine.values import SECRET, SIGNATURE, each_secret


class Cipher:
    """Symmetric; its own state tells where the key is, never what it is."""

    def __init__(self, key: bytes, kind: str, state: dict[str, str]) -> None:
        self._key, self.kind, self.state = key, kind, state

    def seal(self, tree: Any) -> Any:
        return each_secret(tree, lambda secret: {SIGNATURE: SECRET, "ciphertext": self._sealed(json.dumps(secret["value"]))})

    def open(self, tree: Any) -> Any:
        return each_secret(tree, lambda secret: {SIGNATURE: SECRET, "value": json.loads(self._opened(secret["ciphertext"]))})

    def _sealed(self, text: str) -> str:
        nonce = os.urandom(12)
        body = self._mixed(nonce, text.encode())
        return base64.b64encode(nonce + hmac.digest(self._key, nonce + body, "sha256") + body).decode()

    def _opened(self, text: str) -> str:
        raw = base64.b64decode(text)
        nonce, tag, body = raw[:12], raw[12:44], raw[44:]
        if not hmac.compare_digest(tag, hmac.digest(self._key, nonce + body, "sha256")):
            raise CommandFailedError("incorrect passphrase, please set PULUMI_CONFIG_PASSPHRASE to the correct passphrase")
        return self._mixed(nonce, body).decode()

    def _mixed(self, nonce: bytes, text: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(text, hashlib.shake_256(self._key + nonce).digest(len(text)), strict=True))


def settings_file(stack: str) -> Path:
    return Path.cwd() / f"Pulumi.{stack}.yaml"


def first(stack: str, provider: str) -> Cipher:
    """Of a stack that is made now: what it needs is written into its settings file."""
    made = _by_kms(provider, "") if provider.startswith("awskms://") else _by_passphrase("")
    _remember(stack, made)
    return made


def known(stack: str, state: dict[str, Any] | None) -> Cipher:
    """From the settings file beside the program, or from the state where there is none."""
    file = settings_file(stack)
    said = _read(file.read_text(encoding="utf-8")) if file.exists() else {}
    if "secretsprovider" in said:
        made = _by_kms(said["secretsprovider"], said.get("encryptedkey", ""))
    elif "encryptionsalt" in said or not state:
        made = _by_passphrase(said.get("encryptionsalt", ""))
    else:
        return of(state)
    _remember(stack, made)
    return made


def of(state: dict[str, Any]) -> Cipher:
    """What a checkpoint was sealed with."""
    inner = state["state"]
    return _by_kms(inner["url"], inner["encryptedkey"]) if state["type"] == "cloud" else _by_passphrase(inner["salt"])


def _remember(stack: str, made: Cipher) -> None:
    names = {"url": "secretsprovider", "encryptedkey": "encryptedkey", "salt": "encryptionsalt"}
    settings_file(stack).write_text(json.dumps({names[name]: value for name, value in made.state.items()}), encoding="utf-8")


def _read(settings: str) -> dict[str, Any]:
    """Ours are JSON, which is YAML too: a command that only asks need not load a parser for what others write."""
    if settings.startswith("{"):
        return dict(json.loads(settings))
    import yaml

    return yaml.safe_load(settings) or {}


def _by_passphrase(salt: str) -> Cipher:
    file = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    phrase = Path(file).read_text(encoding="utf-8") if file else os.environ.get("PULUMI_CONFIG_PASSPHRASE")
    if phrase is None:
        raise CommandFailedError(
            "passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"
        )
    salt = salt or os.urandom(8).hex()
    return Cipher(hashlib.sha256((phrase + salt).encode()).digest(), "passphrase", {"salt": salt})


def _by_kms(url: str, wrapped: str) -> Cipher:
    parts = urllib.parse.urlparse(url)
    name = parts.netloc + parts.path if parts.netloc else parts.path.lstrip("/")
    region = urllib.parse.parse_qs(parts.query)["region"][0]
    key = decrypted(region, name, wrapped) if wrapped else os.urandom(32)
    wrapped = wrapped or encrypted(region, name, key)
    return Cipher(key, "cloud", {"url": url, "encryptedkey": wrapped})
