"""A product becomes Dagster definitions: one asset per stage, in the stage's place, and a schedule for its monitors."""

import importlib

import dagster as dg

from llmspec.section import STAGES
from llmspec.stage import Product


def assets(product: Product) -> list[dg.AssetsDefinition]:
    """The seven assets of a product."""
    return [importlib.import_module(f"assets.{name}").build(product.stage(name), product.place(name)) for name in STAGES]


def definitions(product: Product) -> dg.Definitions:
    """Assets, and the schedule that `monitors.every` asks for."""
    made = assets(product)
    return dg.Definitions(assets=made, schedules=[_watch(product)], executor=dg.in_process_executor)


def _watch(product: Product) -> dg.ScheduleDefinition:
    slug = product.name.replace("-", "_")
    monitors = dg.AssetKey(product.stage("monitors").asset_key)
    job = dg.define_asset_job(f"watch_{slug}", selection=dg.AssetSelection.assets(monitors))
    every = cron(product.spec.monitors.every)
    return dg.ScheduleDefinition(
        name=f"watch_{slug}_every",
        job=job,
        cron_schedule=every,
        should_execute=lambda _: product.releases.live() is not None,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def cron(seconds: float) -> str:
    """The cron line nearest to a duration: of minutes within an hour, of hours within a day, of days."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"*/{minutes} * * * *"
    if minutes < 24 * 60:
        return f"0 */{max(1, round(minutes / 60))} * * *"
    return f"0 0 */{max(1, round(minutes / 1440))} * *"
