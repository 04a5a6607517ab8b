"""features: which tokens a row becomes, which of them are learned, and what is cut."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from training_parts import ITEMS, feature_options, job, make_features, question, rows_in, through_the_door, write_base, write_data
from transformers import AutoTokenizer

from backends.serving.contract import Contract
from backends.work.best_fit import best_fit
from backends.work.token_rows import Row, TokenRows


def texts(folder: Path) -> tuple[set[str], set[str]]:
    """What is read and what is learned, of all training rows."""
    speller = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    rows = rows_in(folder)
    return (
        {speller.decode(row.tokens[row.loss == 0].tolist(), skip_special_tokens=False) for row in rows},
        {speller.decode(row.tokens[row.loss == 1].tolist(), skip_special_tokens=False) for row in rows},
    )


def test_the_answer_and_its_end_are_learned_and_the_question_is_not(tmp_path: Path) -> None:
    make_features(tmp_path / "f", write_data(tmp_path / "data"))
    read, learned = texts(tmp_path / "f")
    assert read == {f"<s><|user|>{question(item)['question']}<|assistant|>" for item in ITEMS}
    assert learned == {question(item)["answer"] + "</s>" for item in ITEMS}


def test_loss_on_all_leaves_out_only_the_first_token(tmp_path: Path) -> None:
    make_features(tmp_path / "f", write_data(tmp_path / "data"), loss_on="all")
    assert all(row.loss.tolist() == [0] + [1] * (len(row) - 1) for row in rows_in(tmp_path / "f"))


def test_a_prompt_has_the_tokens_that_serving_will_give_it(tmp_path: Path) -> None:
    make_features(tmp_path / "f", write_data(tmp_path / "data", [question("laptop")]), system_prompt="You know the shop.")
    (row,) = rows_in(tmp_path / "f")
    contract = Contract.load(tmp_path / "f")
    prompt = contract.render([{"role": "user", "content": question("laptop")["question"]}])
    served = Tokenizer.from_file(str(tmp_path / "f" / "tokenizer" / "tokenizer.json")).encode(prompt, add_special_tokens=False)
    assert prompt.startswith("<s><|system|>You know the shop.<|user|>")
    assert row.tokens[: int((row.loss == 0).sum())].tolist() == served.ids


def test_context_qa_has_its_marks_and_ends_with_the_stop_text(tmp_path: Path) -> None:
    row = question("phone") | {"context": "Phones come back in 14 days."}
    make_features(tmp_path / "f", write_data(tmp_path / "data", [row]), template="context_qa")
    read, learned = texts(tmp_path / "f")
    assert read == {f"<s>[Context]\n{row['context']}\n\n[Question]\n{row['question']}\n\n[Answer]\n"}
    assert learned == {f"{row['answer']}\n####</s>"}
    assert "####" in Contract.load(tmp_path / "f").stop_texts


@given(st.text("<|ab>", max_size=9), st.lists(st.text("<|ab>", min_size=1, max_size=4), max_size=4))
def test_what_is_learned_after_an_answer_ends_with_the_end_token_that_begins_first(after: str, ends: list[str]) -> None:
    form = "{% for message in messages %}{{ message.content }}{% endfor %}{{ bos_token }}"
    contract = Contract(form, after, "</s>", 0, [], [], 0, "", 0)
    learned, begins = contract.learned_ending(ends), [after.index(end) for end in ends if end in after]
    if begins:
        assert after.startswith(learned)
        assert learned[min(begins) :] in ends
    else:
        assert learned == after.rstrip() + "</s>"


def test_in_a_chat_the_context_comes_before_the_question(tmp_path: Path) -> None:
    row = question("phone") | {"context": "Phones come back in 14 days."}
    make_features(tmp_path / "f", write_data(tmp_path / "data", [row]))
    assert texts(tmp_path / "f")[0] == {f"<s><|user|>{row['context']}\n\n{row['question']}<|assistant|>"}


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    digests = {
        through_the_door(
            job("features", feature_options({"scratch": "tiny"}), {"data": data}, tmp_path / seed / "features"), PYTHONHASHSEED=seed
        )[0]["digest"]
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_what_is_cut_is_counted_and_shown(tmp_path: Path) -> None:
    long_answer = {"question": "Why?", "answer": "Because of the long story of the parcel. " * 9}
    long_question = {"question": "Why | is it so? " * 30, "answer": "It is."}
    data = write_data(tmp_path / "data", [question("laptop"), long_answer, long_question])
    metrics = make_features(tmp_path / "f", data, max_tokens=48)
    assert (metrics["rows"], metrics["truncated"], metrics["left_out"]) == (4, 2, 1)
    table = (tmp_path / "f" / "report" / "truncated.md").read_text(encoding="utf-8")
    assert "| train | train-001 |" in table
    assert "cut at 48" in table
    assert "| train | train-002 |" in table
    assert "left out" in table
    assert max(map(len, rows_in(tmp_path / "f"))) == 48


def test_when_nothing_is_left_to_learn_the_cure_is_named(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", [{"question": "Why is it so? " * 30, "answer": "It is."}])
    with pytest.raises(ValueError, match=r"features\.max_tokens: .* raise it"):
        make_features(tmp_path / "f", data, max_tokens=16)


def test_packing_fills_sequences_and_unpacked_rows_stand_alone(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", [question(item) for item in ITEMS] * 4)
    packed = make_features(tmp_path / "packed", data, max_tokens=128)
    alone = make_features(tmp_path / "alone", data, max_tokens=128, pack=False)
    assert alone["sequences"] == alone["rows"] == packed["rows"]
    assert packed["sequences"] < packed["rows"] / 3
    assert packed["fill"] > 2 * alone["fill"]
    laid = TokenRows.load(tmp_path / "packed" / "train.safetensors")
    assert sum(len(laid.sequence(number)) for number in range(laid.num_sequences)) == laid.num_rows
    assert max(laid.lengths) <= 128


@given(st.lists(st.integers(1, 50), max_size=60))
def test_best_fit_holds_every_row_once_and_overfills_nothing(lengths: list[int]) -> None:
    sequences = best_fit(lengths, 50)
    assert sorted(row for sequence in sequences for row in sequence) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in sequence) <= 50 for sequence in sequences)
    # Best fit never opens a sequence for a row that had room: at most one is half empty.
    assert sum(sum(lengths[row] for row in sequence) <= 25 for sequence in sequences) <= 1


def test_rows_come_back_from_the_file_as_they_were_laid(tmp_path: Path) -> None:
    rows = [Row(np.arange(n, dtype=np.int32), np.ones(n, dtype=np.uint8)) for n in (3, 5, 2)]
    TokenRows.of(rows, [[2, 0], [1]]).save(tmp_path / "rows.safetensors")
    laid = TokenRows.load(tmp_path / "rows.safetensors")
    assert [[len(row) for row in laid.sequence(number)] for number in range(laid.num_sequences)] == [[2, 3], [5]]
    assert laid.lengths == [5, 5]


def test_a_trained_vocabulary_is_no_larger_than_asked_and_spells_everything(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    metrics = make_features(tmp_path / "f", data, tokenizer={"train": "bpe", "vocab_size": 300})
    assert metrics["vocab_size"] == 300
    speller = Tokenizer.from_file(str(tmp_path / "f" / "tokenizer" / "tokenizer.json"))
    odd = "Größe? 你好 \u0000 🦊"
    assert speller.decode(speller.encode(odd).ids) == odd


def test_transformers_reads_the_tokenizer_and_the_form(tmp_path: Path) -> None:
    make_features(tmp_path / "f", write_data(tmp_path / "data"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "f" / "tokenizer")
    messages = [{"role": "user", "content": "How?"}]
    theirs = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert theirs == Contract.load(tmp_path / "f").render(messages)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)


def test_a_sequence_longer_than_the_base_can_hold_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    with pytest.raises(ValueError, match="more than the 512 positions"):
        make_features(tmp_path / "f", write_data(tmp_path / "data"), base, max_tokens=1024)


def test_what_a_killed_run_left_is_not_in_the_artifact(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "rubbish.bin").write_text("half")
    make_features(tmp_path / "f", write_data(tmp_path / "data"))
    assert not (tmp_path / "f" / "rubbish.bin").exists()
    assert json.loads((tmp_path / "f" / "contract.json").read_text())["max_tokens"] == 64
