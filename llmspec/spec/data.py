"""data: where rows come from, how they are cleaned, and who may see which."""

from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import SchemaError, SchemaValidator, core_schema

from llmspec.card import Engine
from llmspec.choice import OneOf, Options
from llmspec.expressions import Comparison
from llmspec.registry import EngineOf
from llmspec.section import Like, OutsideKey, Section, did_you_mean, wrong

Column = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$"), Like("a column is small letters, digits and '_': `question`")]
Columns = Annotated[list[Column], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
_ENDINGS = ("csv", "tsv", "json", "jsonl", "parquet")


class Source(Section):
    """Files that hold rows."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$"), Like("write small letters, digits, '-' and '_': `faq`")] | None = (
        None
    )
    """How reports call it; the file's stem when absent."""
    path: Annotated[str, OutsideKey()] = Field(min_length=1)
    """A file or a glob, relative to the spec: `data/faq.jsonl`, `data/*.csv`."""
    format: Literal["csv", "tsv", "json", "jsonl", "parquet"] | None = None
    """Read from the file's ending when absent."""
    columns: dict[Column, str] = Field(default_factory=lambda: {"question": "question", "answer": "answer"})
    """Our column: theirs. `question` and `answer` are needed, `context` is optional, a dot reaches into a record;
    more columns are kept for `split.group_by`."""

    @field_validator("path")
    @classmethod
    def _double_stars_stand_alone(cls, path: str) -> str:
        if any("**" in part and part != "**" for part in PurePosixPath(path).parts):
            raise wrong("`**` stands for folders, with nothing beside it", "`data/**/*.jsonl`, or one `*` within a name")
        return path

    @property
    def called(self) -> str:
        """How reports call it."""
        return self.name or PurePosixPath(self.path).stem.replace("*", "all")

    @model_validator(mode="after")
    def _needs_question_and_answer(self) -> Self:
        if missing := {"question", "answer"} - self.columns.keys():
            raise wrong(
                f"columns must name {' and '.join(sorted(missing))}", "write `columns: {question: …, answer: …}`", "columns"
            )
        if made := sorted({"id", "source"} & self.columns.keys()):
            raise wrong(f"column '{made[0]}' is made by llmspec", "call yours something else", "columns", made[0])
        return self

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        ending = PurePosixPath(self.path).suffix.lstrip(".").lower()
        if self.format is None and ending not in _ENDINGS:
            cure = f"name the file with its ending, or add `format: …` ({', '.join(_ENDINGS)})"
            raise wrong(f"'{ending or self.path}' does not say what format it is", cure, "path")
        return self


class TextStep(Options):
    """A step that rewrites text."""

    main: ClassVar[str | None] = "columns"
    columns: Columns | None = None
    """Which columns it rewrites; question, answer and context (where there is one) when absent."""


class NormalizeUnicode(TextStep):
    """One spelling per character (NFC), plain quotes and spaces, no control or zero-width characters."""


class StripHtml(TextStep):
    """Tags out, entities decoded, the content of script and style gone."""


class CollapseWhitespace(TextStep):
    """Runs of white space become one space; none at the ends."""


class Lowercase(TextStep):
    """All letters small."""


class Remove(TextStep):
    """What matches a pattern goes."""

    main: ClassVar[str | None] = "pattern"
    pattern: str = Field(min_length=1)
    """A regular expression without look-around and back-references, so that every engine reads it alike."""

    @field_validator("pattern")
    @classmethod
    def _every_engine_reads_it(cls, pattern: str) -> str:
        # pydantic's own expressions are Rust's, which is what Sail runs; Java reads all of them
        try:
            SchemaValidator(core_schema.str_schema(pattern=pattern))
        except SchemaError as error:
            said = [line.removeprefix("error: ") for line in str(error).splitlines() if line.startswith("error: ")]
            raise wrong(
                f"not a regular expression that every engine reads: {said[0] if said else 'it is too large'}",
                "use one without look-around and back-references",
            ) from None
        return pattern


class DropMissing(Options):
    """Rows without a value go."""

    main: ClassVar[str | None] = "columns"
    columns: Columns = ["question", "answer"]
    """A row goes when any of these is null or blank."""


class DropShort(Options):
    """Rows whose text is too short to teach anything go."""

    column: Column = "answer"
    """Which column is measured."""
    characters: int = Field(default=10, ge=1)
    """Fewer than this, and the row goes."""


class Redact(TextStep):
    """Personal data out, before anything is trained on it."""

    main: ClassVar[str | None] = "kinds"
    kinds: Annotated[list[Literal["email", "phone", "credit_card"]], Field(min_length=1)] = ["email", "phone", "credit_card"]
    """What is looked for; a card number counts only when its check digit (Luhn) is right."""
    action: Literal["mask", "drop", "fail"] = "mask"
    """mask writes [EMAIL] in its place, drop loses the row, fail stops with the rows named."""


class DropDuplicates(Options):
    """Of rows that are equal, the first stays."""

    main: ClassVar[str | None] = "columns"
    columns: Columns = ["question", "answer"]
    """Rows equal in all of these are duplicates."""


class CleanStep(OneOf):
    """Exactly one of these."""

    called: ClassVar[str] = "cleaning step"

    normalize_unicode: NormalizeUnicode | None = None
    """One spelling per character."""
    strip_html: StripHtml | None = None
    """Tags out, text stays."""
    collapse_whitespace: CollapseWhitespace | None = None
    """One space where there were many."""
    lowercase: Lowercase | None = None
    """All letters small."""
    remove: Remove | None = None
    """What matches a pattern goes."""
    drop_missing: DropMissing | None = None
    """Rows without a value go."""
    drop_short: DropShort | None = None
    """Rows with too little text go."""
    redact: Redact | None = None
    """Personal data out."""
    drop_duplicates: DropDuplicates | None = None
    """Equal rows: the first stays."""


class Split(Section):
    """Who trains, who steers, who judges. No question is in two parts."""

    train: float = Field(default=0.8, gt=0, lt=1)
    """Share of the groups that train the model."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share that measures the loss while training and the artifact's parity after."""
    test: float = Field(default=0.1, gt=0, lt=1)
    """Share that nobody sees before evaluation."""
    seed: Seed = 7
    """Another seed, another split."""
    group_by: Column | None = None
    """Rows that share this column stay together as well; rows that share a question always do."""

    @model_validator(mode="after")
    def _shares_are_a_whole(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise wrong(f"train + validation + test is {total:g}", "make it 1")
        return self


class DataChecks(Section):
    """What must hold of the cleaned rows, or nothing is trained on them."""

    rows: Comparison | None = None
    """Rows after cleaning: `rows: ">= 100"`."""
    dropped: Comparison | None = None
    """Share of the rows that cleaning dropped: `dropped: "<= 0.2"`."""
    duplicates: Comparison | None = None
    """Share of exact duplicates that came in: `duplicates: "<= 0.05"`."""


class Data(Section):
    """From sources to clean, split rows."""

    engine: Annotated[Engine, EngineOf("data")] = Field(default="sail", validate_default=True)
    """sail (embedded, no JVM) or spark: {master: …} or spark: {remote: …}; the rows are the same."""
    sources: list[Source] = Field(min_length=1)
    """Where the rows come from."""
    clean: list[CleanStep] = Field(default=[], max_length=60)
    """Steps, in order; each reports how many rows it changed and dropped."""
    template: Literal["chat", "context_qa"] = "chat"
    """How a row becomes text: the base model's own chat form, or [Context] [Question] [Answer] … ####."""
    split: Split = Split()
    """How rows are divided."""
    checks: Annotated[DataChecks, OutsideKey()] = DataChecks()
    """What must hold before anything trains."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for number, source in enumerate(self.sources):
            if source.called in seen:
                at = f"sources[{number}]" + (".name" if source.name else ".path")
                raise wrong(f"two sources are called '{source.called}'", "give one of them a `name` of its own", at)
            seen.add(source.called)
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        every = set.intersection(*(set(source.columns) for source in self.sources))
        some = set.union(*(set(source.columns) for source in self.sources))
        if self.template == "context_qa" and "context" not in some:
            raise wrong("template context_qa needs rows with a context", "add `context: …` to a source's columns", "template")
        if self.split.group_by and self.split.group_by not in every:
            raise wrong(
                f"no column {self.split.group_by!r} in every source's columns",
                f"known in all: {', '.join(sorted(every))}",
                "split.group_by",
            )
        return self

    @model_validator(mode="after")
    def _steps_find_their_columns(self) -> Self:
        known = set.union({"context"}, *(set(source.columns) for source in self.sources))
        for number, clean in enumerate(self.clean):
            options = clean.options.model_dump()
            one = {"column": options["column"]} if "column" in options else {}
            many = {f"columns[{at}]": column for at, column in enumerate(options.get("columns") or [])}
            for field, column in (one | many).items():
                if column not in known:
                    at = f"clean[{number}].{clean.name}.{field}"
                    raise wrong(f"no source has a column '{column}'", did_you_mean(column, sorted(known)), at)
        return self
