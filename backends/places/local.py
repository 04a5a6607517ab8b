"""local: this machine. Jobs are child processes, the endpoint is a supervised process."""

from typing import ClassVar

from llmspec.registry import Place
from llmspec.section import STAGES


class Local(Place):
    """This machine: jobs in child processes, the endpoint in a supervised one."""

    runs: ClassVar[tuple[str, ...]] = tuple(stage for stage in STAGES if stage != "endpoint")
    serves: ClassVar[bool] = True
