"""A checkpoint that classifies becomes an artifact that `/v1/classify` serves: its graph, its tokenizer and `classifier.json`.

torch writes the graph, with any number of texts of any length. int8 is the same rewrite as a decoder's (w8a8): a scale per row.
"""

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedConfig

from backends.serving.classes import Classes
from backends.serving.classifier import Classifier, chances
from backends.work.report import Report
from backends.work.rewrites import w8a8
from llmspec.errors import BlockedError, PlaceError
from llmspec.shelf import sha256_of

OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")
"""Architectures whose first position comes after the padding's."""
COMPARED = 32
LARGEST_DIFFERENCE = {"fp32": 1e-4, "int8": 0.2}
"""Of a chance. Beyond it the artifact is not the model: rounding in fp32 is far smaller, int8 costs trained models far less."""


class _Logits(torch.nn.Module):
    """The part of the model that is exported."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits  # type: ignore[no-any-return]


def export(model: Path, output: Path, precision: str, report: Report) -> dict[str, Any]:
    """Write the artifact, and compare its chances with the model's."""
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    classes = promised(model, network.config)
    output.mkdir(parents=True, exist_ok=True)
    report.log(f"exporting {type(network).__name__} in {precision}")
    graph = traced(network, classes.max_tokens)
    if precision == "int8":
        products = w8a8.rewrite(graph)
        report.log(f"{products} products in int8, a scale for each row of activations and each column of weights")
    ir.save(graph, output / "model.onnx", external_data="model.onnx.data", size_threshold_bytes=256)  # shapes must stay inside
    shutil.copyfile(model / "tokenizer.json", output / "tokenizer.json")
    classes.save(output)
    numbers = agreement(network, Classifier(output), report)
    if numbers["largest_difference"] > LARGEST_DIFFERENCE[precision]:
        said = f"a chance differs by {numbers['largest_difference']:.2g} from the model's in {precision}"
        raise BlockedError(f"{output}: {said}, and {LARGEST_DIFFERENCE[precision]:g} is allowed: the export is not faithful")
    report.summary = (
        f"{precision} · {len(classes.labels)} labels · agrees with the model on {numbers['parity_labels']:.1%} of texts"
    )
    return numbers | {"precision": precision}


def promised(model: Path, config: PreTrainedConfig) -> Classes:
    """What the checkpoint says of itself."""
    if not (model / "tokenizer.json").is_file():
        raise PlaceError(f"{model}: no tokenizer.json; save the checkpoint with a fast tokenizer (AutoTokenizer does)")
    tokenizer = AutoTokenizer.from_pretrained(model)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else config.pad_token_id or 0
    positions = config.max_position_embeddings - (pad + 1 if config.model_type in OFFSET_POSITIONS else 0)
    return Classes(
        labels=[str(config.id2label[number]) for number in range(config.num_labels)],
        multi_label=config.problem_type == "multi_label_classification",
        max_tokens=int(min(positions, tokenizer.model_max_length)),
        pad_id=int(pad),
        tokenizer=sha256_of(model / "tokenizer.json"),
    )


def traced(network: Any, max_tokens: int) -> ir.Model:
    """The graph, for any number of texts of any length; the same each time."""
    ids = torch.ones((2, 16), dtype=torch.int64)
    rows, length = torch.export.Dim("texts", min=1, max=4096), torch.export.Dim("tokens", min=2, max=max_tokens)
    axes = {0: rows, 1: length}
    program = torch.onnx.export(
        _Logits(network).eval(),
        (ids, torch.ones_like(ids)),
        dynamo=True,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        verbose=False,
    )
    assert program is not None
    forget_where(program.model)
    return program.model


def forget_where(model: ir.Model) -> None:
    """The exporter notes the source lines that each node came from, and which build of torch it was: facts of this machine."""
    model.producer_version = version("torch").partition("+")[0]
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def agreement(network: Any, classifier: Classifier, report: Report) -> dict[str, Any]:
    """Both read the same rows of every length, the model alone and unpadded, the artifact as it will be served."""
    same, largest = 0, 0.0
    for done, row in enumerate(texts(network.config.vocab_size, classifier.max_tokens), start=1):
        with torch.inference_mode():
            ids = torch.tensor([row])
            logits = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
        (of_model,), (of_artifact,) = chances(logits, classifier.contract.multi_label), classifier.scores([row])
        same += int(of_model.argmax() == of_artifact.argmax())
        largest = max(largest, float(np.abs(of_model - of_artifact).max()))
        report.progress(done, COMPARED, "texts compared")
    return {"parity_labels": same / COMPARED, "largest_difference": largest, "compared_texts": COMPARED}


def texts(vocab_size: int, max_tokens: int) -> list[list[int]]:
    """Rows of tokens by chance, always the same, from the shortest to the longest. Any token will do: the same sums are made."""
    random = np.random.default_rng(7)
    lengths: npt.NDArray[np.int64] = np.geomspace(3, max_tokens, COMPARED).astype(np.int64)
    return [random.integers(0, vocab_size, length).tolist() for length in lengths]
