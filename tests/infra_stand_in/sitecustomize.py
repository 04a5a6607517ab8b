"""Where a spec's words do not become a foundation yet, a small one: enough to see the commands bring it up."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

if importlib.util.find_spec("llmspec.infra.asked") is None:

    def foundation_args(spec: Any, target: str) -> Any:
        from infra_pulumi.components.storage import StorageArgs
        from infra_pulumi.foundation import FoundationArgs
        from infra_pulumi.owner import Owner

        bucket = spec.store.removeprefix("s3://").partition("/")[0]
        return FoundationArgs(Owner(spec.name, target, spec.region, dict(spec.tags)), StorageArgs(bucket), registry=None)

    asked: Any = ModuleType("llmspec.infra.asked")
    asked.foundation_args = foundation_args
    sys.modules[asked.__name__] = asked
