"""An entry of a list of names, with options where wanted: `- redact: [email]`, `- pii`."""

from collections.abc import Callable
from typing import Any, ClassVar, Self, get_args

from pydantic import model_serializer, model_validator

from llmspec.section import Section, did_you_mean, one_named, wrong


class Options(Section):
    """What one name does."""

    main: ClassVar[str | None] = None
    """The field that a bare value stands for: `drop_missing: [answer]`."""


class OneOf(Section):
    """Exactly one of its fields."""

    called: ClassVar[str]
    """What errors call an entry."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        """'pii' -> {'pii': {}}; {'drop_missing': ['answer']} -> {'drop_missing': {'columns': ['answer']}}; null -> the defaults."""
        value = one_named(value)
        if not isinstance(value, dict) or len(value) != 1:
            return value
        ((name, options),) = value.items()
        if name not in cls.model_fields:
            raise wrong(f"no {cls.called} named '{str(name)[:60]}'", did_you_mean(str(name), cls.model_fields), word=str(name))
        if options is None:
            return {name: {}}
        main = cls.kind(name).main
        return value if isinstance(options, dict) or main is None else {name: {main: options}}

    @classmethod
    def kind(cls, name: str) -> type[Options]:
        """What a name's options are."""
        (found,) = (kind for kind in get_args(cls.model_fields[name].annotation) if issubclass(kind, Options))
        assert isinstance(found, type)
        return found

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise wrong(f"a {self.called} is one name", f"start each {self.called} with its own '-'")
        return self

    @model_serializer(mode="wrap")
    def _only_itself(self, handler: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        """The names it is not say nothing, so one that is added to the language changes no key and no release."""
        return {self.name: handler(self)[self.name]}

    @property
    def name(self) -> str:
        (name,) = self.model_fields_set
        return name

    @property
    def options(self) -> Options:
        options = getattr(self, self.name)
        assert isinstance(options, Options)
        return options
