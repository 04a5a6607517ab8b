"""`explain FILE [STAGE]`: why a stage is stale or not, what it was made from, what is live and how it came to be."""

import json
from collections.abc import Iterator
from pathlib import Path

from llmspec import checks
from llmspec.errors import CallError
from llmspec.plan import Step, plan
from llmspec.present import megabytes, seconds
from llmspec.section import STAGES, did_you_mean
from llmspec.stage import NotReadyError, Product
from llmspec.store import Artifact


def explain(path: Path, stage: str | None, target: str | None) -> str:
    """The story of one stage, or a line for each."""
    product = Product.open(path, target)
    if stage is not None and stage not in STAGES:
        raise CallError(f"no stage named '{stage}'\n  {did_you_mean(stage, STAGES)}")
    steps = plan(product).steps
    if stage is None:
        return "\n".join(line for step in steps for line in _story(product, step, brief=True))
    return "\n".join(_story(product, next(step for step in steps if step.stage == stage), brief=False))


def _story(product: Product, step: Step, *, brief: bool) -> Iterator[str]:
    stage = step.stage
    yield f"{stage}  {step.action}" + (f"  {'; '.join(step.why)}" if step.why else "")
    for change in step.changes:
        yield f"  {change}" + (f"   {change.at}" if change.at else "")
    if brief:
        return
    if stage == "endpoint":
        yield from _live(product)
        return
    artifact = product.stage(stage).artifact or product.stage(stage).head
    if artifact is None:
        yield "  nothing was made yet"
    else:
        yield from _artifact(product, stage, artifact)


def _artifact(product: Product, stage: str, artifact: Artifact) -> Iterator[str]:
    manifest = artifact.manifest
    size = sum(file.bytes for file in manifest.files.values())
    took = f"{seconds(manifest.seconds)}, {megabytes(manifest.peak_memory_mb)} of memory"
    yield f"  made        key {manifest.key}, {manifest.finished}, in {took}"
    yield f"  is          {manifest.summary or stage} · {megabytes(size / 1e6)} · content {manifest.digest[:12]}"
    for name, digest in manifest.inputs.items():
        yield f"  from        {name} {digest[:12]}"
    for name, files in manifest.sources.items():
        yield f"  from        {name}: {', '.join(Path(file).name for file in files)}"
    yield f"  by          {manifest.engine} {manifest.version}" + (f", commit {manifest.git[:8]}" if manifest.git else "")
    for verdict in product.stage(stage).verdicts(artifact):
        yield f"  {'passed' if verdict.passed else 'FAILED':<11} {verdict.reason}"
    if stage in ("data", "features", "evaluation"):
        for name in artifact.reports(".md"):
            yield f"\n  {Path(name).stem}:"
            yield from (f"    {line}" for line in artifact.content(name).decode().splitlines())


def _live(product: Product) -> Iterator[str]:
    release = product.releases.live()
    if release is None:
        yield "  nothing is live"
    else:
        onnx = product.store.find(product.name, "onnx", release.artifact_key)
        yield f"  serves      release {release.number}: onnx {release.artifact_key}" + (
            f", {onnx.manifest.summary}" if onnx else ""
        )
        yield f"  serving     {json.dumps(release.serving, ensure_ascii=False)}"
        yield f"  passed      {'; '.join(verdict['reason'] for verdict in release.verdict) or 'no gates'}"
        yield f"  applied by  {release.made_by}, {release.made_at}" + (f", commit {release.git[:8]}" if release.git else "")
    try:
        asked = product.next_release()
    except NotReadyError as waiting:
        yield f"  next        {waiting}"
        return
    if release is None or asked.content != release.content:
        judged = checks.gates(product.spec, asked.scores, asked.scored_on, release)
        yield f"  next        release {asked.number}: {'; '.join(verdict.reason for verdict in judged) or 'no gates'}"
