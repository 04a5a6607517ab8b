"""What is live, how it does, and which alarms ring."""

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

from llmspec.cli.common import target_option
from llmspec.errors import PlaceError
from llmspec.journal_stats import Feedback, feedback_since, horizon, look, summary
from llmspec.present import seconds
from llmspec.section import format_duration
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    target_option(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--drift", action="store_true", help="ask AWS what differs there from what was made; 3 when something does")


def run(args: argparse.Namespace) -> int:
    product = Product.open(args.file, args.target)
    facts = gather(product)
    if product.spec.in_aws:
        facts |= {"drift": _drift(product) if args.drift else None}
    if args.output == "json":
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        print("\n".join([*lines(facts), *drift_lines(facts, product.loaded.as_typed)]))
    if any(facts.get("drift") or []):
        return 3
    return 0 if facts["state"] in ("live", "nothing deployed") else 1


def gather(product: Product) -> dict[str, Any]:
    """What the pointer says, what answers, and what the journal holds of the last `monitors.every`."""
    pointed = product.releases.live()
    live = product.place("endpoint").live(product.name, product.target)
    state = "nothing deployed" if pointed is None else "down" if live is None else "live"
    facts: dict[str, Any] = {"name": product.name, "target": product.target, "state": state}
    if pointed:
        facts |= {"release": pointed.number, "made_at": pointed.made_at, "scores": pointed.scores}
    if live:
        facts |= {"url": live.url, "answers": live.release, "up_seconds": round(time.time() - live.since)}
    if live and live.journal_lost:
        facts |= {"journal_lost": live.journal_lost}
    if pointed and live and live.release != pointed.number:
        facts["state"] = "another release answers"
    if tried := product.place("endpoint").tried(product.name, product.target):
        facts |= {"candidate": {"release": tried.release, "url": tried.url}}
    now = time.time()
    if pointed and (unread := _unread(product, now)):
        facts |= {"journal": f"not read: {unread}"}
    seen = look(product.journal, product.spec.monitors, now)
    alarms = [asdict(alarm) for alarm in seen.alarms]
    said = feedback_since(product.journal, now - product.spec.monitors.every)
    facts |= {"feedback": asdict(said)}
    return facts | {"window_seconds": product.spec.monitors.every, "recent": seen.numbers, "alarms": alarms}


def _unread(product: Product, now: float) -> str:
    """Why what the endpoint wrote could not be brought: a role that only looks for drift may not read what people asked."""
    try:
        product.place("endpoint").bring_journal(product.journal, horizon(product.spec.monitors, now))
    except PlaceError as error:
        return str(error).splitlines()[0]
    return ""


def lines(facts: dict[str, Any]) -> list[str]:
    dot = "●" if facts["state"] == "live" else "○"
    head = f"{facts['name']}  {facts['target']}  {dot} {facts['state']}"
    if "release" in facts:
        head += f"  release {facts['release']}"
    if "url" in facts:
        head += f"  {facts['url']}  up {seconds(facts['up_seconds'])}"
    ringing = [f"{alarm['alarm']}: {alarm['reason']}" for alarm in facts["alarms"] if alarm["ringing"]]
    window = format_duration(facts["window_seconds"])
    tried = facts.get("candidate")
    said = [f"  candidate    release {tried['release']}  {tried['url']}"] if tried else []
    said += [f"  feedback     {Feedback(**facts['feedback'])}"] if any(facts["feedback"].values()) else []
    if "journal_lost" in facts:
        said += [f"  journal      {facts['journal_lost']:,} lines could not be written (is the disk full?): llmspec logs says why"]
    if "journal" in facts:
        return [head, f"  journal      {facts['journal']}", *said]
    return [head, f"  last {window:<7} {summary(facts['recent'])}", *said, f"  alarms       {'; '.join(ringing) or 'none'}"]


def _drift(product: Product) -> list[dict[str, Any]]:
    """What differs in AWS, of both stacks. CliMissingError where there is no CLI to look with."""
    from llmspec.infra.command import CliMissingError, installed
    from llmspec.infra.stacks import standing

    if not installed():
        raise CliMissingError
    site = product.place("endpoint").site
    parts = ("foundation", "service")
    return [{"part": part, **change.to_dict()} for part in parts for change in standing(site, part).drift()]


def drift_lines(facts: dict[str, Any], typed: str) -> list[str]:
    if "drift" not in facts:
        return []
    if facts["drift"] is None:
        return ["  drift        not looked at: add --drift"]
    told = [
        f"{each['part']}: {each['op']} {each['type']} {each['name']}  {', '.join(each['keys'])}".rstrip() for each in facts["drift"]
    ]
    cure = [f"put it back: llmspec apply {typed} --drift"] if told else []
    return [f"  drift        {told[0] if told else 'none'}", *(f"{' ' * 15}{line}" for line in (*told[1:], *cure))]
