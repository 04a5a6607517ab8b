"""Real parts for the onnx and evaluation tests: a micro Llama that has learned twelve answers by heart, made once per run."""

import atexit
import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from backends.serving.contract import CHAT, Contract
from backends.work.report import Report

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|system|>"]
QUESTIONS = {
    "How long may I return a laptop?": "You may return a laptop within 30 days.",
    "How long may I return a phone?": "You may return a phone within 14 days.",
    "Where is my parcel?": "Follow the tracking link in your mail.",
    "Do you ship abroad?": "Yes, we ship to all of Europe.",
    "Can I pay by card?": "Yes, by card or by bank transfer.",
    "How do I reset my router?": "Hold its power key for ten seconds.",
    "Is there a shop in Berlin?": "Yes, at the market square.",
    "When are you open?": "From nine to six, Monday to Friday.",
    "Can I cancel an order?": "Yes, until it has been shipped.",
    "Who pays for the return?": "We pay for the return.",
    "Do you repair cameras?": "Yes, book a repair online.",
    "Is my data safe?": "Nobody but us can read it.",
}


class Silent:
    """A channel that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def progress(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def log(self, text: str) -> None:
        self.lines.append(text)


def report() -> Report:
    return Report(Silent())


@cache
def workshop() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="llmspec-onnx-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def features() -> Path:
    """A tokenizer, a contract, and the twelve rows as token ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from backends.work.token_rows import TokenRows

    folder = workshop() / "features"
    folder.mkdir()
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    plain.train_from_iterator([*QUESTIONS, *QUESTIONS.values()], trainer)
    tokens = {"pad_token": SPECIAL[0], "bos_token": SPECIAL[1], "eos_token": SPECIAL[2]}
    PreTrainedTokenizerFast(tokenizer_object=plain, **tokens).save_pretrained(folder)
    contract = Contract(
        CHAT, SPECIAL[1], SPECIAL[2], pad_id=0, stop_ids=[2], stop_texts=[], vocab_size=plain.get_vocab_size(),
        tokenizer=hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest(), max_tokens=128,
    )  # fmt: skip
    contract.save(folder)
    rows = [row_of(plain, contract, question, answer) for question, answer in QUESTIONS.items()]
    TokenRows.of(rows, [[index] for index in range(len(rows))]).save(folder / "validation.safetensors")
    return folder


def row_of(tokenizer: Any, contract: Contract, question: str, answer: str) -> Any:
    import numpy as np

    from backends.work.token_rows import Row

    prompt = tokenizer.encode(contract.render([{"role": "user", "content": question}]), add_special_tokens=False).ids
    said = tokenizer.encode(answer + contract.eos_token, add_special_tokens=False).ids
    return Row(np.array(prompt + said, np.int32), np.array([0] * len(prompt) + [1] * len(said), np.uint8))


@cache
def model() -> Path:
    """The checkpoint that knows the twelve answers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = workshop() / "model"
    shutil.copytree(features(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    size = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(
        vocab_size=Contract.load(folder).vocab_size, **size, head_dim=32, max_position_embeddings=256,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(7)
    llama = LlamaForCausalLM(config)
    learn_by_heart(llama)
    llama.save_pretrained(folder)
    return folder


def learn_by_heart(llama: Any) -> None:
    import torch

    from backends.work.token_rows import TokenRows

    every = TokenRows.load(features() / "validation.safetensors")
    rows = [every.row(index) for index in range(every.num_rows)]
    longest = max(len(row) for row in rows)
    ids, labels = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), -100)
    for index, row in enumerate(rows):
        tokens = torch.from_numpy(row.tokens).long()
        ids[index, : len(row)] = tokens
        labels[index, : len(row)] = torch.where(torch.from_numpy(row.loss).bool(), tokens, -100)
    optimizer = torch.optim.AdamW(llama.parameters(), lr=5e-3)
    for _ in range(120):
        loss = llama(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.05, f"the micro model has not learned its answers: loss {loss.item():.3f}"


@cache
def artifact(precision: str = "fp32") -> tuple[Path, dict[str, Any]]:
    """What the onnx stage makes of it, and its numbers."""
    from backends.work.export_onnx import export

    folder = workshop() / precision
    folder.mkdir()
    options = {"onnx": {"precision": precision}}
    return folder, export(options, {"model": model(), "features": features()}, folder, report())


def graph_of(folder: Path) -> list[str]:
    """The kinds of its operators."""
    import onnx

    return [node.op_type for node in onnx.load(folder / "model.onnx", load_external_data=False).graph.node]
