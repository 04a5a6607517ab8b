"""Real parts for the serving tests: micro checkpoints and their onnx artifacts, made once per test run."""

import atexit
import contextlib
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends.places import local_endpoint
from backends.serving.contract import CHAT, CONTEXT_QA, Contract
from llmspec.release import Release
from llmspec.shelf import File, files_in, partial, sha256_of
from llmspec.spec.endpoint import Limits
from llmspec.store import Artifact, Manifest, content_digest, open_artifact, seal

ROOT = Path(__file__).parents[1]
SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEXT = ["Where is my order? We ship within two days, and you may return it within thirty days of purchase."] * 4
CONTEXT_LENGTH = 2048
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For httpx where nothing is encrypted and much is asked: by itself it reads all authorities of the machine for each question,
which takes longer than an answer."""


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
def checkpoint() -> Path:
    """A Llama with random weights that says printable tokens and never ends by itself."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = workshop() / "checkpoint"
    tokenizer_into(folder)
    torch.manual_seed(0)
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
    texts = [tokenizer.decode([token], skip_special_tokens=True) for token in range(320)]
    mute = [token for token, text in enumerate(texts) if not text or not text.isprintable() or "\ufffd" in text]
    with torch.no_grad():
        model.lm_head.weight[mute] = 0
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


def exported(precision: str = "fp32") -> Path:
    """An artifact as the onnx stage writes it: graph, tokenizer and contract. Made once, however it is asked for."""
    return _exported(precision)


@cache  # `f()` and `f("fp32")` are two keys for it, so the defaults are filled in before
def _exported(precision: str) -> Path:
    folder = workshop() / precision
    folder.mkdir()
    build = "import sys, pathlib as p; from onnx_parts import report; from backends.work.export_onnx import build; "
    build += "build(p.Path(sys.argv[1]), p.Path(sys.argv[2]), sys.argv[3], report())"
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", build, str(checkpoint()), str(folder), precision]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint() / name, folder / name)
    contract(folder).save(folder)
    return folder


@cache
def other() -> Path:
    """An artifact that says other words: the same model with its printable words exchanged."""
    import onnx
    from onnx import numpy_helper

    folder = shutil.copytree(exported(), workshop() / "other")
    model = onnx.load(folder / "model.onnx")
    head = next(item for item in model.graph.initializer if item.name == "lm_head.MatMul.weight")
    weights = numpy_helper.to_array(head).copy()
    said = weights.any(axis=0).nonzero()[0]
    weights[:, said] = weights[:, said[::-1]]
    head.CopyFrom(numpy_helper.from_array(weights, head.name))
    (folder / "model.onnx.data").unlink()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    return folder


def with_contract(target: Path, artifact: Path, **changes: object) -> Path:
    """The same artifact under another contract."""
    shutil.copytree(artifact, target, dirs_exist_ok=True)
    contract(target, **changes).save(target)
    return target


def sealed(seed: int = 0, form: str = "chat") -> Artifact:
    """The artifact in a store's folder, with its manifest. Sealed once, however it is asked for."""
    return _sealed(seed, form)


@cache
def _sealed(seed: int, form: str) -> Artifact:
    folder = workshop() / "store" / f"{form}-{seed}"
    growing = partial(folder)
    shutil.copytree(other() if seed else exported(), growing)
    if form == "context_qa":
        contract(growing, template=CONTEXT_QA, stop_texts=["\n####"]).save(growing)
    files = {name: File(sha256_of(growing / name), (growing / name).stat().st_size) for name in files_in(growing)}
    key = f"{form}-{seed}"
    seal(growing, folder, Manifest("bot", "onnx", key, content_digest(files), "export_onnx", 1, {}, {}, {}, files, {}))
    found = open_artifact(folder)
    assert found
    return found


LIMITS = {"input_tokens": 256, "output_tokens": 1700, "concurrency": 4, "queue": 2, "timeout": "20s"}


def release(number: int = 1, seed: int = 0, form: str = "chat", host: str = "127.0.0.1", port: int = 0, **more: Any) -> Release:
    """A release of `bot` at `local` on a free port; `more` are limits, and keys of `endpoint` by their names."""
    artifact = sealed(seed, form)
    limits = {name: value for name, value in more.items() if name in Limits.model_fields}
    rest = {name: value for name, value in more.items() if name not in limits}
    serving = {"api": "openai", "host": host, "port": port, "system_prompt": None, "limits": LIMITS | limits, **rest}
    hashed = Contract.load(artifact.folder).hash
    return Release(number, "bot", "local", str(artifact.folder), artifact.manifest.key, artifact.manifest.digest, hashed, serving)


def processes(folder: Path) -> list[int]:
    """Supervisors and workers of this run folder that are alive."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if "backends.serving" in command and str(folder) in command:
                found.append(int(process.name))
    return found


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it holds; fail when it does not."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not become true"
        time.sleep(0.02)


@contextlib.contextmanager
def endpoint(home: Path, first: Release) -> Iterator[str]:
    """A real supervised endpoint on loopback, under a home of its own; its URL. Nothing is left of it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSPEC_HOME", str(home))
        try:
            yield local_endpoint.serve(first).url
        finally:
            local_endpoint.stop("bot", "local")
            assert processes(home) == []
