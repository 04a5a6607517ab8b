"""data: each cleaning step does what it says, and every row that it changes or drops is in the report."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmspec.errors import PlaceError
from tests.data_parts import COLUMNS, Row, asked, jsonl, run

CONTEXT = {"columns": {**COLUMNS, "context": "context"}}


def cleaned(tmp_path: Path, texts: list[Any], *steps: Any) -> list[Any]:
    """These answers, after these steps."""
    rows = [{"question": f"Number {n}?", "answer": text} for n, text in enumerate(texts)]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), clean=list(steps))
    found = {int(row["id"].split(":")[1]): row["answer"] for row in done.rows}
    return [found.get(n) for n in range(1, len(rows) + 1)]


def test_normalize_unicode_gives_one_spelling_per_character(tmp_path: Path) -> None:
    given = [
        "cafe\u0301",
        "“it’s”",
        "a\u00a0b\u2009c",
        "z\u200bero\ufeff\u00ad",
        "bell\x07\x00",
        "line\r\nnext\rlast\u2028x",
        "tab\tstays",
    ]
    want = ["café", '"it\'s"', "a b c", "zero", "bell", "line\nnext\nlast\nx", "tab\tstays"]
    assert cleaned(tmp_path, given, "normalize_unicode") == want


def test_normalize_unicode_keeps_joiners_that_are_spelling(tmp_path: Path) -> None:
    given = ["می\u200cخواهم", "👩\u200d💻", "plain\u200djoin"]
    assert cleaned(tmp_path, given, "normalize_unicode") == ["می\u200cخواهم", "👩\u200d💻", "plainjoin"]


def test_strip_html_takes_tags_out_and_leaves_text(tmp_path: Path) -> None:
    given = [
        "<p>One</p><p>Two</p>",
        "b<b>ol</b>d",
        'see <a href="x?a=1&b=2" title="a > b">this</a>',
        "x<script>alert('<b>')</script>y<style>p {}</style>z",
        "a<!-- not > this -->b",
        "line<br/>break",
        "<?xml version='1.0'?><!DOCTYPE html>text",
    ]
    assert cleaned(tmp_path, given, "strip_html") == ["One\n\nTwo", "bold", "see this", "xyz", "ab", "line\nbreak", "text"]


def test_strip_html_leaves_what_only_looks_like_it(tmp_path: Path) -> None:
    given = ["if 1 < 2 and 3 > 2", "I <3 it", "a <b and so on", "AT&T", "x <- y -> z"]
    assert cleaned(tmp_path, given, "strip_html") == given


def test_strip_html_decodes_entities_once_and_last(tmp_path: Path) -> None:
    given = ["salt &amp; pepper", "&lt;b&gt; makes bold", "&amp;lt;", "caf&eacute; &#8364;5 &#x41;"]
    assert cleaned(tmp_path, given, "strip_html") == ["salt & pepper", "<b> makes bold", "&lt;", "café €5 A"]


def test_collapse_whitespace_knows_every_blank(tmp_path: Path) -> None:
    given = ["  a \t\n b\u00a0\u3000c  ", "plain text", "a\r\nb"]
    assert cleaned(tmp_path, given, "collapse_whitespace") == ["a b c", "plain text", "a b"]


def test_lowercase_knows_every_alphabet(tmp_path: Path) -> None:
    assert cleaned(tmp_path, ["ÄÖÜ Łódź", "ΑΒΓ", "ПРИВЕТ"], "lowercase") == ["äöü łódź", "αβγ", "привет"]


@pytest.mark.parametrize(
    ("pattern", "given", "want"),
    [
        (r"[^\w\s?.,!']", "Café #1 – it's «ñ»?", "Café 1  it's ñ?"),
        (r"\W+", "Çà va", "Çàva"),
        (r"\d+", "a١٢3b", "ab"),
        (r"\s", "a\u00a0b c", "abc"),
        (r"[\s\S]*: ", "Re: hello", "hello"),
        (r"[]x]", "a]xb", "ab"),
        (r"[[:digit:]a]+", "123abc", "bc"),
        (r"\p{Sc}", "€5", "5"),
        (r"(?i)best wishes.*", "ok Best Wishes, Ana", "ok "),
        (r"\[\w+\]", "a [X] b", "a  b"),
        (r"[a\]\w]", "é]-", "-"),
    ],
)
def test_remove_reads_one_dialect_in_every_alphabet(tmp_path: Path, pattern: str, given: str, want: str) -> None:
    assert cleaned(tmp_path, [given, "x y z?", "q r s?"], {"remove": {"pattern": pattern, "columns": ["answer"]}})[0] == want


@pytest.mark.parametrize("pattern", [r"[\W_]", r"[a&&b]", r"\u00e9"])
def test_remove_refuses_what_it_would_read_differently(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(PlaceError, match=r"data\.clean\[0\] remove"):
        cleaned(tmp_path, ["a", "b", "c"], {"remove": pattern})


def test_a_text_step_touches_the_columns_it_is_told(tmp_path: Path) -> None:
    rows = asked(4, context="On the LEFT.")
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), source=CONTEXT, clean=[{"lowercase": ["context"]}])
    assert done.column("context") == ["on the left."] * 4
    assert done.column("question") == [row["question"] for row in rows]


def test_a_text_step_takes_question_answer_and_context_and_no_other(tmp_path: Path) -> None:
    rows = asked(4, context="LEFT", tag="TAG")
    done = run(
        tmp_path, jsonl(tmp_path / "a.jsonl", rows), source={"columns": {**CONTEXT["columns"], "tag": "tag"}}, clean=["lowercase"]
    )
    assert done.column("context") == ["left"] * 4
    assert done.column("question")[0] == "where is number 0?"
    assert done.column("tag") == ["TAG"] * 4


def test_drop_missing_counts_blanks_as_nothing(tmp_path: Path) -> None:
    assert cleaned(tmp_path, ["a", None, "", " \u00a0\n", "b", "c"], "drop_missing") == ["a", None, None, None, "b", "c"]


def test_a_row_without_an_answer_never_gets_through_and_is_never_silent(tmp_path: Path) -> None:
    rows = [*asked(4), {"question": "And this?", "answer": None}]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows))
    assert (done.metrics["rows"], done.metrics["dropped"]) == (4, 0.2)
    assert [(step["name"], step["dropped"]) for step in done.steps] == [("drop_missing", 1)]


def test_drop_short_counts_characters_not_bytes(tmp_path: Path) -> None:
    given = ["äöü", "  abc  ", "abcd", "öäüß", "12345"]
    assert cleaned(tmp_path, given, {"drop_short": {"characters": 4}}) == [None, None, "abcd", "öäüß", "12345"]


def test_of_duplicates_the_first_in_source_order_stays(tmp_path: Path) -> None:
    first, second = jsonl(tmp_path / "a.jsonl", asked(6, tag="a")), jsonl(tmp_path / "b.jsonl", asked(8, tag="b"))
    done = run(tmp_path, first, second, source={"columns": {**COLUMNS, "tag": "tag"}}, clean=["drop_duplicates"])
    assert done.column("tag") == ["a"] * 6 + ["b"] * 2
    assert done.metrics["duplicates"] == round(6 / 14, 6)
    assert done.steps[0]["examples"][0]["same_as"].startswith("a:000000001:")


def test_duplicates_are_compared_as_they_are_at_that_step(tmp_path: Path) -> None:
    rows = [*asked(4), {"question": "WHERE is number 0?", "answer": "Number 0 is on the SHELF."}]
    file = jsonl(tmp_path / "a.jsonl", rows)
    assert run(tmp_path / "1", file, clean=["drop_duplicates", "lowercase"]).metrics["rows"] == 5
    assert run(tmp_path / "2", file, clean=["lowercase", "drop_duplicates"]).metrics["rows"] == 4


def test_a_row_that_was_dropped_before_is_nobodys_duplicate(tmp_path: Path) -> None:
    rows = [
        {"question": "Same?", "answer": "a", "tag": "no"},
        {"question": "Same?", "answer": "a", "tag": "good"},
        *asked(3, tag="fine"),
    ]
    steps = [{"drop_short": {"column": "tag", "characters": 3}}, "drop_duplicates", {"drop_duplicates": ["question"]}]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), source={"columns": {**COLUMNS, "tag": "tag"}}, clean=steps)
    assert done.column("tag") == ["good", "fine", "fine", "fine"]
    assert [step["dropped"] for step in done.steps] == [1, 0, 0]


def test_each_step_tells_rows_in_changed_and_dropped(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"question": "A  b?", "answer": "<p>one two</p>"},
        {"question": "c?", "answer": "short"},
        {"question": "c?", "answer": "<b>short</b>"},
        {"question": "d?", "answer": "is it?"},
        {"question": "e?", "answer": "x"},
    ]
    steps = ["strip_html", "drop_duplicates", "collapse_whitespace", {"drop_short": {"characters": 3}}]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), clean=steps)
    assert [(step["name"], step["rows_in"], step["changed"], step["dropped"]) for step in done.steps] == [
        ("strip_html", 5, 2, 0),
        ("drop_duplicates", 5, 0, 1),
        ("collapse_whitespace", 4, 1, 0),
        ("drop_short", 4, 0, 1),
    ]
    assert done.steps[0]["examples"][0] | {"row": ""} == {
        "row": "",
        "column": "answer",
        "before": "<p>one two</p>",
        "after": "one two",
    }
    assert done.summary == "3 rows of 5 · 2 dropped"
    assert "| 4 | drop_short | 4 | 0 | 1 |" in done.page
    assert done.events[-1]["done"] == done.events[-1]["total"] == 4


def test_examples_are_three_at_most_and_the_first_ones(tmp_path: Path) -> None:
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", asked(9000)), clean=["lowercase"])
    examples = done.steps[0]["examples"]
    assert [example["after"] for example in examples] == [f"where is number {n}?" for n in (0, 1, 2)]
    assert done.steps[0]["changed"] == 9000


@pytest.mark.parametrize("action", ["mask", "drop"])
def test_a_report_never_shows_what_redact_has_found(tmp_path: Path, action: str) -> None:
    secrets = ("ann@shop.example", "ann&#64;shop.example", "ann<b>@</b>shop.example", "030 1234567", "4111 1111 1111 1111")
    rows = [*({"question": f"Q {n}  ?", "answer": f"Reach  {secret} now"} for n, secret in enumerate(secrets)), *asked(3)]
    rows += [{"question": "short", "answer": "b@x.example"}, {"question": "short", "answer": "b@x.example"}]
    steps = [
        "strip_html",
        "collapse_whitespace",
        "drop_duplicates",
        {"drop_short": {"characters": 12}},
        {"redact": {"action": action}},
    ]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), clean=steps)
    told = done.page + json.dumps(done.steps)
    for secret in (*secrets, "shop.example", "1234567", "4111", "b@x"):
        assert secret not in told
    assert "Reach •••" in done.page
    assert done.metrics["rows"] == (8 if action == "mask" else 3)
    assert not any("@" in row["answer"] or "1111" in row["answer"] for row in done.rows)


def test_redact_with_fail_names_the_rows_and_not_what_they_hold(tmp_path: Path) -> None:
    rows = [*asked(3), {"question": "Who?", "answer": "ann@shop.example"}]
    with pytest.raises(PlaceError, match=r"data\.clean\[0\] redact: 1 rows hold personal data .*: a row 4") as raised:
        run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), clean=[{"redact": {"kinds": ["email"], "action": "fail"}}])
    assert "ann@" not in str(raised.value)
    assert (
        run(tmp_path, jsonl(tmp_path / "b.jsonl", rows), clean=[{"redact": {"kinds": ["phone"], "action": "fail"}}]).metrics["rows"]
        == 4
    )


def test_when_no_row_is_left_the_step_that_took_them_is_named(tmp_path: Path) -> None:
    steps = ["collapse_whitespace", {"drop_short": {"characters": 1000}}]
    with pytest.raises(PlaceError, match=r"none of 5 rows is left: drop_short dropped 5"):
        run(tmp_path, jsonl(tmp_path / "a.jsonl", asked(5)), clean=steps)


def test_a_table_cell_of_the_report_cannot_break_out(tmp_path: Path) -> None:
    rows = [*asked(3), {"question": "Why?", "answer": "a | b\n<img src=x>  c"}]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), clean=["collapse_whitespace"])
    assert "a \\| b⏎&lt;img src=x>␣ c" in done.page
    assert "<img" not in done.page


def test_an_id_says_source_place_and_content(tmp_path: Path) -> None:
    first, second = jsonl(tmp_path / "a.jsonl", asked(3)), jsonl(tmp_path / "b.jsonl", asked(3))
    ids = run(tmp_path, first, second, source={"name": "faq"}).column("id")
    assert [name.rsplit(":", 1)[0] for name in ids] == [f"faq:{n:09d}" for n in range(1, 7)]
    assert ids[0].rsplit(":", 1)[1] == ids[3].rsplit(":", 1)[1] != ids[1].rsplit(":", 1)[1]


def test_two_runs_in_different_folders_write_the_same_bytes(tmp_path: Path) -> None:
    rows = asked(5000)
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    steps = ["normalize_unicode", "redact", "drop_duplicates"]
    one = run(tmp_path / "1", jsonl(tmp_path / "1" / "a.jsonl", rows), clean=steps)
    two = run(tmp_path / "2", jsonl(tmp_path / "2" / "a.jsonl", rows), clean=steps)
    assert one.files == two.files


def test_a_step_that_changes_no_row_changes_no_byte(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", asked(50))
    steps = ["normalize_unicode", "strip_html", "collapse_whitespace", "drop_missing", "redact", "drop_duplicates"]
    assert run(tmp_path / "1", file).files == run(tmp_path / "2", file, clean=steps).files
