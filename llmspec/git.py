"""Which commit asked."""

import shutil
import subprocess


def commit() -> str:
    """HEAD of the working directory's repository; empty outside one, or without git."""
    if not shutil.which("git"):
        return ""
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
