"""features: a base brings its tokenizer, its chat form and its end tokens; nothing of them is lost or made up."""

from pathlib import Path

import pytest
from test_features_tokens import texts
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from training_parts import CHATML, Silent, feature_options, make_features, question, write_base, write_data
from transformers import AutoTokenizer

from backends.serving.contract import PLAIN_CHAT, Contract
from backends.work.report import Report
from backends.work.tokenize_hf import tokenize

TURNS = ("<|im_start|>", "<|im_end|>")


def test_a_base_keeps_its_own_chat_form(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", template=CHATML, special=TURNS)
    make_features(tmp_path / "f", write_data(tmp_path / "data", [question("phone")]), base, system_prompt="Be kind.")
    contract = Contract.load(tmp_path / "f")
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    theirs = AutoTokenizer.from_pretrained(base).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert contract.render(messages[1:]) == theirs
    assert texts(tmp_path / "f")[1] == {question("phone")["answer"] + "<|im_end|>"}


def test_the_token_that_ends_a_turn_ends_an_answer(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", template=CHATML, special=TURNS, eos=2)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    end = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids("<|im_end|>")
    assert Contract.load(tmp_path / "f").stop_ids == sorted({2, end})


def test_every_end_token_of_the_checkpoint_is_kept(tmp_path: Path) -> None:
    make_features(tmp_path / "f", write_data(tmp_path / "data"), write_base(tmp_path / "base", eos=[2, 7]))
    assert Contract.load(tmp_path / "f").stop_ids == [2, 7]


def test_a_base_without_a_chat_form_gets_one_that_needs_no_new_tokens(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    metrics = make_features(tmp_path / "f", write_data(tmp_path / "data", [question("phone")]), base)
    contract = Contract.load(tmp_path / "f")
    assert contract.template == PLAIN_CHAT
    assert metrics["vocab_size"] == len(AutoTokenizer.from_pretrained(base))
    assert texts(tmp_path / "f") == (
        {f"<s>### User:\n{question('phone')['question']}\n\n### Assistant:\n"},
        {question("phone")["answer"] + "</s>"},
    )


def test_a_form_that_never_ends_a_turn_gets_the_end_token(tmp_path: Path) -> None:
    endless = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
    make_features(
        tmp_path / "f", write_data(tmp_path / "data", [question("phone")]), write_base(tmp_path / "base", template=endless)
    )
    (learned,) = texts(tmp_path / "f")[1]
    assert learned.endswith("</s>")


def test_a_tokenizer_that_adds_a_first_token_adds_it_no_second_time(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", template="{{ bos_token }}" + CHATML, special=TURNS)
    path = str(base / "tokenizer.json")
    eager = Tokenizer.from_file(path)
    eager.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    eager.enable_truncation(8)
    eager.save(path)
    make_features(tmp_path / "f", write_data(tmp_path / "data", [question("phone")]), base)
    (read,) = texts(tmp_path / "f")[0]
    assert read == f"<s><|im_start|>user\n{question('phone')['question']}<|im_end|>\n<|im_start|>assistant\n"


def test_marks_for_what_the_assistant_said_render_nothing(tmp_path: Path) -> None:
    marked = CHATML.replace("{{ message.content }}", "{% generation %}{{ message.content }}{%- endgeneration %}")
    base = write_base(tmp_path / "base", template=marked, special=TURNS)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    assert Contract.load(tmp_path / "f").render([{"role": "user", "content": "Hi"}]).count("Hi<|im_end|>") == 1


def test_a_form_with_todays_date_in_it_reads_no_clock(tmp_path: Path) -> None:
    dated = "{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d') }}{% else %}2024{% endif %}" + CHATML
    base = write_base(tmp_path / "base", template=dated, special=TURNS)
    make_features(tmp_path / "f", write_data(tmp_path / "data"), base)
    assert Contract.load(tmp_path / "f").render([{"role": "user", "content": "Hi"}]).startswith("2024<|im_start|>")


def test_a_form_that_renders_otherwise_than_in_transformers_is_refused(tmp_path: Path) -> None:
    # transformers gives a template its tools as None; ours are undefined.
    base = write_base(tmp_path / "base", template="{% if tools is defined %}Tools. {% endif %}" + CHATML, special=TURNS)
    with pytest.raises(ValueError, match="renders otherwise here"):
        make_features(tmp_path / "f", write_data(tmp_path / "data"), base)


def test_a_form_that_knows_no_system_prompt_says_so_at_once(tmp_path: Path) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role here') }}{% endif %}" + CHATML
    base = write_base(tmp_path / "base", template=strict, special=TURNS)
    with pytest.raises(ValueError, match="no system role here"):
        make_features(tmp_path / "f", write_data(tmp_path / "data"), base, system_prompt="Be kind.")


HUB = {"hub": "acme/micro", "revision": "0123456789abcdef0123456789abcdef01234567"}


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on this machine, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_hub_model_fetched_before_is_read_at_its_pinned_commit(tmp_path: Path, hub_cache: Path) -> None:
    write_base(hub_cache / "models--acme--micro" / "snapshots" / HUB["revision"], template=CHATML, special=TURNS)
    (tmp_path / "f").mkdir()
    tokenize(feature_options(HUB), {"data": write_data(tmp_path / "data")}, tmp_path / "f", Report(Silent()))
    assert Contract.load(tmp_path / "f").template == CHATML


def test_a_hub_that_cannot_be_reached_is_named_with_the_cure(tmp_path: Path, hub_cache: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(ValueError, match=r"acme/micro@0123456 could not be fetched.*base: \{path: …\}"):
        tokenize(feature_options(HUB), {"data": write_data(tmp_path / "data")}, tmp_path / "f", Report(Silent()))
