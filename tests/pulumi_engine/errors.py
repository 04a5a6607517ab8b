"""How a command fails."""


class CommandFailedError(Exception):
    """It is told as `error: …`, and the process ends with 255."""


class RefusedError(Exception):
    """A provider says no."""
