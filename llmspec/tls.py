"""The endpoint's own certificate: found, tried before it is served, and trusted by our own clients exactly as it is.

A client of ours trusts that one certificate and no other, whatever name or authority it has: whoever holds its key is the
endpoint. So a self-signed one needs no exception, and nothing is ever left unverified.
"""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    from llmspec.load import Loaded

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def located(loaded: "Loaded") -> dict[str, Any]:
    """`tls` as a release holds it: its worker does not know where the spec lies."""
    tls = loaded.spec.endpoint.tls
    if tls is None:
        return {}
    start = loaded.path.parent
    return {"tls": {"certificate": str((start / tls.certificate).resolve()), "key": str((start / tls.key).resolve())}}


def client(certificate: Path | str) -> "ssl.SSLContext":
    """What our own clients speak to the endpoint with: the holder of this certificate's key, or nobody."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is known, so its names say nothing more
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    first = _PEM.search(Path(certificate).read_text(encoding="ascii"))
    context.load_verify_locations(cadata=first[0] if first else "")
    return context


def server(certificate: Path | str, key: Path | str) -> "ssl.SSLContext":
    """What the endpoint speaks with."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key, password=_no_passphrase)
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, and nobody is there to type it: write it without one")


def fault(certificate: Path | str, key: Path | str) -> tuple[str, str]:
    """What is wrong with the pair, as ('certificate' or 'key', why); two empty texts when our client would believe it."""
    for name, path in (("certificate", certificate), ("key", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            return name, f"{path} cannot be read ({error.strerror})"
    import ssl

    try:
        trusting = client(certificate)
    except (ssl.SSLError, ValueError):
        return "certificate", f"{certificate} holds no certificate in PEM form"
    try:
        serving = server(certificate, key)
    except ValueError as error:
        return "key", f"{key}: {error}"
    except ssl.SSLError as error:
        same = "KEY_VALUES_MISMATCH" in str(error.reason)
        return "key", f"{key} is not the key of {certificate}" if same else f"{key} holds no private key in PEM form"
    return _shaken(trusting, serving, certificate)


def _shaken(trusting: "ssl.SSLContext", serving: "ssl.SSLContext", certificate: Path | str) -> tuple[str, str]:
    """Both ends speak to each other in memory: what the real client would refuse is known before it can."""
    import ssl

    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = trusting.wrap_bio(to_client, to_server)
    called = serving.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(4):
            for end in (caller, called):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return "certificate", f"{certificate}: {error.verify_message}"
    left = ssl.cert_time_to_seconds(str((caller.getpeercert() or {})["notAfter"])) - time.time()
    assert left > 0
    return "", ""
