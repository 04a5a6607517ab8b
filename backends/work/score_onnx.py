"""evaluation: the artifact is asked held-out questions, through the engine that will serve it.   onnx -> EVALUATION -> endpoint"""

import json
import math
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from tokenizers import Tokenizer

from backends.serving.contract import Contract
from backends.serving.engine import Engine, Generation
from backends.serving.sampling import Sampling
from backends.work.predictions import Asked
from backends.work.report import Report
from backends.work.scoring import PER_ROW, chosen, read_rows, summarize, write
from llmspec.errors import BlockedError
from llmspec.spec.endpoint import Limits
from llmspec.spec.evaluation import Evaluation

SLOTS = 8
"""How many rows are answered at a time; fixed, so that a larger machine gives the same scores."""


def score(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    """Ask, compare, and write down both."""
    wanted = Evaluation.model_validate(options["evaluation"])
    endpoint = options["endpoint"]
    output_tokens = Limits.model_validate(endpoint["limits"]).output_tokens
    contract = Contract.load(inputs["onnx"])
    same_system_prompt(contract, endpoint)
    rows = chosen(read_rows(inputs["data"], wanted.data), wanted.rows)
    asked = prepare(contract, inputs["onnx"], rows)
    takes = longest_prompt(inputs["onnx"], endpoint["limits"])
    fitting = [item for item in asked if len(item.prompt) <= takes]
    if fitting:
        engine = Engine(inputs["onnx"], slots=SLOTS, max_len=longest(fitting, output_tokens))
        answer_all(engine, fitting, output_tokens, report)
        if "perplexity" in wanted.metrics:
            read_all(engine, fitting, report)
    per_row = [name for name in wanted.metrics if name in PER_ROW]
    for item in asked:
        item.scores = {name: PER_ROW[name](item.row["answer"], item.answer) for name in per_row}
    scores = summarize(asked, list(wanted.metrics))
    write(output, asked, scores, takes)
    report.summary = " · ".join(f"{name} {value:.3g}" for name, value in scores.items() if name in wanted.metrics)
    return {**scores, "rows": len(asked)}


def same_system_prompt(contract: Contract, endpoint: dict[str, Any]) -> None:
    """The contract's is used; another one in the spec, where the job says it, would be served and not evaluated."""
    if "system_prompt" in endpoint and (endpoint["system_prompt"] or None) != (contract.system_prompt or None):
        raise BlockedError("endpoint.system_prompt is not the one the model was trained with: apply from features on")


def longest_prompt(artifact: Path, limits: dict[str, Any]) -> int:
    """What the endpoint takes: as many tokens as the spec allows and the model can read."""
    model = json.loads((artifact / "genai_config.json").read_text(encoding="utf-8"))["model"]
    return int(min(limits.get("input_tokens", math.inf), model["context_length"] - 1))


def prepare(contract: Contract, artifact: Path, rows: list[dict[str, Any]]) -> list[Asked]:
    """Prompt and expected answer as tokens, each on its own, as training had them."""
    tokenizer = Tokenizer.from_file(str(artifact / "tokenizer.json"))
    end = ending_of(contract, tokenizer)

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    return [Asked(row, ids(prompt_of(contract, row)), ids(row["answer"] + end)) for row in rows]


def prompt_of(contract: Contract, row: dict[str, Any]) -> str:
    return contract.render([{"role": "user", "content": row["question"]}], context=row.get("context"))


def ending_of(contract: Contract, tokenizer: Tokenizer) -> str:
    """What is expected after each answer."""
    return contract.learned_ending(str(tokenizer.id_to_token(number)) for number in contract.stop_ids)


def longest(asked: list[Asked], output_tokens: int) -> int:
    """What the engine must hold: it reserves memory for no more."""
    return max(len(item.prompt) + max(len(item.expected), output_tokens) for item in asked)


def answer_all(engine: Engine, asked: list[Asked], max_tokens: int, report: Report) -> None:
    """Several in flight, as under load; greedy, so that the same artifact gives the same answers."""
    waiting, running = deque(asked), dict[Generation, Asked]()
    started, tokens = time.monotonic(), 0
    while waiting or running:
        while waiting and len(running) < engine.slots:
            item = waiting.popleft()
            running[engine.submit(item.prompt, Sampling(max_tokens))] = item
        for generation in engine.step():
            if generation.finish and (ended := running.pop(generation, None)):
                ended.take(generation)
                tokens += ended.tokens
                speed = tokens / max(time.monotonic() - started, 1e-9)
                report.progress(len(asked) - len(waiting) - len(running), len(asked), "questions", tokens_per_second=speed)


def read_all(engine: Engine, asked: list[Asked], report: Report) -> None:
    """How likely the expected answers are, given the questions; of a very long one, as much as the model can read."""
    for done, item in enumerate(asked, start=1):
        (chances,) = engine.logprobs([(item.prompt + item.expected)[: engine.max_len]])
        item.surprises = [-float(chance) for chance in chances[len(item.prompt) - 1 :]]
        report.progress(done, len(asked), "expected answers")
