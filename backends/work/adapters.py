"""Adapters: low-rank matrices on a frozen base, in full precision or in 4 bits, and how they become one checkpoint again."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from llmspec.spec.model import Adapter


def add_adapter(network: Any, adapter: Adapter) -> PeftModel:
    check_modules(network, adapter)
    return get_peft_model(
        network,
        LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules="all-linear" if adapter.modules == "auto" else adapter.modules,
            task_type="CAUSAL_LM",
        ),
    )


def check_modules(network: Any, adapter: Adapter) -> None:
    """All faults of `modules` in one breath."""
    if adapter.modules == "auto":
        return
    linear = {name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    known = sorted({name.rpartition(".")[2] for name in linear})
    head = next((name for name, module in network.named_modules() if module is network.get_output_embeddings()), "")
    for wanted in adapter.modules:
        on = [name for name in linear if name == wanted or name.endswith(f".{wanted}")]
        if not on:
            raise ValueError(f"model.adapter.modules: this base has no linear layer {wanted!r} (it has {', '.join(known)})")
        if head in on and network.config.tie_word_embeddings:
            raise ValueError(
                f"model.adapter.modules: {wanted!r} is also this base's embedding, and cannot be adapted alone; leave it out"
            )


def load_4bit(base: Path, device: torch.device, compute: torch.dtype) -> Any:
    """The base in nf4."""
    if missing := [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]:
        raise ValueError(f"model.method: qlora needs {' and '.join(missing)}: pip install 'llmspec[train]'")
    import bitsandbytes as bnb

    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
    network = AutoModelForCausalLM.from_pretrained(base, quantization_config=how, device_map={"": device}, dtype=compute)
    for module in network.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # On CPUs with AVX512-BF16 one forward in eval mode repacks the weights for inference, and every gradient
            # after it is wrong while the loss looks right.
            module.support_avx512bf16_for_cpu = False
    return network


def dequantized(network: Any) -> Any:
    """The base as 4-bit training saw it, in ordinary layers: what the adapter fits, unlike the original base."""
    network = network.dequantize()
    for holder in (network, network.config):
        if hasattr(holder, "quantization_config"):
            del holder.quantization_config
    return network


def save_adapter(network: PeftModel, folder: Path, base: str) -> None:
    """The adapter alone. Its settings get no path of this machine and one order, so that they are the same bytes anywhere."""
    network.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()
    path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def merged(network: PeftModel) -> Any:
    return network.merge_and_unload()


def merged_into(network: Any, adapter: Path) -> Any:
    """Put a saved adapter on a dequantized base and make them one."""
    return merged(PeftModel.from_pretrained(network, adapter))
