"""The two stacks of a product at a target: what it stands on, and what serves a release."""

from collections.abc import Callable
from dataclasses import replace

from llmspec import secrets
from llmspec.errors import PlaceError
from llmspec.infra import archive, claimed
from llmspec.infra.build import ready
from llmspec.infra.stack import Stack
from llmspec.infra.state import state_of
from llmspec.infra.workspace import Say
from llmspec.release import Release
from llmspec.site import Site


def foundation_stack(site: Site) -> Stack:
    """Long-lived: store, keys, roles, images, network, audit."""

    def program() -> None:
        from infra_pulumi.foundation import foundation
        from llmspec.infra.asked import foundation_args

        foundation(foundation_args(site.spec, site.target))

    return replace(_stack(site, "foundation", program), before=lambda _: claimed.ours(site))


def service_stack(site: Site, release: Release, resolve: Callable[[str], str] = secrets.resolve) -> Stack:
    """Made for each release: endpoint, scaling, alarms, dashboard. `resolve` gives a secret's value, or what stands in for it."""

    def program() -> None:
        from infra_pulumi.service import service
        from llmspec.infra.asked import serving

        fleet = site.spec.place("endpoint").at(site).fleet()
        service(serving(site, release, site.ground, resolve=resolve, fleet=fleet))

    def before(say: Say) -> None:
        ready(site, ["endpoint"], say)
        archive.ready(site, release, say)

    return replace(_stack(site, "service", program), moves=True, before=before)


def standing(site: Site, part: str) -> Stack:
    """One of them as it stands, to be looked at or removed: its program is not there to be run."""

    def program() -> None:
        raise PlaceError(f"the {part} of {site.name} is only looked at here")

    return _stack(site, part, program)


def _alone(site: Site) -> None:
    """The stacks are its own. PlaceError where another product's have their names."""
    if not site.founded and (other := site.namesake):
        fault = f"{site.name} at {site.target} would have the names, and the stacks, of {other} in AWS"
        raise PlaceError(f"{fault}\n  call the target otherwise, in {site.file}")


def _stack(site: Site, part: str, program: Callable[[], None]) -> Stack:
    _alone(site)
    tags = {"llmspec:name": site.name, "llmspec:target": site.target}
    return Stack(f"{site.name}-{site.target}-{part}", program, site.region, state_of(site.spec), tags)
