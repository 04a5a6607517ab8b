"""The `pulumi` executable: found, of a version that we speak to, run so that Ctrl-C lets it finish what it is doing."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import IO, Any

from llmspec.errors import PlaceError

GET = "curl -fsSL https://get.pulumi.com | sh, or see https://www.pulumi.com/docs/install"
OLDEST = "3.181.0"
"""Since this version inline programs are taken by refresh and destroy as well."""
POLL_SECONDS = 0.2


class CliMissingError(PlaceError):
    """There is no `pulumi` here."""

    def __init__(self) -> None:
        super().__init__(f"the Pulumi CLI is not installed here\n  get it: {GET}")


def installed() -> bool:
    return shutil.which("pulumi") is not None


def pulumi() -> Any:
    """A command for the Automation API; each executable is asked for its version once."""
    found = shutil.which("pulumi")
    if found is None:
        raise CliMissingError
    return _command(found, os.environ.get("PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK"))


@cache
def _command(path: str, _: str | None) -> Any:
    """Imported late: pulumi takes half a second."""
    try:
        from pulumi.automation import InvalidVersionError, PulumiCommand
        from pulumi.automation._cmd import CommandResult  # what `run` gives back; it has no public name
        from pulumi.automation.errors import create_command_error
        from semver import VersionInfo
    except ImportError as error:
        raise PlaceError("pulumi is not installed\n  pip install 'llmspec[aws]'") from error

    class Command(PulumiCommand):
        """As the library's own, in a session of its own: a terminal's Ctrl-C reaches it through us, once."""

        stopping: Callable[[], None] = staticmethod(lambda: None)
        """Called when it is asked to stop, which may take as long as what AWS is doing."""

        def run(
            self,
            args: list[str],
            cwd: str,
            additional_env: Mapping[str, str],
            on_output: Callable[[str], Any] | None = None,
            on_error: Callable[[str], Any] | None = None,
        ) -> CommandResult:
            words = [self.command, "--non-interactive", *args]
            said, cried, code = _run(words, cwd, additional_env, on_output, on_error, self.stopping)
            result = CommandResult(stdout=said, stderr=cried, code=code)
            if code != 0:
                raise create_command_error(result)
            return result

    try:
        return Command(version=VersionInfo.parse(OLDEST))
    except InvalidVersionError as error:
        raise PlaceError(f"this pulumi does not fit: {error}\n  get {OLDEST} or later, below 4: {GET}") from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise PlaceError(f"{path}: `pulumi version` failed: {error}\n  what is called pulumi there? get the CLI: {GET}") from error


def _run(
    words: list[str],
    cwd: str,
    env: Mapping[str, str],
    on_output: Callable[[str], Any] | None,
    on_error: Callable[[str], Any] | None,
    stopping: Callable[[], None],
) -> tuple[str, str, int]:
    said: list[str] = []
    cried: list[str] = []
    everything = {**os.environ, **env, "PULUMI_AUTOMATION_API": "true"}
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=everything,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        readers = [
            threading.Thread(target=_read, args=(process.stdout, on_output, said)),
            threading.Thread(target=_read, args=(process.stderr, on_error, cried)),
        ]
        for reader in readers:
            reader.start()
        _wait(process, stopping)
        for reader in readers:
            reader.join()
    return "\n".join(said), "\n".join(cried), process.returncode


def _read(stream: IO[str], callback: Callable[[str], Any] | None, lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip())
        if callback:
            callback(lines[-1])


def _wait(process: "subprocess.Popen[str]", stopping: Callable[[], None]) -> None:
    """To its end. Interrupted, it is asked to stop: it finishes what is in flight, writes its state and lets go of its lock."""
    try:
        while process.poll() is None:
            _doze(process)
    except BaseException:
        stopping()
        process.send_signal(signal.SIGINT)
        try:
            process.wait()
        except BaseException:  # twice: whoever insists does not want to wait for AWS
            process.terminate()
            process.wait()
            raise
        raise


def _doze(process: "subprocess.Popen[str]") -> None:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return
