"""`make lock`: the versions of this environment, as constraints for pip."""

import sys
from importlib.metadata import distributions

NOT_OURS_TO_SAY = {"llmspec", "setuptools", "wheel"}


def lines() -> list[str]:
    """name==version, without local build tags: torch's CPU and CUDA builds have one version."""
    found = {dist.name.lower(): f"{dist.name}=={dist.version.split('+')[0]}" for dist in distributions()}
    return [line for name, line in sorted(found.items()) if name not in NOT_OURS_TO_SAY]


if __name__ == "__main__":
    sys.stdout.write(
        "# Versions that fit together, seen to pass the tests. Constraints: pip install -c requirements.lock -e '.[dev]'\n"
    )
    sys.stdout.write("\n".join(lines()) + "\n")
