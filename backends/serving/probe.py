"""A container's health check: `python -m backends.serving.probe` ends well when /ping says 200. The image has no curl."""

import os
import ssl
import sys
import urllib.request

from llmspec import container

SECONDS = 2.0


def main() -> int:
    port = next((os.environ[name] for name in container.PORTS if os.environ.get(name)), "8080")
    secure = container.unpacked(os.environ).serving.get("tls") is not None
    url = f"{'https' if secure else 'http'}://127.0.0.1:{port}/ping"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS, context=trusting_anybody() if secure else None) as answer:
            return 0 if answer.status == 200 else 1
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


def trusting_anybody() -> ssl.SSLContext:
    """It is ourselves whom we ask, and whose certificate it is says nothing about health."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main())
