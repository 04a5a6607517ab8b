"""Targets, references and origins: what a value is at a target, and where it came from."""

import json
from pathlib import Path

import pytest

from llmspec.errors import SpecError
from llmspec.language.render import render
from llmspec.load import Loaded, load

SPEC = """\
llmspec: 1
name: shop
description: For ${var.region}, ${env.TEAM}; $${not.a.reference}
vars: {region: eu, port: 8000, share: 0.5}
data:
  engine: {spark: {master: "local[1]"}}
  sources:
    - path: faq.jsonl
  clean:
    - strip_html
    - drop_missing: [answer]
    - redact: {kinds: [email]}
model:
  base: {scratch: tiny}
  training: {epochs: 2, learning_rate: 1e-3}
evaluation:
  gates: [token_f1 >= 0.5]
endpoint:
  port: ${var.port}
  host: ${env.HOST}
  limits: {timeout: 90s}
targets:
  prod:
    vars: {region: us}
    store: /mnt/acme/${var.region}
    data: {engine: {spark: {master: null, remote: "${secret.SPARK}"}}}
    features: {tokenizer: base}
    model:
      base: {hub: acme/base, revision: 0123456789abcdef0123456789abcdef01234567, token: "${secret.HF}"}
      training: {epochs: 4}
    evaluation: {gates: []}
    places: {model: local}
  pipe:
    data: {engine: {sail: }}
"""
ENV = {"HOST": "0.0.0.0", "TEAM": "search", "PORT": "99"}


def at(tmp_path: Path, target: str | None = None, text: str = SPEC, env: dict[str, str] = ENV) -> Loaded:
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    return load(path, target, env)


def test_mappings_merge_while_lists_and_scalars_replace(tmp_path: Path) -> None:
    here, prod = at(tmp_path).plain, at(tmp_path, "prod").plain
    trained = here["model"]["training"] | {"epochs": 4}
    assert {key: prod["model"]["training"][key] for key in ("epochs", "learning_rate", "seed")} == {
        key: trained[key] for key in ("epochs", "learning_rate", "seed")
    }
    assert (here["evaluation"]["gates"], prod["evaluation"]["gates"]) == (["token_f1 >= 0.5"], [])
    assert prod["store"] == "/mnt/acme/us"
    assert prod["places"] == {"model": {"local": {}}}
    assert "targets" not in prod


def test_null_replaces_as_any_scalar_does(tmp_path: Path) -> None:
    assert at(tmp_path, "prod").plain["data"]["engine"] == {"spark": {"master": None, "remote": "${secret.SPARK}"}}


def test_another_choice_replaces_the_choice_below_it(tmp_path: Path) -> None:
    assert at(tmp_path, "prod").plain["model"]["base"] == {
        "hub": "acme/base",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "token": "${secret.HF}",
    }
    assert at(tmp_path, "pipe").plain["data"]["engine"] == {"sail": {}}


def test_the_default_target_is_the_one_that_says_so_else_local(tmp_path: Path) -> None:
    assert at(tmp_path).target == "local"
    chosen = at(tmp_path, text=SPEC.replace("  pipe:\n", "  pipe:\n    default: true\n"))
    assert chosen.target == "pipe"
    assert chosen.targets == ("prod", "pipe")
    assert at(tmp_path, "local", text=SPEC.replace("  pipe:\n", "  pipe:\n    default: true\n")).target == "local"


def test_a_cure_is_about_the_same_target_which_is_named_where_it_is_not_the_default_one(tmp_path: Path) -> None:
    assert at(tmp_path).as_typed == str(tmp_path / "shop.yaml")
    assert at(tmp_path, "prod").as_typed == f"{tmp_path / 'shop.yaml'} --target prod"
    piped = SPEC.replace("  pipe:\n", "  pipe:\n    default: true\n")
    assert at(tmp_path, "pipe", text=piped).as_typed == str(tmp_path / "shop.yaml")
    assert at(tmp_path, "local", text=piped).as_typed.endswith(" --target local")


def test_a_reference_that_is_the_whole_value_keeps_its_type(tmp_path: Path) -> None:
    assert at(tmp_path).spec.endpoint.port == 8000


def test_the_field_decides_what_an_environment_variable_is(tmp_path: Path) -> None:
    text = SPEC.replace("${var.port}", "${env.PORT}").replace("host: ${env.HOST}", "host: ${env.PORT}")
    spec = at(tmp_path, text=text).spec
    assert (spec.endpoint.port, spec.endpoint.host) == (99, "99")


def test_references_within_text_and_the_escape(tmp_path: Path) -> None:
    assert at(tmp_path).spec.description == "For eu, search; ${not.a.reference}"
    assert at(tmp_path, "prod").spec.description == "For us, search; ${not.a.reference}"


