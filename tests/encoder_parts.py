"""Real parts for the classification tests: tiny checkpoints with random weights, and their artifacts. Made once per test run."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from serving_parts import PLAIN, TEXT, workshop

from backends.serving.classes import Classes
from backends.work.report import Report
from llmspec.release import Release
from llmspec.shelf import File, files_in, partial, sha256_of
from llmspec.store import Manifest, content_digest, open_artifact, seal

LABELS = ["delivery", "return", "greeting"]
MAX_TOKENS = 64
WORDS = ["where", "is", "my", "order", "we", "ship", "within", "two", "days", "and", "you", "may", "return", "thirty", "hello"]


def classify(url: str, texts: Any, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/classify", json={"input": texts, **more}, timeout=30, verify=PLAIN)


class Silent:
    """Where reports go."""

    def progress(self, event: dict[str, Any]) -> None: ...

    def log(self, text: str) -> None: ...


def tokenizer_into(folder: Path) -> None:
    """Lower-case words between [CLS] and [SEP]. Its file cuts texts off after 20 tokens, as those of the hub do at 512."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    plain.normalizer = normalizers.BertNormalizer()
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    plain.train_from_iterator([*TEXT, *WORDS], trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    plain.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    plain.enable_truncation(20)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=MAX_TOKENS, **named).save_pretrained(folder)


def checkpoint(multi_label: bool = False) -> Path:
    return _checkpoint(multi_label)


@cache  # behind a function that fills its defaults in: `f()` and `f(False)` would be two keys
def _checkpoint(multi_label: bool) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = workshop() / f"encoder-{multi_label}"
    tokenizer_into(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=MAX_TOKENS, num_labels=len(LABELS), id2label=dict(enumerate(LABELS)), initializer_range=0.4,
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


NUMBERS: dict[str, dict[str, Any]] = {}
"""Precision -> how well its artifact agrees with the checkpoint, as the export said."""


def exported(precision: str = "fp32", multi_label: bool = False) -> Path:
    return _exported(precision, multi_label)


@cache
def _exported(precision: str, multi_label: bool) -> Path:
    from transformers import AutoConfig

    from backends.work.export_encoder import export, promised

    folder = workshop() / f"classifier-{precision}-{multi_label}"
    if multi_label:  # the same weights make the same graph
        shutil.copytree(exported(precision), folder)
        shutil.copyfile(checkpoint(True) / "tokenizer.json", folder / "tokenizer.json")
        promised(checkpoint(True), AutoConfig.from_pretrained(checkpoint(True))).save(folder)
    else:
        NUMBERS[precision] = export(checkpoint(), folder, precision, Report(Silent()))
    return folder


def release(precision: str = "fp32", multi_label: bool = False, **limits: object) -> Release:
    """A release of `bot` that classifies."""
    key = f"classifier-{precision}-{multi_label}"
    folder = workshop() / "store" / key
    if not folder.exists():
        growing = partial(folder)
        shutil.copytree(exported(precision, multi_label), growing)
        files = {name: File(sha256_of(growing / name), (growing / name).stat().st_size) for name in files_in(growing)}
        seal(growing, folder, Manifest("bot", "onnx", key, content_digest(files), "export_encoder", 1, {}, {}, {}, files, {}))
    artifact = open_artifact(folder)
    assert artifact
    wanted = {"input_tokens": 64, "concurrency": 8, "queue": 24, "timeout": "20s"} | limits
    serving = {"api": "openai", "host": "127.0.0.1", "port": 0, "system_prompt": None, "limits": wanted}
    hashed = Classes.load(folder).hash
    return Release(1, "bot", "local", str(folder), key, artifact.manifest.digest, hashed, serving)
