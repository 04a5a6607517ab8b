"""What every stage's asset has in common: its name, its checks, and a manifest turned into what the UI shows."""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from llmspec import checks
from llmspec.card import Place
from llmspec.errors import LLMSpecError
from llmspec.expressions import Verdict
from llmspec.job import digest_of
from llmspec.make import FORCE, Made, make
from llmspec.progress import publish
from llmspec.stage import Stage
from llmspec.store import Artifact

MAX_SHOWN_BYTES = 200_000


def asset(
    stage: Stage, text: str, check_specs: list[dg.AssetCheckSpec] | None = None
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`@dg.asset` with what every stage's asset has: key, upstream, group, owner, tags, the YAML it came from, its checks."""
    product = stage.product
    said, text = product.loaded.excerpt(stage.name), stage.engine.makes or text
    make_asset: Any = dg.asset(
        key=dg.AssetKey(stage.asset_key),
        deps=[dg.AssetKey(dep) for dep in stage.deps],
        code_version=stage.code_version,
        group_name=re.sub(r"[^A-Za-z0-9_]", "_", product.name),
        kinds={stage.engine.tool} if stage.engine.tool else None,
        owners=[product.spec.owner] if product.spec.owner else None,
        tags={**product.spec.tags, "llmspec/stage": stage.name, "llmspec/target": product.target},
        description=f"{text}\n\n```yaml\n{said}\n```" if said else text,
        check_specs=check_specs or declared(stage, checks.names(stage.name, product.spec), blocking=True) or None,
    )
    return make_asset  # type: ignore[no-any-return]


def declared(stage: Stage, labels: Sequence[str], *, blocking: bool) -> list[dg.AssetCheckSpec]:
    """The checks that a stage will be put to, as Dagster wants to know them before it runs."""
    key = dg.AssetKey(stage.asset_key)
    named = check_names(labels).items()
    return [dg.AssetCheckSpec(name, asset=key, description=label, blocking=blocking) for label, name in named]


def check_names(labels: Sequence[str]) -> dict[str, str]:
    """Label -> what Dagster allows as a name. Two that differ only in what it does not allow (`+` and `*`) get a digest each."""
    plain = {label: _plain(label) for label in labels}
    alike = Counter(plain.values())
    return {label: name if alike[name] == 1 else f"{name}_{digest_of(label)[:6]}" for label, name in plain.items()}


def _plain(label: str) -> str:
    """'token_f1 >= 0.80' -> 'token_f1_ge_0_80'."""
    for sign, word in ((">=", "ge"), ("<=", "le"), ("==", "eq"), ("!=", "ne"), (">", "gt"), ("<", "lt")):
        label = label.replace(sign, word)
    return re.sub(r"\W+", "_", label).strip("_")


def produce(context: dg.AssetExecutionContext, stage: Stage, place: Place) -> dg.MaterializeResult:
    """The body of every asset that ends in an artifact."""
    stage = stage.product.fresh().stage(stage.name)
    with told(stage.name):
        made = make(stage, place, context, force=context.run.tags.get(FORCE) == "true")
    return shown(stage, made)


class told:
    """An error of ours is published as it is, and reaches Dagster as one clear failure instead of a traceback."""

    def __init__(self, stage: str):
        self.stage = stage

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, LLMSpecError):
            publish(self.stage, "failed", error=error)
            raise dg.Failure(description=str(error), allow_retries=False) from None


def shown(stage: Stage, made: Made) -> dg.MaterializeResult:
    """Manifest -> metadata, data version and check results."""
    manifest = made.artifact.manifest
    verdicts = stage.verdicts(made.artifact)
    names = check_names([verdict.gate for verdict in verdicts])
    return dg.MaterializeResult(
        metadata={**metadata(made.artifact), "reused": made.reused},
        data_version=dg.DataVersion(manifest.digest),
        check_results=[_result(names[verdict.gate], verdict) for verdict in verdicts],
    )


def _result(name: str, verdict: Verdict) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(check_name=name, passed=verdict.passed, description=verdict.reason)


def metadata(artifact: Artifact) -> dict[str, Any]:
    """Numbers become plots over time, reports become text and pictures."""
    manifest = artifact.manifest
    numbers = {name: value for name, value in manifest.metrics.items() if isinstance(value, int | float | str)}
    about = {
        "summary": manifest.summary,
        "key": manifest.key,
        "seconds": manifest.seconds,
        "peak_memory_mb": manifest.peak_memory_mb,
        "git": manifest.git,
        "artifact": dg.MetadataValue.path(artifact.uri),
    }
    told = {**numbers, **{name: value for name, value in about.items() if value != ""}}
    reports = {f"{name}_report" if name in told else name: shown for name, shown in _reports(artifact)}
    return told | reports


def _reports(artifact: Artifact) -> Iterator[tuple[str, Any]]:
    for name in artifact.reports():
        path = Path(name)
        if artifact.manifest.files[name].bytes > MAX_SHOWN_BYTES:
            yield path.stem, dg.MetadataValue.path(f"{artifact.uri}/{name}")
        elif path.suffix == ".md":
            yield path.stem, dg.MetadataValue.md(artifact.content(name).decode())
        elif path.suffix in (".png", ".svg"):
            yield path.stem, picture(path.stem, artifact.content(name), "image/png" if path.suffix == ".png" else "image/svg+xml")


def picture(title: str, content: bytes, kind: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![{title}](data:{kind};base64,{base64.b64encode(content).decode()})")
