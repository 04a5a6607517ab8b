"""Images: named by the source that is in them, and of what their machine computes on."""

from typing import Any

import pytest
from conftest import ROOT

from llmspec import registry
from llmspec.infra import images


def test_an_image_is_named_by_what_is_in_it() -> None:
    repositories = {"repositories": {"serving": "1.dkr.ecr/bot-serving", "training": "1.dkr.ecr/bot-training"}}
    gpu, cpu = (images.image(repositories, "serving", kind) for kind in ("gpu", "cpu"))
    assert gpu.removesuffix("gpu") == cpu.removesuffix("cpu")
    assert gpu.startswith(f"1.dkr.ecr/bot-serving:0.1.0-{images.digest()[:12]}-")
    assert images.image(repositories, "training", "gpu") == images.image(repositories, "training", "cpu")
    assert images.bundle() == images.bundle()


def test_the_bundle_holds_all_that_the_images_copy_and_nothing_that_lies_about() -> None:
    names = {name for name, _ in images.sources()}
    for recipe in ("serving", "training"):
        for line in (ROOT / "containers" / f"{recipe}.Dockerfile").read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for wanted in line.split()[1:-1]:
                    assert any(name == wanted or name.startswith(f"{wanted.rstrip('/')}/") for name in names), wanted
    assert not [name for name in names if "__pycache__" in name or "/starter/" in name or ".llmspec" in name]


@pytest.mark.parametrize(
    ("place", "options", "kind"),
    [
        ("sagemaker", {"instance": "ml.g5.xlarge"}, "gpu"),
        ("sagemaker", {"instance": "ml.p9.48xlarge"}, "gpu"),
        ("sagemaker", {"instance": "ml.m7i.large"}, "cpu"),
        ("sagemaker", {"form": "serverless"}, "cpu"),
        ("ecs", {"instance": "g5.xlarge", "gpus": 1}, "gpu"),
        ("ecs", {"instance": "g5.xlarge"}, "cpu"),
        ("lambda", {}, "cpu"),
    ],
)
def test_an_image_computes_on_what_its_machine_has(place: str, options: dict[str, Any], kind: str) -> None:
    assert images.variant(registry.place(place).model_validate(options)) == kind
