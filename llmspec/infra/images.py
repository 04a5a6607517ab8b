"""images: what a container is made of, and by which tag it is found again. The same source has the same tag, wherever it is built.

A tag is version, digest of the source, and what the image computes on: `0.1.0-1a2b3c4d5e6f-gpu`. It is never `latest`: what
is brought up again next year runs what it ran.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import llmspec
from llmspec.card import Place
from llmspec.job import digest_of
from llmspec.machines import machine

Image = Literal["serving", "training"]
Variant = Literal["cpu", "gpu"]
PACKAGES = ("llmspec", "assets", "backends", "infra_pulumi")
RECIPE = ("pyproject.toml", "requirements.lock", "README.md", "LICENSE")
STARTER = ("specs/quickstart.yaml", "specs/llm.schema.json", "specs/data/shop_faq.jsonl")
BESIDE = "starter"
"""The folder of an installed llmspec that holds what lies beside the packages in a checkout."""
DIGITS = 12


def image(ground: Mapping[str, Any], name: Image, variant: Variant) -> str:
    """The address that a job or an endpoint is started from: the foundation's repository, and the tag of this very source."""
    return f"{ground['repositories'][name]}:{tag(name, variant)}"


def tag(name: Image, variant: Variant) -> str:
    """Training has one image for both: PyPI's torch brings CUDA, and computes without."""
    return f"{llmspec.__version__}-{digest()[:DIGITS]}-{'any' if name == 'training' else variant}"


def variant(place: Place) -> Variant:
    """What a place's machine computes on: the GPUs that a copy asks for, or those that its machine has."""
    asked: int | None = getattr(place, "gpus", None)
    if asked is not None:
        return "gpu" if asked else "cpu"
    if getattr(place, "form", "") == "serverless":
        return "cpu"
    instance = str(getattr(place, "instance", None) or "")
    known = machine(instance)
    # AWS calls machines with a GPU g… and p…: one that is newer than our table is still known by its letter.
    accelerated = known.gpus > 0 if known else instance.removeprefix("ml.")[:1] in ("g", "p")
    return "gpu" if accelerated else "cpu"


@cache
def digest() -> str:
    """Of all that goes into an image, by name and content."""
    return digest_of({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sources()})


def bundle() -> bytes:
    """The source as CodeBuild takes it: `containers/buildspec.yml` and everything that it builds from."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sources():
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def sources() -> Iterator[tuple[str, Path]]:
    """Name in the bundle and file here, in order: of a checkout, or of an installed llmspec, which has the same files elsewhere."""
    here = Path(llmspec.__file__).parent
    beside = here / BESIDE
    installed = beside.is_dir()
    rest = (beside if installed else here.parent).joinpath
    found = {name: rest("image", name) if installed else rest(name) for name in RECIPE}
    found |= {name: rest(name.removeprefix("specs/")) if installed else rest(name) for name in STARTER}
    recipe = rest("image", "containers") if installed else rest("containers")
    found |= {f"containers/{path.name}": path for path in recipe.iterdir() if path.is_file()}
    for package in PACKAGES:
        found |= {f"{package}/{path}": here.parent / package / path for path in _files(here.parent / package)}
    return iter(sorted(found.items()))


def _files(package: Path) -> Iterator[str]:
    for path in package.rglob("*"):
        name = path.relative_to(package)
        if path.is_file() and "__pycache__" not in name.parts and name.parts[0] != BESIDE:
            yield name.as_posix()
