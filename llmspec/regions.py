"""regions: which AWS has, as botocore's own data says. Read, not imported: botocore takes longer than a whole validate."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llmspec.section import did_you_mean, wrong


@cache
def known() -> frozenset[str]:
    """Empty where botocore is not installed: nothing of AWS can be reached from there either."""
    found = find_spec("botocore")
    data = Path(found.origin).with_name("data") / "partitions.json" if found and found.origin else None
    if data is None or not data.is_file():
        return frozenset()
    return frozenset(name for each in json.loads(data.read_text(encoding="utf-8"))["partitions"] for name in each["regions"])


def existing(region: str) -> str:
    """The region itself. A newer one than the installed botocore knows cannot be worked in with it."""
    if known() and region not in known():
        cure = did_you_mean(region, sorted(known()), listed=False)
        raise wrong(f"AWS has no region '{region}'", f"{cure} or upgrade boto3, if it is new".strip())
    return region
