"""The model that is measured: a 135 M Llama shape with random weights, made here and kept in a cache folder.

Nothing is downloaded. Every token of an answer is printable and no answer ends by itself, so that all servers do the same work.
"""

import hashlib
import json
import os
import shutil
import sys
from itertools import product
from pathlib import Path
from string import ascii_lowercase

from backends.serving.contract import CHAT, Contract
from backends.work import export_onnx
from llmspec.release import Release
from llmspec.shelf import File, files_in, partial, sha256_of
from llmspec.store import Artifact, Manifest, content_digest, open_artifact, seal

ROOT = Path(__file__).parents[1]
SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>"]
VOCABULARY = 49_152
SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 4096,
}
WORDS = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
"""Each is one token, so that prompts have the length they shall have."""


def cache_folder(named: Path | None = None) -> Path:
    home = os.environ.get("LLMSPEC_BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llmspec-bench"
    folder = Path(named or home)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def conversation(number: int, tokens: int) -> str:
    """What user `number` says: distinct for each from the first word on, `tokens` long in the chat's form."""
    state, words = number * 2_654_435_761 % 2**32 + 1, []
    for _ in range(tokens - 3):  # bos, user and assistant marks are the other three
        state = (state * 1_103_515_245 + 12_345) % 2**31
        words.append(WORDS[(state >> 8) % len(WORDS)])
    return " ".join(words)


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Pairs of letters, the same after a space, then four letters: a byte-level BPE without a training text."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(word[0], word[1]) for word in WORDS] + [("Ġ", word) for word in WORDS]
    longer = (("Ġ" + first, second) for first, second in product(WORDS, WORDS))
    room = VOCABULARY - len(SPECIAL) - len(alphabet) - len(merges)
    merges += [merge for merge, _ in zip(longer, range(room), strict=False)]
    tokens = [*SPECIAL, *alphabet, *(first + second for first, second in merges)]
    return {token: number for number, token in enumerate(tokens)}, merges


def make_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids, merges = vocabulary()
    plain = Tokenizer(models.BPE(vocab=ids, merges=merges))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(SPECIAL)
    tokens = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    fast = PreTrainedTokenizerFast(tokenizer_object=plain, **tokens)
    fast.chat_template = CHAT
    fast.save_pretrained(folder)


def make_checkpoint(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = LlamaConfig(vocab_size=VOCABULARY, **SHAPE, **ids, tie_word_embeddings=True, initializer_range=0.04)
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for layer in model.model.layers:
            # Strong layers: with tied embeddings and weak ones the likeliest next token is always the last one again.
            layer.self_attn.o_proj.weight *= 6
            layer.mlp.down_proj.weight *= 6
        model.model.embed_tokens.weight[: len(SPECIAL) + 256] = 0  # special tokens and lone bytes are never said
    model.save_pretrained(folder)


def once(folder: Path, make: object) -> Path:
    """The folder, made by `make(partial folder)` unless an earlier run has done it."""
    if not folder.exists():
        growing = folder.with_name(folder.name + ".partial")
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir(parents=True)
        make(growing)  # type: ignore[operator]
        growing.replace(folder)
    return folder


def checkpoint(cache: Path) -> Path:
    return once(cache / "checkpoint", make_checkpoint)


def built_for_genai(cache: Path) -> Path:
    """The same model in int4 as onnxruntime-genai's own builder writes it: its runtime knows nothing of our input `logit_rows`."""

    def make(folder: Path) -> None:
        from onnxruntime_genai.models import builder

        where = ("", str(checkpoint(cache)), str(folder), "int4", "cpu", str(folder / "cache"))
        builder.create_model(*where, **builder.parse_extra_options(*where, ["hf_token=false"]))

    return once(cache / "genai-int4", make)


class Quiet:
    """A report for nobody."""

    def log(self, text: str) -> None: ...


def artifact(cache: Path, precision: str) -> Artifact:
    """As the onnx stage makes it. Its folder's name holds the exporter's source: another exporter, another artifact."""
    source = b"".join(path.read_bytes() for path in sorted((ROOT / "backends" / "work").glob("*.py")))
    name = f"{precision}-{hashlib.sha256(source).hexdigest()[:8]}"
    folder = cache / name
    if not folder.exists():
        model, growing = checkpoint(cache), partial(folder)
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir()
        export_onnx.build(model, growing, precision, Quiet())  # type: ignore[arg-type]
        for file in export_onnx.TOKENIZER:
            if (model / file).is_file():
                shutil.copyfile(model / file, growing / file)
        contract(growing).save(growing)
        files = {file: File(sha256_of(growing / file), (growing / file).stat().st_size) for file in files_in(growing)}
        seal(growing, folder, Manifest("bench", "onnx", name, content_digest(files), "export_onnx", 1, {}, {}, {}, files, {}))
    found = open_artifact(folder)
    assert found
    return found


def contract(folder: Path) -> Contract:
    return Contract(
        CHAT, SPECIAL[0], SPECIAL[1], pad_id=2, stop_ids=[1], stop_texts=[], vocab_size=VOCABULARY,
        tokenizer=sha256_of(folder / "tokenizer.json"), max_tokens=2048,
    )  # fmt: skip


def release(made: Artifact, port: int, **serving: object) -> Release:
    hashed = json.loads((made.folder / "contract.json").read_text(encoding="utf-8"))["hash"]
    said = {"host": "127.0.0.1", "port": port} | serving
    return Release(1, "bench", "local", str(made.folder), made.manifest.key, made.manifest.digest, hashed, said)


def main() -> None:
    cache = cache_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for precision in ("int8", "int4"):
        print(artifact(cache, precision).folder.name)


if __name__ == "__main__":
    main()
