"""How guards are written, and what a mistake is told."""

from pathlib import Path
from typing import Any

import pytest

from llmspec.errors import SpecError
from llmspec.load import load
from llmspec.spec.endpoint import Endpoint

SPEC = """\
llmspec: 1
name: shop
data: {sources: [{path: rows.jsonl}]}
model: {base: {scratch: tiny}}
endpoint:
  guards: GUARDS
"""


def guards(*written: Any) -> list[dict[str, Any]]:
    return [guard.model_dump() for guard in Endpoint.model_validate({"guards": list(written)}).guards]


def test_a_name_a_list_and_options_say_the_same() -> None:
    assert guards({"pii": ["email"]}) == guards({"pii": {"kinds": ["email"]}}) == [{"pii": {"kinds": ["email"], "action": "mask"}}]
    assert guards("secrets") == guards({"secrets": None}) == guards({"secrets": {"action": "mask"}})
    assert guards({"output_html": ["shop.example"]}) == [{"output_html": {"hosts": ["shop.example"], "action": "mask"}}]


def test_what_rarely_errs_is_on_unless_the_spec_says_otherwise() -> None:
    assert [guard.name for guard in Endpoint().guards] == ["secrets", "system_prompt_leak"]
    assert guards() == []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[promt_injection]", "no guard named 'promt_injection'"),
        ("[pii, secrets, pii]", "guard 'pii' is listed twice"),
        ("[{pii: {action: mark}}]", "did you mean 'mask'?"),
        ("[{system_prompt_leak: {action: mask}}]", "'mask' is not one of block, note"),
        ("[{output_html: ['https://shop.example']}]", "write a host's name"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_cure(tmp_path: Path, written: str, told: str) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(SPEC.replace("GUARDS", written))
    with pytest.raises(SpecError) as wrong:
        load(path)
    assert told in str(wrong.value)
    assert "shop.yaml:6:" in str(wrong.value)
