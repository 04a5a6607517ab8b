"""llama.cpp's server, built from the source that llama-cpp-python brings, and our model in its file format.

python benchmarks/llama_cpp.py      builds it (some minutes; once) and converts the model
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import bench_model

BUILD = [
    "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
]  # fmt: skip


class BuildError(Exception):
    """llama.cpp cannot be built here; the message says why."""


def run(*command: str | Path, **more: Any) -> None:
    try:
        subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **more)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{' '.join(map(str, command[:4]))} … failed: {error.stderr[-600:]}") from error


def source(cache: Path) -> Path:
    """The tree of llama.cpp inside the source package of llama-cpp-python."""

    def fetch(folder: Path) -> None:
        wanted = ["--no-deps", "--no-binary", "llama-cpp-python", "--dest", str(folder), "llama-cpp-python"]
        run(sys.executable, "-m", "venv", folder / "venv")  # its pip fetches what it needs to read the package
        run(folder / "venv" / "bin" / "pip", "download", *wanted)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        shutil.rmtree(folder / "venv")
        archive.unlink()
        mend(next(folder.glob("*/vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp")))

    (tree,) = bench_model.once(cache / "llama.cpp", fetch).glob("*/vendor/llama.cpp")
    return tree


def mend(amx: Path) -> None:
    """GCC 12 takes the tile settings for unread and drops their stores: the server would crash on CPUs with AMX."""
    text, call = amx.read_text(encoding="utf-8"), "_tile_loadconfig(&tc);"
    amx.write_text(text.replace(call, f'asm volatile("" : : "r"(&tc) : "memory");\n    {call}'), encoding="utf-8")


def binary(cache: Path, name: str) -> Path:
    """`llama-server` or `llama-quantize`."""

    def build(folder: Path) -> None:
        jobs, scratch = str(os.cpu_count() or 1), cache / "llama.cpp-build"  # kept when it fails: it goes on from there
        run("cmake", "-S", source(cache), "-B", scratch, *BUILD)
        run("cmake", "--build", scratch, "--target", "llama-server", "llama-quantize", "-j", jobs)
        for program in ("llama-server", "llama-quantize"):
            shutil.copy(scratch / "bin" / program, folder / program)

    return bench_model.once(cache / "llama.cpp-bin", build) / name


def gguf(cache: Path, quantization: str) -> Path:
    """The same weights as the artifacts', in GGUF: Q4_0 or Q8_0."""

    def convert(folder: Path) -> None:
        paths = {**os.environ, "PYTHONPATH": str(source(cache) / "gguf-py")}
        run(sys.executable, __file__, "--convert", bench_model.checkpoint(cache), folder / "f32.gguf", env=paths)
        for wanted in ("Q4_0", "Q8_0"):
            run(binary(cache, "llama-quantize"), folder / "f32.gguf", folder / f"{wanted}.gguf", wanted)
        (folder / "f32.gguf").unlink()

    return bench_model.once(cache / "gguf", convert) / f"{quantization}.gguf"


NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write(model: Path, output: Path) -> None:
    """llama.cpp's own converter knows tokenizers by a hash, and ours is made here: so the file is written directly."""
    from gguf import GGMLQuantizationType, GGUFWriter, TokenType
    from safetensors.numpy import load_file

    shape, writer = bench_model.SHAPE, GGUFWriter(str(output), "llama")
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(bench_model.VOCABULARY)

    ids, merges = bench_model.vocabulary()
    control = len(bench_model.SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(ids))
    writer.add_token_types([TokenType.CONTROL if number < control else TokenType.NORMAL for number in ids.values()])
    writer.add_token_merges([f"{first} {second}" for first, second in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(bench_model.CHAT)

    tensors = load_file(model / "model.safetensors")
    writer.add_tensor("token_embd.weight", tensors["model.embed_tokens.weight"], raw_dtype=GGMLQuantizationType.F32)
    writer.add_tensor("output_norm.weight", tensors["model.norm.weight"])
    for name, array in tensors.items():
        _, _, rest = name.partition("model.layers.")
        if rest:
            number, part = rest.removesuffix(".weight").split(".", 1)
            writer.add_tensor(f"blk.{number}.{NAMES[part]}.weight", turned(part, array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def turned(part: str, array: Any) -> Any:
    """Queries and keys in llama.cpp's order: it turns neighbours where transformers turns halves."""
    if part not in ("self_attn.q_proj", "self_attn.k_proj"):
        return array
    heads = array.shape[0] // bench_model.SHAPE["head_dim"]
    return array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)


def main() -> None:
    if sys.argv[1:2] == ["--convert"]:
        write(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    cache = bench_model.cache_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    print(binary(cache, "llama-server"), gguf(cache, "Q4_0"), gguf(cache, "Q8_0"), sep="\n")


if __name__ == "__main__":
    main()
