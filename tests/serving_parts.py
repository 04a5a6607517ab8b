"""Real parts for the serving tests: micro checkpoints and their onnx artifacts, made once per test run."""

import atexit
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from backends.serving.contract import CHAT, CONTEXT_QA, Contract

SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEXT = ["Where is my order? We ship within two days, and you may return it within thirty days of purchase."] * 4
CONTEXT_LENGTH = 2048


@cache
def workshop() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="llmspec-serving-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def tokenizer_into(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet))
    tokens = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    PreTrainedTokenizerFast(tokenizer_object=plain, **tokens).save_pretrained(folder)


@cache
def checkpoint(seed: int = 0) -> Path:
    """A Llama with random weights that says printable tokens and never ends by itself."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = workshop() / f"checkpoint-{seed}"
    tokenizer_into(folder)
    torch.manual_seed(seed)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = LlamaConfig(
        vocab_size=320, **shape, head_dim=16, max_position_embeddings=CONTEXT_LENGTH, initializer_range=0.4,
        bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).float()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    mute = [
        i
        for i in range(320)
        if not tokenizer.decode([i], skip_special_tokens=True).isprintable() or "\ufffd" in tokenizer.decode([i])
    ]
    with torch.no_grad():
        model.lm_head.weight[[*range(len(SPECIAL)), *mute]] = 0
    model.save_pretrained(folder)
    return folder


def contract(folder: Path, **changes: object) -> Contract:
    fields = {
        "template": CHAT,
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "pad_id": 2,
        "stop_ids": [1],
        "stop_texts": [],
        "vocab_size": 320,
        "tokenizer": hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest(),
        "max_tokens": 512,
    }
    return Contract(**(fields | changes))  # type: ignore[arg-type]


@cache
def exported(precision: str = "fp32", seed: int = 0) -> Path:
    """An artifact as the onnx stage writes it: graph, tokenizer and contract."""
    folder = workshop() / f"{precision}-{seed}"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(checkpoint(seed)), "-o", str(folder)]
    command += ["-p", precision, "-e", "cpu", "-c", str(workshop() / "cache")]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    contract(folder).save(folder)
    return folder


def with_contract(target: Path, artifact: Path, **changes: object) -> Path:
    """The same artifact under another contract."""
    shutil.copytree(artifact, target, dirs_exist_ok=True)
    contract(target, **changes).save(target)
    return target


def context_qa(target: Path, artifact: Path) -> Path:
    return with_contract(target, artifact, template=CONTEXT_QA, stop_texts=["\n####"])
