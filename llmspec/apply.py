"""Run a plan through Dagster, so that the UI shows the same run; report what came of it."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # not among the public names

from llmspec.compile import assets
from llmspec.errors import DamagedError, LLMSpecError, StaleError, StoreError
from llmspec.home import home
from llmspec.make import FORCE
from llmspec.plan import Plan, plan
from llmspec.progress import Event, listening
from llmspec.stage import Product

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The terminal is ours; Dagster's own log is in its database, for the UI."""
QUIET = "telemetry: {enabled: false}\nnux: {enabled: false}\n"


@dataclass
class Outcome:
    """What came of an apply."""

    passed: bool
    interrupted: bool = False
    errors: list[LLMSpecError] = field(default_factory=list)


def dagster_home() -> Path:
    """Dagster's own folder: its database and the logs of its runs."""
    folder = home() / "dagster"
    config = folder / "dagster.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not config.exists():
            config.write_text(QUIET, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}\n  run where you may write, or set LLMSPEC_HOME") from error
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def materialize(product: Product, stages: Sequence[str], *, force: bool = False) -> Outcome:
    """One run, in this process, of these stages; the heavy work is in its children."""
    dagster_home()
    warnings.filterwarnings("ignore", message=".*currently in (preview|beta).*")
    errors: list[LLMSpecError] = []

    def hear(event: Event) -> None:
        if event.kind == "failed":
            errors.append(event.facts["error"])

    job = dg.Definitions(assets=assets(product), executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance, listening(hear):
        bury(instance, product)
        try:
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(product.stage(stage).asset_key) for stage in stages],
                run_config=SILENT,
                tags=mine(product) | ({FORCE: "true"} if force else {}),
            )
        except (dg.Failure, DagsterAssetCheckFailedError):
            return Outcome(False, errors=errors)
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            return Outcome(False, interrupted=True)
    return Outcome(result.success, errors=errors)


def mine(product: Product) -> dict[str, str]:
    """The tags by which a product's own runs are known."""
    return {"llmspec/name": product.name, "llmspec/apply": product.target}


def bury(instance: dg.DagsterInstance, product: Product) -> None:
    """A run whose process was killed says STARTED for ever. Whoever holds the product's lock knows that none is running."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags=mine(product))):
        instance.report_run_failed(run, "Its process was killed; what it had made is kept.")


def apply(product: Product, what: Plan, *, select: str | None = None, force: bool = False) -> Outcome:
    """The plan's pending stages. An artifact that turns out damaged is set aside, and what it was for is planned again."""
    outcome = materialize(product, [step.stage for step in what.pending], force=force)
    for _ in what.steps:
        if not any(isinstance(error, DamagedError) for error in outcome.errors):
            break
        product = product.fresh()
        again = plan(product, select=select)
        if not again.pending:
            break  # it was not selected, so it is not made again here; and Dagster takes an empty selection for everything
        outcome = materialize(product, [step.stage for step in again.pending])
    return outcome


def agreed(now: Plan, saved: dict[str, object]) -> None:
    """A saved plan is only applied if it still says what would happen."""
    if saved.get("fingerprint") != now.fingerprint:
        raise StaleError(
            f"the saved plan is stale: the spec, its data or the store changed since\n"
            f"  plan again: llmspec plan {now.typed} --out FILE"
        )