def test_what_the_environment_holds_is_not_read_for_references(tmp_path: Path) -> None:
    assert at(tmp_path, env=ENV | {"TEAM": "${secret.HF} ${var.region}"}).spec.description.startswith("For eu, ${secret.HF} ${var")


def test_another_target_s_environment_is_not_asked_for(tmp_path: Path) -> None:
    text = SPEC.replace("store: /mnt/acme/${var.region}", "store: ${env.PROD_STORE}")
    assert at(tmp_path, text=text).target == "local"
    with pytest.raises(SpecError, match="the environment has no PROD_STORE"):
        at(tmp_path, "prod", text=text)


def test_every_value_knows_its_origin(tmp_path: Path) -> None:
    here, prod = at(tmp_path).origins, at(tmp_path, "prod").origins
    said = {path: (origin.line, origin.how) for path, origin in here.items()}
    assert said["model.training.epochs"] == (15, "written")
    assert said["model.training.seed"] == (0, "default")
    assert said["endpoint.port"] == (19, "var port")
    assert said["endpoint.host"] == (20, "env HOST")
    assert said["description"] == (3, "env TEAM")
    assert said["data.clean[0].strip_html"] == (10, "written")
    assert said["data.clean[0].strip_html.columns"] == (0, "default")
    assert said["data.clean[1].drop_missing.columns"] == (11, "written")
    assert said["data.clean[1].drop_missing.columns[0]"] == (11, "written")
    assert said["data.clean[2].redact.action"] == (0, "default")
    assert said["features.tokenizer"] == (0, "default")
    changed = {path: (origin.line, origin.how) for path, origin in prod.items()}
    assert changed["model.training.epochs"] == (30, "target prod")
    assert changed["model.training.learning_rate"] == (15, "written")
    assert changed["store"] == (25, "var region")
    assert changed["model.base.hub"] == (29, "target prod")
    assert prod["model.training.epochs"].column == 26
    assert str(prod["model.training.epochs"]) == f"{tmp_path}/shop.yaml:30 (target prod)"


@pytest.mark.parametrize("target", ["local", "prod", "pipe"])
def test_what_render_prints_can_be_loaded_again_and_is_the_same(tmp_path: Path, target: str) -> None:
    loaded = at(tmp_path, target)
    again = at(tmp_path, text=render(loaded), env={})
    assert again.plain == loaded.plain


def test_render_says_behind_each_value_where_it_came_from(tmp_path: Path) -> None:
    lines = render(at(tmp_path, "prod")).splitlines()
    (epochs,) = [line for line in lines if "epochs:" in line]
    assert epochs.split() == ["epochs:", "4", "#", f"{tmp_path}/shop.yaml:30", "(target", "prod)"]
    assert any("seed: 7" in line and line.endswith("# default") for line in lines)
    assert any('token: "${secret.HF}"' in line or "token: ${secret.HF}" in line for line in lines)


def test_text_that_looks_like_something_else_survives_rendering(tmp_path: Path) -> None:
    odd = [
        "yes",
        "1e3",
        "0x1f",
        "null",
        " a ",
        "a: b",
        "a #b",
        "- x",
        "{x}",
        "é日本",
        "line\nline",
        '"',
        "'",
        "@x",
        "*x",
        "$${var.x}",
        "~",
        "!x",
        "%",
        "a\\b",
        "\u2028",
        "",
    ]
    for text in odd:
        spec = SPEC.replace("For ${var.region}, ${env.TEAM}; $${not.a.reference}", json.dumps(text))
        loaded = at(tmp_path, text=spec)
        assert at(tmp_path, text=render(loaded), env={}).spec.description == text.replace("$${", "${")


def test_yaml_1_2_words_are_what_they_look_like(tmp_path: Path) -> None:
    tags = {"a": "yes", "b": "on", "c": "2024-01-31", "d": "1_000", "e": "No"}
    written = ", ".join(f"{key}: {value}" for key, value in tags.items())
    spec = at(tmp_path, text=SPEC.replace("vars: {region: eu", f"tags: {{{written}}}\nvars: {{region: eu")).spec
    assert spec.tags == tags
    assert spec.model.training.learning_rate == 0.001


def test_merge_keys_bring_what_an_anchor_names_and_lose_against_what_is_written(tmp_path: Path) -> None:
    text = SPEC.replace("vars: {region: eu,", "vars: &v {region: eu,").replace("vars: {region: us}", "vars: {<<: *v, region: us}")
    loaded = at(tmp_path, "prod", text=text)
    assert loaded.spec.vars == {"region": "us", "port": 8000, "share": 0.5}


def test_a_secret_is_never_looked_up(tmp_path: Path) -> None:
    loaded = at(tmp_path, "prod", env=ENV | {"HF": "hf_hunter2", "SPARK": "sc_hunter2"})
    assert "hunter2" not in render(loaded) + repr(loaded.plain) + repr(loaded)
