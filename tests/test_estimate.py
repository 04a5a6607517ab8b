"""How long and how dear, before anything ran: stated rules over what is known, and a word instead of a number where it is not."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from backends.work.parity import MOST_TOKENS
from llmspec.estimate import Estimate, estimate
from llmspec.load import load
from llmspec.machines import TERAFLOPS, machine
from llmspec.plan import plan
from llmspec.shelf import Folder
from llmspec.stage import Product
from llmspec.store import Store

SPEC = """\
llmspec: 1
name: shop
region: us-east-1
places: {model: {sagemaker: {instance: ml.g5.2xlarge}}, onnx: sagemaker}
store: s3://acme-llm/bots
data: {sources: [{path: faq.jsonl}]}
model:
  base: {hub: Qwen/Qwen3-8B, revision: c1899de289a04d12100db370d81485cdf75e47ca}
  method: qlora
  training: {epochs: 2}
onnx: {precision: int8}
"""
IN_AWS = "region: us-east-1\nplaces: {model: {sagemaker: {instance: ml.g5.2xlarge}}, onnx: sagemaker}\nstore: s3://acme-llm/bots\n"
BASE = "{hub: Qwen/Qwen3-8B, revision: c1899de289a04d12100db370d81485cdf75e47ca}"
TOKENS = 1e6


def product(folder: Path, text: str = SPEC) -> Product:
    """A million tokens of sources, as the rule counts them."""
    (folder / "faq.jsonl").write_bytes(b"x" * int(TOKENS * 4))
    (folder / "shop.yaml").write_text(text)
    return Product(load(folder / "shop.yaml"), Store(Folder(folder / "store"), ()))


def of(folder: Path, stage: str, text: str = SPEC) -> Estimate:
    return estimate(product(folder, text).stage(stage))


def test_the_training_of_a_base_from_the_hub_is_judged_by_its_name_its_tokens_and_its_gpu(tmp_path: Path) -> None:
    found = of(tmp_path, "model")
    around = 60 + 8e9 * 2 / 25e6
    assert found.seconds == pytest.approx(6 * 8e9 * 2 * TOKENS / (0.15 * 70e12) + around)
    assert found.memory_mb == pytest.approx(500 + 8e3 * 0.92)
    said = "rule: 6 × 8 B parameters × 2 M tokens at 15 % of the 70 TFLOP/s of its A10G, and 700 s around it"
    assert found.basis == said


def test_its_price_is_in_the_plan_and_counts_against_the_budget(tmp_path: Path) -> None:
    hours = (of(tmp_path, "model").seconds or 0) / 3600
    unknown = SPEC.replace("onnx: sagemaker}", "onnx: {sagemaker: {instance: ml.r7i.large}}}")
    bounded = unknown + "governance: {budget: {monthly: 91 USD}}\nendpoint: {}\n"
    costs = plan(product(tmp_path, bounded)).costs
    assert costs
    (line,) = [line for line in costs.lines if line.need.stage == "model"]
    assert (line.least, line.need.once) == (pytest.approx(hours * 1.515), True)
    assert not [each for each in costs.unpriced if each.startswith("model")]
    assert 3 < hours * 1.515 < 91
    within = "the sum is not whole, since onnx has no price: what is priced is within the budget of $91; "
    assert costs.verdict.startswith(within)
    small = plan(product(tmp_path, bounded.replace("91 USD", "4 USD"))).costs
    assert small
    assert small.verdict == "above the budget of $4 in the month that pays for these jobs, even at min scale"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Qwen/Qwen3-8B", "acme/bot", "nothing says how large acme/bot is"),
        ("ml.g5.2xlarge", "ml.p3.2xlarge", "nothing is known of ml.p3.2xlarge"),
        (BASE, "{path: empty}", "the base has no file of weights"),
    ],
)
def test_what_is_not_known_is_named_and_gets_no_number(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert of(tmp_path, "model", SPEC.replace(old, new)) == Estimate(None, None, says)


def test_where_this_machine_has_a_gpu_nothing_is_known_of_it_and_without_one_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = SPEC.replace(IN_AWS, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    slow = of(tmp_path, "model", here)
    assert (slow.seconds or 0) > 6 * 8e9 * 2 * TOKENS / 40e9
    assert "at 40 GFLOP/s, without a GPU, and 645 s around it" in slow.basis
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert of(tmp_path, "model", here) == Estimate(None, None, "nothing is known of this machine's GPU")


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_base_in_a_folder_is_counted_in_whatever_precision_it_lies(tmp_path: Path, kind: type[np.floating]) -> None:
    (tmp_path / "base").mkdir()
    save_file({"a": np.zeros((1000, 2000), kind), "b": np.zeros(500, kind)}, tmp_path / "base" / "model.safetensors")
    found = of(tmp_path, "model", SPEC.replace(BASE, "{path: base}").replace("qlora", "full"))
    assert "6 × 2 M parameters × 2 M tokens at 25 % of the 70 TFLOP/s of its A10G" in found.basis
    assert found.memory_mb == pytest.approx(500 + 2.0005 * 16)


def test_an_export_takes_what_comparing_takes_and_int4_longer(tmp_path: Path) -> None:
    """Measured, in seconds of a processor: 15 at 38 M and 54 at 135 M parameters with 3,840 tokens compared; int4 26 at 38 M."""
    here = SPEC.replace(IN_AWS, "").replace("Qwen3-8B", "Llama-135M")
    size, compared = 135e6, MOST_TOKENS
    int8, int4 = of(tmp_path, "onnx", here), of(tmp_path, "onnx", here.replace("int8", "int4"))
    assert int8.seconds == pytest.approx(1 + size * 2e-8 + 4 * size * compared / 40e9)
    assert int8.basis == "rule: 4 s, and 8.19 k tokens twice through 135 M parameters at 40 GFLOP/s"
    assert (int4.seconds or 0) - (int8.seconds or 0) == pytest.approx(size * 2.8e-7)


def test_answers_of_a_large_base_take_longer_to_score_than_those_of_a_small_one(tmp_path: Path) -> None:
    large, small = of(tmp_path, "evaluation"), of(tmp_path, "evaluation", SPEC.replace("8B", "20M"))
    assert (small.seconds, small.basis) == (3 + 1e5 / 2e3, "rule: 3 s, and a tenth of the tokens at 2,000 tokens/s")
    assert large.seconds == pytest.approx(3 + 1e5 / (5e10 / 8e9))


def test_every_gpu_that_can_be_rented_has_its_peak() -> None:
    for instance in ("g4dn.xlarge", "ml.g5.12xlarge", "g6.2xlarge", "ml.g6e.xlarge", "p4d.24xlarge", "ml.p5.48xlarge"):
        found = machine(instance)
        assert found
        assert found.teraflops == TERAFLOPS[found.gpu]
