"""onnx.precision: auto is decided by the number of requests, and the key holds what was decided."""

from pathlib import Path

from conftest import TINY, Project

from llmspec.plan import plan
from llmspec.stage import Product


def key_of(folder: Path, precision: str, concurrency: int) -> str:
    project = Project(folder).write(
        TINY.replace("concurrency: 4", f"concurrency: {concurrency}") + f"onnx: {{precision: {precision}}}\n"
    )
    return Product.open(project.spec).stage("onnx").code_version


def test_auto_exports_again_only_when_the_number_of_requests_crosses_the_threshold(tmp_path: Path) -> None:
    one, three, four, many = (key_of(tmp_path, "auto", concurrency) for concurrency in (1, 3, 4, 64))
    assert one == three == key_of(tmp_path, "int4", 64)
    assert four == many == key_of(tmp_path, "int8", 1)


def test_the_plan_says_what_auto_chose_and_why(tmp_path: Path) -> None:
    project = Project(tmp_path).write(TINY + "onnx: {precision: auto}\n")
    (step,) = (step for step in plan(Product.open(project.spec)).steps if step.stage == "onnx")
    assert step.why[-1] == "int8, auto: int8 computes many rows fastest, and endpoint.limits.concurrency is 4"
