"""onnx: the checkpoint becomes the artifact that is evaluated and served.   model -> ONNX -> evaluation

onnxruntime-genai's model builder writes the graph; `logit_rows` is ours. int8 and int4 are our own rewrites of its fp32 graph: the
answers of int8 (w8a8) do not depend on who else is in the batch, and int4 loses less than the builder's for the same bytes.
"""

import contextlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import onnx_ir as ir
import onnxruntime as ort
from onnxruntime_genai.models import builder

from backends.serving.contract import Contract
from backends.work.parity import agreement, hear_artifact, hear_model, held_out
from backends.work.report import Report
from backends.work.rewrites import int4, logit_rows, silu, w8a8, wide_products
from llmspec.errors import BlockedError, PlaceError
from llmspec.shelf import sha256_of
from llmspec.spec.onnx import Onnx

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
BUILT_AS = {"fp32": ("fp32", "cpu"), "int4": ("fp32", "cpu"), "int8": ("fp32", "cpu"), "fp16": ("fp16", "cuda")}
"""Our precision: the builder's, and the provider that it builds for."""


def export(options: dict[str, Any], inputs: dict[str, Path], output: Path, report: Report) -> dict[str, Any]:
    """Build, quantize, and compare with the model on held-out rows."""
    precision = Onnx.model_validate(options["onnx"]).precision
    if precision == "fp16" and "CUDAExecutionProvider" not in ort.get_available_providers():
        raise BlockedError(
            "onnx.precision: fp16 is for a GPU, and onnxruntime sees none here: "
            "install onnxruntime-gpu where CUDA is, or use int8, int4 or auto"
        )
    contract = same_contract(inputs["model"], inputs["features"])
    rows = held_out(inputs["features"])
    if not rows:
        raise BlockedError(
            f"{inputs['features']}: no validation row to compare the artifact with: raise data.split.validation, or add rows"
        )
    clear(output)
    build(inputs["model"], output, precision, report)
    for name in TOKENIZER:
        if (inputs["model"] / name).is_file():
            shutil.copyfile(inputs["model"] / name, output / name)
    contract.save(output)

    done = 0

    def seen() -> None:
        nonlocal done
        done += 1
        report.progress(done, 2 * len(rows), "rows compared")

    numbers = agreement(hear_model(inputs["model"], rows, seen), hear_artifact(output, rows, seen))
    megabytes = sum(path.stat().st_size for path in output.glob("model.onnx*")) / 1e6
    report.summary = f"{precision} {megabytes:,.1f} MB · agrees with the model on {numbers['parity_tokens']:.1%} of tokens"
    return {**numbers, "megabytes": round(megabytes, 3), "precision": precision}


def same_contract(model: Path, features: Path) -> Contract:
    """The model's contract, if it is the one its features were made with, and its tokenizer the one the contract names."""
    of_model, of_features = Contract.load(model), Contract.load(features)
    if of_model.hash != of_features.hash:
        raise BlockedError(
            f"{model}: trained under contract {of_model.hash[:12]}, but {features} has {of_features.hash[:12]}: train it again"
        )
    if sha256_of(model / "tokenizer.json") != of_model.tokenizer:
        raise BlockedError(f"{model / 'tokenizer.json'}: not the tokenizer its contract names: train it again")
    return of_model


def clear(folder: Path) -> None:
    """What a killed run left behind is of no use: an export is short."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def build(model: Path, output: Path, precision: str, report: Report) -> None:
    """model.onnx, model.onnx.data and genai_config.json in `output`, the same bytes each time."""
    scratch = output / ".build"
    report.log(f"building {precision}")
    with quiet(report):
        run_builder(model, scratch, *BUILT_AS[precision])
    graph = ir.load(scratch / "model.onnx")
    logit_rows.rewrite(graph)
    wide_products.rewrite(graph)
    silu.rewrite(graph)
    if precision == "int8":
        products = w8a8.rewrite(graph)
        report.log(f"{products} products in int8, a scale for each row of activations and each column of weights")
    if precision == "int4":
        report.log(f"{int4.rewrite(graph)} products in int4, a scale and a zero for each {int4.BLOCK} weights")
    drop_unused(graph.graph)
    save(graph, output / "model.onnx")
    (scratch / "genai_config.json").rename(output / "genai_config.json")
    shutil.rmtree(scratch)


def run_builder(model: Path, scratch: Path, precision: str, provider: str) -> None:
    where = ("", str(model), str(scratch), precision, provider, str(scratch / "cache"))
    try:
        builder.create_model(*where, **builder.parse_extra_options(*where, ["hf_token=false"]))
    except NotImplementedError as error:
        known = json.loads((model / "config.json").read_text(encoding="utf-8")).get("architectures", ["?"])[0]
        raise PlaceError(
            f"{known}: onnxruntime-genai's model builder does not know this architecture: "
            "choose a base such as Llama, Qwen, Phi or Gemma"
        ) from error


def drop_unused(graph: ir.Graph) -> None:
    """What nobody reads any more: weights that were rewritten, and a transposed table."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]


def save(graph: ir.Model, path: Path) -> None:
    """The builder stamps the git commit of whatever repository surrounds its package: ours, in a checkout with a .venv.
    The same model would then be another artifact after every commit."""
    graph.producer_version = version("onnxruntime-genai")
    ir.save(graph, path, external_data=f"{path.name}.data", size_threshold_bytes=256)  # shapes must stay inside


@contextlib.contextmanager
def quiet(report: Report) -> Iterator[None]:
    """The builder prints every tensor; that is worth reading only when it fails."""
    said = io.StringIO()
    quantizer = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    quantizer.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except Exception:
        report.log(said.getvalue()[-4000:])
        raise
