"""A container's health check: `python -m backends.serving.probe` ends well when /ping says 200. The image has no curl."""

import contextlib
import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from llmspec import container

SECONDS = 2.0


def main() -> int:
    port = next((os.environ[name] for name in container.PORTS if os.environ.get(name)), "8080")
    secure = container.unpacked(os.environ).serving.get("tls") is not None
    # Asked itself: urllib would ask a proxy that the environment names.
    connection = HTTPConnection("127.0.0.1", int(port), timeout=SECONDS)
    if secure:
        connection = HTTPSConnection("127.0.0.1", int(port), timeout=SECONDS, context=trusting_anybody())
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/ping")
            return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException) as error:
        print(f"{'https' if secure else 'http'}://127.0.0.1:{port}/ping: {error}", file=sys.stderr)
        return 1


def trusting_anybody() -> ssl.SSLContext:
    """It is ourselves whom we ask, and whose certificate it is says nothing about health."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main())
