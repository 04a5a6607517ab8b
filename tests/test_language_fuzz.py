"""Whatever is in the file, loading it ends, and ends with a spec or with an explanation."""
# ruff: noqa: E501  (lists of bytes and names)

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspec import source
from llmspec.errors import SpecError
from llmspec.load import Loaded, load

SPECS = Path(__file__).parents[1] / "specs"
SEED = (
    (SPECS / "quickstart.yaml").read_bytes()
    + b"""
vars: &v {a: 1, b: "${env.HOME}"}
tags: {<<: *v}
places: {model: local}
endpoint:
  port: ${var.a}
targets:
  prod: {model: {training: {epochs: 4}}, store: "/mnt/x/${var.b}"}
"""
)
PIECES = [
    b"\t", b"\0", b"\xff", b"{", b"}", b"[", b"]", b"${", b"${var.a}", b"${var.", b"$${", b"&a ", b"*a", b"*v", b"<<: ", b"- ", b": ", b"? ",
    b"|\n", b">\n", b"'", b'"', b"#", b"---\n", b"...\n", b"!!int ", b"!x ", b"%", b"@", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\\0", b"\\ud800",
    b"null", b"true", b".nan", b"1e999", b"0x1f", b"9" * 400, b"sources", b"data:", b"targets:\n  x:\n", b"  ", b"\n", b"\xf0\x9f\x99\x82",
]  # fmt: skip


def outcome(path: Path, data: bytes) -> str:
    """'loaded', or what was said. Anything else fails the test."""
    path.write_bytes(data)
    try:
        loaded = load(path, env={"HOME": "x"})
    except SpecError as error:
        said = error
    else:
        assert isinstance(loaded, Loaded)
        assert loaded.origins
        return "loaded"
    assert said.problems
    for problem in said.problems:
        assert problem.fault
        assert len(str(problem).splitlines()) <= 3, str(problem)
        assert problem.line <= len(data) + 1
    return str(said)


def mutated(data: bytes, choices: random.Random) -> bytes:
    for _ in range(choices.randint(1, 4)):
        at, end = sorted((choices.randrange(len(data) + 1), choices.randrange(len(data) + 1)))
        match choices.randrange(4):
            case 0:
                data = data[:at] + choices.choice(PIECES) + data[at:]
            case 1:
                data = data[:at] + data[min(end, at + 12) :]
            case 2:
                data = data[:at] + data[at : at + 40] + data[at:]
            case _:
                data = data[:at] + bytes([choices.randrange(256)]) + data[at + 1 :]
    return data


@pytest.mark.parametrize("parser", ["C", "Python"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.randoms(use_true_random=False))
def test_a_damaged_spec_is_loaded_or_explained(
    choices: random.Random, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parser: str
) -> None:
    monkeypatch.setattr(source, "_LOADER", yaml.SafeLoader if parser == "Python" else source._LOADER)
    outcome(tmp_path / "quickstart.yaml", mutated(SEED, choices))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_noise_is_explained(data: bytes, tmp_path: Path) -> None:
    assert outcome(tmp_path / "quickstart.yaml", data) != "loaded"


NODE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${var.a}", "${x", "sail", "5m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("llmspec", "name", "owner", "tags", "vars", "store", "places", "data", "features", "model", "onnx", "evaluation", "endpoint", "monitors", "targets")  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=st.dictionaries(st.sampled_from(KEYS), NODE, max_size=6))
def test_any_value_under_any_key_is_loaded_or_explained(spec: dict[str, object], tmp_path: Path) -> None:
    outcome(tmp_path / "quickstart.yaml", yaml.safe_dump(spec, allow_unicode=True).encode("utf-8", "replace"))


def test_the_seed_of_all_this_is_a_good_spec_but_for_one_tag(tmp_path: Path) -> None:
    said = outcome(tmp_path / "quickstart.yaml", SEED)
    assert "tags.a: expects text, got the number 1" in said
    assert (
        outcome(tmp_path / "quickstart.yaml", SEED.replace(b"a: 1", b'a: "1"').replace(b"port: ${var.a}", b"port: 1")) == "loaded"
    )
