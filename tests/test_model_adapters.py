"""model: LoRA and QLoRA train what they should, and the merged checkpoint says what the adapter on its base says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_parts import content_of, make_features, make_model, write_base, write_data
from transformers import AutoModelForCausalLM

from backends.work.networks import stored_dtype
from llmspec.shelf import sha256_of
from llmspec.spec.model import Adapter

# peft and what it brings (bitsandbytes, torch's compiler) are imported where they are used: pytest reads this file in each of its
# workers, and only one of them runs it.
TRAINING = {"epochs": 10, "learning_rate": 2e-2, "batch_tokens": 128}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 4-bit blocks are 64 wide: a narrower base would not be quantized as a real one is.
    return write_base(tmp_path_factory.mktemp("base"), hidden=64, layers=2, num_key_value_heads=4)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("features")
    make_features(folder / "f", write_data(folder / "data"), base)
    return folder / "f"


@pytest.fixture(scope="module")
def some_tokens() -> torch.Tensor:
    return torch.randint(3, 300, (3, 20), generator=torch.Generator().manual_seed(1))


def scores(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(tokens).logits


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


def test_a_merged_lora_says_what_the_adapter_on_its_base_says(
    tmp_path: Path, features: Path, base: Path, some_tokens: torch.Tensor
) -> None:
    from peft import PeftModel

    metrics = make_model(tmp_path / "m", features, base, method="lora", training=TRAINING)
    assert 0 < metrics["trainable"] < metrics["parameters"] / 4
    untouched = scores(AutoModelForCausalLM.from_pretrained(base), some_tokens)
    adapted = scores(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "m" / "adapter"), some_tokens)
    merged = scores(AutoModelForCausalLM.from_pretrained(tmp_path / "m"), some_tokens)
    assert distance(adapted, untouched) > 0.05
    assert distance(merged, adapted) < 1e-5


def test_a_merged_qlora_says_what_the_adapter_on_its_4_bit_base_says(
    tmp_path: Path, features: Path, base: Path, some_tokens: torch.Tensor
) -> None:
    from peft import PeftModel

    from backends.work.adapters import load_4bit

    make_model(tmp_path / "m", features, base, method="qlora", training=TRAINING)
    trained = scores(PeftModel.from_pretrained(load_4bit(base, CPU, torch.float32), tmp_path / "m" / "adapter"), some_tokens)
    merged = scores(AutoModelForCausalLM.from_pretrained(tmp_path / "m"), some_tokens)
    on_original = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "m" / "adapter")
    assert distance(merged, trained) < 1e-4
    # Merging into the base as it was before 4 bits gives another model, which nobody trained.
    assert distance(scores(on_original, some_tokens), trained) > 100 * distance(merged, trained)
    assert "quantization_config" not in json.loads((tmp_path / "m" / "config.json").read_text())


def gradients(network: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    network.train()
    network.zero_grad()
    network(input_ids=tokens, labels=tokens).loss.backward()
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.requires_grad}


def adapted_4bit(base: Path) -> Any:
    from backends.work.adapters import add_adapter, load_4bit

    torch.manual_seed(0)
    network = add_adapter(load_4bit(base, CPU, torch.float32), Adapter())
    for name, weight in network.named_parameters():
        if "lora_B" in name:  # zero at first, so that no gradient would reach the layers below
            torch.nn.init.normal_(weight, std=0.05)
    return network


def worst(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    return max(distance(after[name], before[name]) for name in before)


def test_4_bit_gradients_are_right_after_a_look_at_held_out_rows(base: Path, some_tokens: torch.Tensor) -> None:
    network = adapted_4bit(base)
    before = gradients(network, some_tokens)
    scores(network, some_tokens)
    assert worst(before, gradients(network, some_tokens)) < 1e-6


def test_without_our_care_those_gradients_would_be_wrong(base: Path, some_tokens: torch.Tensor) -> None:
    import bitsandbytes as bnb
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("only CPUs with AVX512-BF16 repack 4-bit weights")
    network = adapted_4bit(base)
    for module in network.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = True
    before = gradients(network, some_tokens)
    scores(network, some_tokens)
    with pytest.warns(UserWarning, match="gemv_4bit: an autograd kernel was not registered"):
        after = gradients(network, some_tokens)
    assert worst(before, after) > 0.1


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_same_spec_gives_the_same_bytes(tmp_path: Path, features: Path, base: Path, method: str) -> None:
    for name in ("one", "two"):
        make_model(tmp_path / name, features, base, method=method, training=TRAINING | {"epochs": 2})
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


@pytest.mark.parametrize("change", [{"rank": 4}, {"alpha": 4}, {"dropout": 0.3}, {"modules": ["q_proj", "v_proj"]}], ids=str)
def test_every_option_of_the_adapter_has_an_effect(tmp_path: Path, features: Path, base: Path, change: dict[str, Any]) -> None:
    for name, adapter in (("plain", {}), ("changed", change)):
        make_model(tmp_path / name, features, base, method="lora", adapter=adapter, training=TRAINING | {"epochs": 2})
    one, other = (sha256_of(tmp_path / name / "model.safetensors") for name in ("plain", "changed"))
    assert one != other


def test_auto_is_every_linear_layer_but_the_output_head(tmp_path: Path, features: Path, base: Path) -> None:
    make_model(tmp_path / "m", features, base, method="lora", training=TRAINING | {"epochs": 1})
    on = json.loads((tmp_path / "m" / "adapter" / "adapter_config.json").read_text())["target_modules"]
    layers = {f"model.layers.{layer}" for layer in (0, 1)}
    attention = {f"self_attn.{name}_proj" for name in "qkvo"}
    assert on == sorted(
        f"{layer}.{name}" for layer in layers for name in attention | {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
    )


def test_the_adapter_names_no_folder_of_this_machine(tmp_path: Path, features: Path, base: Path) -> None:
    make_model(tmp_path / "m", features, base, method="lora", training=TRAINING | {"epochs": 1})
    assert {path.name for path in (tmp_path / "m" / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert str(base) not in (tmp_path / "m" / "adapter" / "adapter_config.json").read_text()


def test_only_the_adapted_layers_change(tmp_path: Path, features: Path, base: Path) -> None:
    make_model(tmp_path / "m", features, base, method="lora", adapter={"modules": ["q_proj"]}, training=TRAINING)
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "m" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}


def test_a_layer_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path, features: Path, base: Path) -> None:
    with pytest.raises(ValueError, match=r"no linear layer 'query' \(it has .*q_proj"):
        make_model(tmp_path / "m", features, base, method="lora", adapter={"modules": ["query"]})


def test_a_head_that_is_also_the_embedding_is_not_adapted(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tie_word_embeddings=True)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    with pytest.raises(ValueError, match="also this base's embedding"):
        make_model(tmp_path / "m", tmp_path / "f", base, method="lora", adapter={"modules": ["q_proj", "lm_head"]})


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_narrow_base_stays_as_narrow_as_it_was(tmp_path: Path, method: str) -> None:
    base = write_base(tmp_path / "base", hidden=64, dtype=torch.bfloat16)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    make_model(tmp_path / "m", tmp_path / "f", base, method=method, training=TRAINING | {"epochs": 1})
    assert stored_dtype(tmp_path / "m") == torch.bfloat16
    assert {weight.dtype for weight in load_file(tmp_path / "m" / "model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_missing_embeddings_are_the_same_in_training_and_merging(tmp_path: Path, method: str) -> None:
    base = write_base(tmp_path / "base", hidden=64, rows_in_embedding=330)
    vocab_size = make_features(tmp_path / "f", write_data(tmp_path / "data"), base)["vocab_size"]
    metrics = make_model(tmp_path / "m", tmp_path / "f", base, method=method, training=TRAINING)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert saved.get_input_embeddings().weight.shape[0] == vocab_size > 330
    last_look = [line.split(",")[3] for line in (tmp_path / "m" / "report" / "loss.csv").read_text().splitlines()][-1]
    assert metrics["validation_loss"] == pytest.approx(float(last_look), rel=1e-3)
