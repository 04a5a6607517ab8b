"""A model or an artifact of the store, taken out for others to use: HF weights as Bedrock's custom import takes them, or ONNX."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from llmspec import copies
from llmspec.errors import CallError
from llmspec.shelf import File, Shelf, files_in, sha256_of
from llmspec.stage import Product
from llmspec.store import Artifact, open_artifact

Form = Literal["hf", "onnx"]
IMPORTED = (
    "GPTBigCodeForCausalLM",
    "GptOssForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
)
"""Architectures of text models that Bedrock's custom model import takes."""
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
WORDS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
TEMPLATE, TOKENIZER = "chat_template.jinja", "tokenizer_config.json"


@dataclass(frozen=True)
class Exported:
    """What was taken out."""

    form: Form
    to: str
    release: int | None
    """The live release that it belongs to; None when nothing is live, and the last one made was taken."""
    key: str
    files: dict[str, File]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


def export(product: Product, form: Form, to: Shelf) -> Exported:
    """Every byte is compared with its manifest before it is taken; files come first, the manifest last. Nothing is overwritten."""
    if product.spec.hosted:
        raise CallError(f"the model of {product.name} is {product.spec.hosted.bedrock}, and its weights are not ours to export")
    if to.sizes():
        raise CallError(f"{to.uri} is not empty, and nothing is overwritten\n  name a new folder, or remove it first")
    release, artifact = chosen(product, form)
    source = copies.at_hand(artifact.uri)
    here = open_artifact(source)
    assert here, "at_hand gives a complete artifact"
    here.verify()
    if form == "hf":
        check_importable(source)
    with tempfile.TemporaryDirectory(prefix="llmspec-export-") as name:
        folder = gathered(source, Path(name), form)
        files = {name: File(sha256_of(folder / name), (folder / name).stat().st_size) for name in files_in(folder)}
        about = {"spec": product.name, "target": product.target, "release": release, "form": form}
        of = {"key": artifact.manifest.key, "digest": artifact.manifest.digest, "git": artifact.manifest.git}
        listed = {"files": {name: asdict(file) for name, file in files.items()}}
        to.put(folder, files, json.dumps(about | of | listed, indent=1, sort_keys=True))
    return Exported(form, to.uri, release, artifact.manifest.key, files)


def chosen(product: Product, form: Form) -> tuple[int | None, Artifact]:
    """Of what is live; the last one made when nothing is."""
    live = product.releases.live()
    if live is None:
        last = product.stage("model" if form == "hf" else "onnx").head
        if last is None:
            raise CallError(f"{product.name} has no model yet\n  make one: llmspec apply {product.loaded.as_typed}")
        return None, last
    served = product.store.find(product.name, "onnx", live.artifact_key)
    if served is not None and form == "onnx":
        return live.number, served
    digest = served.manifest.inputs["model"] if served else ""
    found = next((each for each in product.store.artifacts(product.name, "model") if each.manifest.digest == digest), None)
    if found is None:
        what = "artifact" if served is None else "model"
        raise CallError(
            f"the {what} of release {live.number} is not in {product.store.root.uri} any more\n  apply again to make it"
        )
    return live.number, found


def check_importable(model: Path) -> None:
    """CallError for what Bedrock would refuse after the upload."""
    named = json.loads((model / "config.json").read_text(encoding="utf-8")).get("architectures") or ["none"]
    if named[0] not in IMPORTED:
        raise CallError(f"{named[0]} is no architecture that Bedrock imports\n  it takes {', '.join(IMPORTED)}")


def gathered(source: Path, folder: Path, form: Form) -> Path:
    """The files that are wanted, and no others: a checkpoint of ours holds more than transformers knows."""
    if form == "onnx":
        for name in files_in(source):
            if not name.startswith("report/"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, folder / name)
        return folder
    for path in sorted({*(path for pattern in WEIGHTS for path in source.glob(pattern)), *(source / name for name in WORDS)}):
        if path.is_file():
            shutil.copy2(path, folder / path.name)
    if (folder / TEMPLATE).is_file():
        # Bedrock looks for the template in the tokenizer's settings; transformers finds it in either.
        settings = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
        settings["chat_template"] = (folder / TEMPLATE).read_text(encoding="utf-8")
        (folder / TOKENIZER).write_text(json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True), encoding="utf-8")
    return folder
