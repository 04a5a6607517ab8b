"""A site: the product and the target that a place works for, and what was built for them in a cloud before the work came."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspec.errors import PlaceError
from llmspec.home import root
from llmspec.shelf import Shelf, shelf_at
from llmspec.spec import Spec


@dataclass(frozen=True)
class Site:
    """A place's options say where and how large; this says for whom."""

    spec: Spec
    target: str
    file: Path
    """The llm.yaml."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def apply_command(self) -> str:
        """What makes it so, as a person types it."""
        return f"llmspec apply {self.file} --target {self.target}"

    @property
    def apply_again(self) -> str:
        """The cure where the foundation lacks what the spec asks of it by now."""
        return f"apply again, so that the foundation follows: {self.apply_command}"

    @property
    def store(self) -> Shelf:
        """The store of the target. Where something is in AWS the foundation makes its bucket."""
        return shelf_at(self.spec.store, root(), coming=self.spec.in_a_cloud)

    @property
    def region(self) -> str:
        """The AWS region; a spec with a place in AWS has one."""
        assert self.spec.region
        return self.spec.region

    @property
    def ground(self) -> Mapping[str, Any]:
        """What the foundation's stack gave: names of buckets, keys, roles, subnets. PlaceError before it stands."""
        text = self.store.read(self.paper)
        if text is None:
            raise PlaceError(f"{self.name} has no foundation at {self.target}\n  build it: {self.apply_command}")
        return dict(json.loads(text))

    @property
    def founded(self) -> bool:
        """Whether the foundation stands, as far as the store knows."""
        return self.store.read(self.paper) is not None

    @property
    def namesake(self) -> str:
        """What stands in this store and has the same names in AWS, its stacks' among them: `shop` at `eu-prod` is `shop-eu` at
        `prod` there. Empty where nothing does."""
        words = f"{self.name}-{self.target}".split("-")
        alike = [("-".join(words[:at]), "-".join(words[at:])) for at in range(1, len(words))]
        others = (one for one in alike if one != (self.name, self.target))
        return next((f"{name} at {target}" for name, target in others if self.store.read(_paper(name, target))), "")

    def found(self, outputs: Mapping[str, Any]) -> None:
        """The foundation stands: whoever shares the store knows it from now on."""
        self.store.write(self.paper, json.dumps(outputs, indent=1, sort_keys=True))

    def leave(self) -> None:
        """There is no foundation any more."""
        self.store.remove(self.paper)

    @property
    def paper(self) -> str:
        """Where in a store it is written what the foundation gave."""
        return _paper(self.name, self.target)


def _paper(name: str, target: str) -> str:
    return f"{name}/foundation/{target}.json"
