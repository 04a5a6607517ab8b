"""Whose a store's bucket is: its log, its lifecycle and its key are one foundation's, and a second one would fight for them."""

from llmspec.errors import PlaceError, StoreError
from llmspec.s3 import Bucket
from llmspec.shelf import S3
from llmspec.site import Site

NAME, TARGET = "llmspec:name", "llmspec:target"


def ours(site: Site) -> None:
    """PlaceError where another foundation has it. What carries no tag of ours, or cannot be asked, is AWS's to refuse."""
    if not site.spec.store.startswith(S3):
        return
    bucket = Bucket(site.spec.store.removeprefix(S3).partition("/")[0], coming=True)
    try:
        tags = {tag["Key"]: tag["Value"] for tag in bucket.ask("get_bucket_tagging")["TagSet"]}
    except StoreError:
        return
    whose = (tags.get(NAME), tags.get(TARGET))
    if whose[0] and whose != (site.name, site.target):
        raise PlaceError(
            f"s3://{bucket.name} belongs to the foundation of {whose[0]} at {whose[1]}, and holds what that one made"
            f"\n  give {site.name} at {site.target} a bucket of its own in `store:`; leave that one where it is"
        )
