"""Whose a store's bucket is: its log, its lifecycle and its key are one foundation's, and a second one would fight for them. And
which bucket is a product's: a foundation in another one would want roles and logs by the same names, and end half made."""

from llmspec.errors import PlaceError, StoreError
from llmspec.s3 import Bucket
from llmspec.shelf import S3
from llmspec.site import Site
from llmspec.store import elders

NAME, TARGET = "llmspec:name", "llmspec:target"


def ours(site: Site) -> None:
    """PlaceError where another foundation has it. What carries no tag of ours, or cannot be asked, is AWS's to refuse."""
    if not site.spec.store.startswith(S3):
        return
    bucket = Bucket(_bucket(site.spec.store), coming=True)
    _moved(site)
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


def _moved(site: Site) -> None:
    """PlaceError where the foundation stands in a bucket that was used from here before."""
    for elder in elders(site.name, site.store):
        if not elder.uri.startswith(S3) or _bucket(elder.uri) == _bucket(site.spec.store):
            continue
        try:
            stands = elder.read(site.paper) is not None
        except StoreError:
            continue
        if stands:
            raise PlaceError(
                f"the foundation of {site.name} at {site.target} stands in {elder.uri}, and would want the same names a second time"
                f"\n  write `store: {elder.uri}` again; or give the product that goes into {site.spec.store} another target"
            )


def _bucket(address: str) -> str:
    return address.removeprefix(S3).partition("/")[0]
