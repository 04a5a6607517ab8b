"""evaluation of a hosted product: Bedrock is asked held-out questions, as the endpoint will ask.   onnx -> EVALUATION -> endpoint

Each answer is written down when it comes, so that a run that was killed goes on where it was: no answer is paid for twice.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from backends.serving.hosted.contract import HostedContract, HostedModel, about_tokens
from backends.serving.hosted.engine import HostedEngine, Question
from backends.work.predictions import Asked
from backends.work.report import Report
from backends.work.scoring import PER_ROW, chosen, read_rows, summarize, write
from llmspec.errors import BlockedError
from llmspec.job import digest_of
from llmspec.prices import SIDES, per_token, table
from llmspec.spec.endpoint import Limits
from llmspec.spec.evaluation import Evaluation
from llmspec.spec.model import BedrockBase

AT_ONCE = 4
"""Questions under way: few enough for an account's first quota."""
PATIENCE = 10
"""How often a busy model is asked again before a run gives up; what it has is kept."""
SILENCE_SECONDS = 120.0
PAID = "report/answers.jsonl"
"""What has been paid for, one answer a line."""


@dataclass
class Paid:
    """An answer, and what it took."""

    request: str
    """Digest of the whole question: another prompt is another answer."""
    answer: str
    finish: str
    read: int
    made: int
    seconds: float
    first_token: float


def score(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    """Ask, compare, and write down both."""
    wanted = Evaluation.model_validate(options["evaluation"])
    limits = Limits.model_validate(options["endpoint"]["limits"])
    contract, model = HostedContract.load(inputs["onnx"]), HostedModel.load(inputs["onnx"])
    rows = chosen(read_rows(inputs["data"], wanted.data), wanted.rows)
    requests = [contract.request(contract.conversation(row), limits.output_tokens) for row in rows]
    asked = [Asked(row, [], [], about=about_tokens(request)) for row, request in zip(rows, requests, strict=True)]
    taken = [(item, request) for item, request in zip(asked, requests, strict=True) if item.about <= limits.input_tokens]
    paid = answer_all(inputs["onnx"], taken, output / PAID, report)
    for item in asked:
        item.scores = {name: PER_ROW[name](item.row["answer"], item.answer) for name in wanted.metrics}
    scores = summarize(asked, list(wanted.metrics))
    write(output, asked, scores, limits.input_tokens)
    bill = billed(model, paid)
    report.summary = " · ".join([*(f"{name} {value:.3g}" for name, value in scores.items() if name in wanted.metrics), said(bill)])
    return {**scores, "rows": len(asked), **bill}


def answer_all(artifact: Path, taken: list[tuple[Asked, dict[str, Any]]], kept: Path, report: Report) -> list[Paid]:
    """Few at a time, and only what was not paid for before."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    before = read_paid(kept)
    waiting = [(item, request) for item, request in taken if digest_of(request) not in before]
    if before and taken:
        report.log(f"{len(taken) - len(waiting):,} of {len(taken):,} answers were paid for by an earlier run")
    if waiting:
        ask(
            HostedEngine(artifact, AT_ONCE, SILENCE_SECONDS, PATIENCE),
            [request for _, request in waiting],
            kept,
            len(taken),
            report,
        )
    found = read_paid(kept)
    for item, request in taken:
        answer = found[digest_of(request)]
        item.answer, item.finish, item.tokens = answer.answer, answer.finish, answer.made
        item.seconds, item.first_token = answer.seconds, answer.first_token
    return [found[digest_of(request)] for request in {digest_of(request): request for _, request in taken}.values()]


def ask(engine: HostedEngine, requests: list[dict[str, Any]], kept: Path, total: int, report: Report) -> None:
    """At the first question that gets no answer no other is begun; those under way are kept before the run ends."""
    news: SimpleQueue[None] = SimpleQueue()
    waiting = list({digest_of(request): request for request in reversed(requests)}.values())
    done, trouble = total - len(waiting), None
    running: list[Question] = []
    with kept.open("a", encoding="utf-8") as file:
        while running or (waiting and trouble is None):
            while waiting and trouble is None and len(running) < engine.at_once:
                running.append(engine.submit(waiting.pop(), lambda: news.put(None)))
            news.get()
            for question in [question for question in running if question.finish]:
                running.remove(question)
                trouble = trouble or question.trouble
                if question.trouble is None:
                    keep(file, question)
                    done += 1
                    report.progress(done, total, "questions")
    if trouble:
        raise BlockedError(f"{trouble}\n  {done:,} of {total:,} answers are kept; apply again to go on from there") from trouble


def keep(file: Any, question: Question) -> None:
    """On the disk before the next one is asked."""
    seconds = round(time.monotonic() - question.submitted, 4)
    first = round(question.first_token or seconds, 4)
    read, made = question.tokens_read, question.tokens_made
    paid = Paid(digest_of(question.request), question.text, str(question.finish), read, made, seconds, first)
    file.write(json.dumps(asdict(paid), ensure_ascii=False) + "\n")
    file.flush()
    os.fsync(file.fileno())


def read_paid(kept: Path) -> dict[str, Paid]:
    """By their question. A last line that a crash cut off is no answer."""
    if not kept.exists():
        return {}
    *lines, rest = kept.read_text(encoding="utf-8").split("\n")
    if rest:
        kept.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {paid.request: paid for paid in (Paid(**json.loads(line)) for line in lines)}


def billed(model: HostedModel, paid: list[Paid]) -> dict[str, float]:
    """Tokens as Bedrock counted them, and dollars where there is a price for them."""
    tokens = (sum(each.read for each in paid), sum(each.made for each in paid))
    known, base = table(model.region), BedrockBase(bedrock=model.id)
    prices = [known.get(per_token(base, side)) for side in SIDES]
    counted: dict[str, float] = {f"{side}_tokens": number for side, number in zip(SIDES, tokens, strict=True)}
    if all(prices):
        counted["cost_usd"] = round(
            sum(price.usd * number / 1000 for price, number in zip(prices, tokens, strict=True) if price), 6
        )
    return counted


def said(bill: dict[str, float]) -> str:
    """'12,300 tokens in, 900 out, $0.0009'."""
    usd = bill.get("cost_usd")
    cost = "no price known" if usd is None else f"${usd:.4f}" if usd >= 0.0001 else "less than $0.0001"
    return f"{bill['input_tokens']:,} tokens in, {bill['output_tokens']:,} out, {cost}"
