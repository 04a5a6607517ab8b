"""Networks: made from scratch or read from a base, trained as they are or under an adapter, and saved as one checkpoint."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

from backends.serving.contract import Contract
from backends.work.base_model import POSITIONS, Shape, settings_of
from llmspec.spec.model import Adapter, HubBase, Model


def small_llama(shape: Shape, contract: Contract) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=contract.vocab_size,
            hidden_size=shape.hidden,
            intermediate_size=shape.hidden * 11 // 4 // 16 * 16,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=1,
            head_dim=shape.head_size,
            max_position_embeddings=max(POSITIONS, contract.max_tokens),
            tie_word_embeddings=True,
        )
    )


def load_base(base: Path, contract: Contract, model: Model, device: torch.device, compute: torch.dtype) -> Any:
    """The base, with an embedding for every token of the contract. The same seed before gives the same new embeddings."""
    settings = settings_of(base, "config.json")
    if "quantization_config" in settings:
        raise ValueError(
            "model.base: it is quantized already, and rounding twice is worse than once; name the checkpoint it came from"
        )
    torch.manual_seed(model.training.seed)
    if model.method == "qlora":
        from backends.work.adapters import load_4bit

        network = load_4bit(base, device, compute)
    else:
        # A frozen base may stay as narrow as it is stored; weights that are trained need all their bits.
        dtype = compute if model.method == "lora" else torch.float32
        network = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).to(device)
    if contract.vocab_size > network.get_input_embeddings().weight.shape[0]:
        network.resize_token_embeddings(contract.vocab_size)
    return network


def trainable(network: Any, model: Model) -> Any:
    """What the loop trains: the network itself, or an adapter on it."""
    if model.method == "full":
        return network
    from backends.work.adapters import add_adapter

    torch.manual_seed(model.training.seed)
    return add_adapter(network, model.adapter or Adapter())


def finished(network: Any, base: Path | None, contract: Contract, model: Model, output: Path, compute: torch.dtype) -> Any:
    """The one network that is saved: trained, its adapter merged, rounded as its base is stored."""
    if model.method != "full":
        from backends.work import adapters

        adapters.save_adapter(network, output / "adapter", model.base.hub if isinstance(model.base, HubBase) else "")
        if model.method == "qlora":
            assert base is not None
            dequantized = adapters.dequantized(load_base(base, contract, model, network.device, compute))
            network = adapters.merged_into(dequantized, output / "adapter")
        else:
            network = adapters.merged(network)
    return in_dtype(network, stored_dtype(base))


def stored_dtype(base: Path | None) -> torch.dtype:
    settings = settings_of(base, "config.json") if base else {}
    return torch.bfloat16 if settings.get("dtype", settings.get("torch_dtype")) == "bfloat16" else torch.float32


def in_dtype(network: Any, dtype: torch.dtype) -> Any:
    """The weights only: rotary frequencies are no weights, and rounding them would move every token."""
    for weight in network.parameters():
        weight.data = weight.data.to(dtype)
    return network


def widened(network: Any) -> Any:
    return in_dtype(network, torch.float32)


def save(network: Any, contract: Contract, features: Path, output: Path) -> None:
    """A folder that transformers, the exporter and the next spec's `base` can read."""
    shutil.copytree(features / "tokenizer", output, dirs_exist_ok=True)
    shutil.copy(features / Contract.file, output / Contract.file)
    network.config.pad_token_id = contract.pad_id
    network.config.eos_token_id = contract.stop_ids if len(contract.stop_ids) > 1 else contract.stop_ids[0]
    network.generation_config = GenerationConfig(
        bos_token_id=network.config.bos_token_id,
        eos_token_id=network.config.eos_token_id,
        pad_token_id=contract.pad_id,
        do_sample=False,
    )
    network.save_pretrained(output)
