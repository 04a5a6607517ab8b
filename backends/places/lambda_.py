"""lambda: AWS Lambda. The server in a function: paid by use, no GPU, up to 10 GB of memory."""

from typing import ClassVar

from pydantic import Field

from backends.places.aws import INSTALL, REQUIRES
from llmspec.registry import Place
from llmspec.section import Duration, Size

MB = 10**6


class Lambda(Place):
    """AWS Lambda: small models behind an API gateway, paid by use."""

    serves: ClassVar[bool] = True
    cloud: ClassVar[str] = "aws"
    requires: ClassVar[tuple[str, ...]] = REQUIRES
    install: ClassVar[str] = INSTALL

    memory: Size = Field(default=4000 * MB, ge=128 * MB, le=10_240 * MB)
    """Memory of each copy; its share of a processor grows with it: `4GB`."""
    timeout: Duration = Field(default=120.0, ge=1, le=900)
    """The function is ended when one answer takes longer."""

    @property
    def honours(self) -> tuple[str, ...]:
        """min is provisioned and max reserved concurrency: a copy answers one request at a time, wherever Lambda starts it."""
        return ("scale.min", "scale.max")
