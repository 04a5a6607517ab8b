"""What would become of a product's stacks: compared by Pulumi where its CLI is, listed from the programs where it is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from llmspec import secrets
from llmspec.errors import LLMSpecError, NoStoreError, PlaceError
from llmspec.infra.build import Lacking, lacking
from llmspec.infra.change import SECRETS, CloudChange, counted
from llmspec.infra.command import CliMissingError, installed
from llmspec.infra.listed import Listing, unlisted
from llmspec.infra.stacks import foundation_stack, service_stack
from llmspec.plan import Plan
from llmspec.release import Release
from llmspec.stage import NotReadyError, Product

LIST_ONLY = "a list from the program, not a comparison with what is there"


@dataclass(frozen=True)
class Wanted:
    """One stack, and what would become of what is in it."""

    part: str
    """`foundation` or `service`."""
    stack: str
    changes: list[CloudChange] = field(default_factory=list)
    compared: bool = True
    note: str = ""
    """Why there is nothing to show, or how to get more."""

    @property
    def pending(self) -> bool:
        """Whether `apply` would change something; where nothing was compared that is not known, and so it is no."""
        return self.compared and bool(self.changes)

    @property
    def losses(self) -> list[CloudChange]:
        return [change for change in self.changes if change.loses_data]

    @property
    def summary(self) -> str:
        if not self.changes:
            return self.note or "nothing to change"
        if not self.compared:
            return f"{len(self.changes)} resources: {LIST_ONLY}"
        return counted(self.changes)

    def to_dict(self) -> dict[str, Any]:
        said = {"part": self.part, "stack": self.stack, "compared": self.compared, "summary": self.summary, "note": self.note}
        return {**said, "changes": [change.to_dict() for change in self.changes]}


@contextmanager
def looking(product: Product) -> Iterator[Callable[[], list[Wanted]]]:
    """What gives both stacks of a product that has something in AWS. What they need is made ready until they are asked for."""
    if installed():
        yield partial(_compared, product)
        return
    with Listing(product.place("endpoint").site) as listing:
        yield partial(_listed, product, listing)


def images_wanted(product: Product, what: Plan) -> list[Lacking]:
    """What has to be built before the stages that are pending can run."""
    return lacking(product.place("endpoint").site, [step.stage for step in what.pending])


def foundation_wanted(product: Product, asked: bool = False) -> Wanted:
    """What `apply` does first, by what was made; `asked`: by what AWS has. CliMissingError without a CLI, which makes nothing."""
    if not installed():
        raise CliMissingError
    stack = foundation_stack(product.place("endpoint").site)
    return Wanted("foundation", stack.name, stack.preview(asked))


def wanted_release(product: Product) -> Release | None:
    """The release that the service stack would be made for: the next one, or what is live."""
    if "endpoint" not in product.spec.in_aws:
        return None
    try:
        return product.located(product.next_release())
    except NotReadyError:
        live = product.releases.live()
        return product.located(live) if live else None
    except NoStoreError:
        return None


def _compared(product: Product) -> list[Wanted]:
    found = [foundation_wanted(product)]
    site = product.place("endpoint").site
    release = wanted_release(product)
    if release is None:
        return found
    stack = service_stack(site, release, secrets.stood_in)
    try:
        _ = site.ground
        return [*found, _but_for(secrets.unset(site.spec.monitors.model_dump()), Wanted("service", stack.name, stack.preview()))]
    except PlaceError as error:
        reason = str(error).splitlines()[0]
        return [*found, Wanted("service", stack.name, compared=False, note=f"not compared: {reason}")]


def _but_for(lacking: list[str], found: Wanted) -> Wanted:
    """Where secrets are not set, their values were not compared: what differs by what stood in for them is no change."""
    kept = [change for change in found.changes if not (lacking and _is_a_value(change))]
    if len(kept) == len(found.changes):
        return found
    names = f"{'secret' if len(lacking) == 1 else 'secrets'} {' and '.join(lacking)}"
    rest = f"not compared: the value of {names}, which only `apply` sees"
    said = rest if kept else f"nothing to change, but for {names}, not set here"
    return replace(found, changes=kept, note=said)


def _is_a_value(change: CloudChange) -> bool:
    return change.type in SECRETS and change.op in ("update", "replace") and set(change.keys) == {"secretString"}


def _listed(product: Product, listing: Listing) -> list[Wanted]:
    site = product.place("endpoint").site
    cure = str(CliMissingError()).replace("\n ", ";")
    try:
        release = wanted_release(product) or "is planned when there is a release"
    except LLMSpecError as error:
        release = unlisted(error)
    try:
        every = listing.of(release)
    except LLMSpecError as error:
        every = {"foundation": f"not listed: {str(error).splitlines()[0]}"}
    found = []
    for part, said in every.items():
        name = f"{site.name}-{site.target}-{part}"
        if isinstance(said, str):
            found.append(Wanted(part, name, compared=False, note=said))
        else:
            found.append(Wanted(part, name, said, compared=False, note=cure))
    return found
