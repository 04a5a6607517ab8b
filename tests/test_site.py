"""A place knows for whom it works, and what the foundation gave."""

import pytest

from llmspec.errors import PlaceError
from llmspec.load import load

SPEC = """\
llmspec: 1
name: bot
store: {store}
data: {{sources: [{{path: rows.jsonl}}]}}
model: {{base: {{scratch: tiny}}}}
targets:
  local: {{default: true}}
  prod: {{description: elsewhere}}
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMSPEC_HOME", str(tmp_path / ".llmspec"))
    file = tmp_path / "bot.yaml"
    file.write_text(SPEC.format(store=tmp_path / "store"))
    return file


def test_a_place_from_a_spec_knows_its_product_and_target(spec):
    site = load(spec, "prod").place("endpoint").site
    assert (site.name, site.target, site.file) == ("bot", "prod", spec)


def test_what_one_founded_another_reads_and_other_targets_do_not(spec):
    load(spec, "prod").place("model").site.found({"bucket": "acme", "roles": {"training": "arn:one"}})
    assert load(spec, "prod").place("endpoint").site.ground["roles"] == {"training": "arn:one"}
    with pytest.raises(PlaceError, match="bot has no foundation at local"):
        _ = load(spec, "local").place("endpoint").site.ground


def test_after_leaving_there_is_no_foundation_and_the_error_says_how_to_build_one(spec):
    site = load(spec, "prod").place("endpoint").site
    site.found({"bucket": "acme"})
    site.leave()
    with pytest.raises(PlaceError, match=r"llmspec apply .*bot\.yaml --target prod"):
        _ = site.ground
