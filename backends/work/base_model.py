"""The base: the folder of the checkpoint that training starts from, or the shape of one that starts from scratch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.serving.contract import Contract
from llmspec.shelf import sha256_of
from llmspec.spec.model import HubBase, ScratchBase

TOKENIZER_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
"""What `features` needs of a hub repository."""


@dataclass(frozen=True)
class Shape:
    """How large a Llama from scratch is."""

    hidden: int
    layers: int
    heads: int
    head_size: int = 64


SHAPES = {"tiny": Shape(hidden=192, layers=4, heads=3)}
POSITIONS = 4096
"""Room for prompt and answer; rotary positions cost no weights."""


def base_folder(base: Any, inputs: dict[str, Path], *, weights: bool) -> Path | None:
    """Where the base lies: an input of the job, or fetched from the hub at its pinned commit. None from scratch."""
    if isinstance(base, ScratchBase):
        return None
    if isinstance(base, HubBase):
        return fetched(base, weights=weights)
    return inputs["base"]


def fetched(base: HubBase, *, weights: bool) -> Path:
    """From the hub, or from its cache on this machine when that commit was fetched before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    wanted = [*TOKENIZER_FILES, "*.safetensors"] if weights else TOKENIZER_FILES
    # The shards' index lists weights; without the weights themselves it is of no use, and harmless.
    try:
        return Path(snapshot_download(base.hub, revision=base.revision, token=base.token, allow_patterns=wanted))
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise ValueError(
            f"model.base.hub: {base.hub} is not open to us: accept its licence on the hub, and give `token: ${{secret.HF_TOKEN}}`"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise ValueError(
            f"model.base.hub: {base.hub}@{base.revision[:7]} could not be fetched ({error}): "
            "check the name, the commit and the network, or fetch it once and use `base: {path: …}`"
        ) from error


def settings_of(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a checkpoint; empty when it brings none."""
    path = folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def check_same_tokenizer(features: Path, base: Path | None) -> Contract:
    """The contract of the features, after a look whether tokenizer and base are those that it speaks of."""
    contract = Contract.load(features)
    if sha256_of(features / "tokenizer" / "tokenizer.json") != contract.tokenizer:
        raise ValueError(f"{features}: the tokenizer is not the one in its contract; apply again with --force to rebuild features")
    if base is not None and (base / Contract.file).is_file() and Contract.load(base).tokenizer != contract.tokenizer:
        raise ValueError(
            f"model.base: the features were made with another tokenizer than that of {base.name}; "
            "apply again, so that features are made from the base as it is now"
        )
    return contract
