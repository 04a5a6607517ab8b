"""data: every kind of file becomes rows of text, and what cannot be read is named."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backends.work.clean_sources import Fault, Record, records
from backends.work.clean_spark import clean
from backends.work.report import Report
from llmspec.errors import PlaceError
from llmspec.shelf import sha256_of
from tests.data_parts import Heard, asked, jsonl, run, run_sources

QA = ["question", "answer"]


def read(path: Path, *columns: str) -> list[Any]:
    found = list(records(str(path), path.suffix[1:], list(columns or QA)))
    return [row.values if isinstance(row, Record) else row for row in found]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_csv_cell_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", 'answer,question\r\n"Yes, ""now"".\nAnd later.",Can I?\r\n')
    assert read(file) == [["Can I?", 'Yes, "now".\nAnd later.']]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    for name, text in {
        "a.csv": "question,answer\nq,a\n",
        "a.jsonl": '{"question":"q","answer":"a"}\n',
        "a.json": '{"question":"q","answer":"a"}',
    }.items():
        assert read(written(tmp_path / name, b"\xef\xbb\xbf" + text.encode())) == [["q", "a"]]


def test_a_tsv_keeps_its_commas(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.tsv", "question\tanswer\nReally, now?\tYes, now.\n")) == [["Really, now?", "Yes, now."]]


def test_an_empty_cell_is_nothing_and_an_empty_line_no_row(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.csv", "question,answer\nq,\n\n,a\n")) == [["q", None], [None, "a"]]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    for name in ("a.csv", "a.tsv", "a.json", "a.jsonl"):
        assert read(written(tmp_path / name, "")) == []


def test_a_row_with_more_or_fewer_cells_than_the_header_is_named_by_its_line(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.csv", "question,answer\nq,a\nq,a,b\nq\nq,a\n"))
    assert [fault.where for fault in found if isinstance(fault, Fault)] == ["line 3", "line 4"]
    assert found[1].text.startswith("3 cells, but the header has 2")


def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.csv", 'question,answer\nq,a\nq,"a\nq,a\n'))
    assert found[0] == ["q", "a"]
    assert found[1].where == "line 3"
    assert "quote" in found[1].text


def test_json_is_an_array_of_records_or_one_record(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "a"}
    assert read(written(tmp_path / "a.json", json.dumps([row, row]))) == [["q", "a"]] * 2
    assert read(written(tmp_path / "a.json", json.dumps(row))) == [["q", "a"]]


def test_json_lines_in_a_json_file_are_told_their_format(tmp_path: Path) -> None:
    (fault,) = read(written(tmp_path / "a.json", "{}\n{}\n"))
    assert "format: jsonl" in fault.text


def test_a_dot_reaches_into_a_record_unless_a_key_has_it(tmp_path: Path) -> None:
    text = '{"product": {"name": "lamp"}, "a.b": "dotted", "answer": null}\n'
    assert read(written(tmp_path / "a.jsonl", text), "product.name", "a.b", "answer", "product.price") == [
        ["lamp", "dotted", None, None]
    ]


def test_every_value_becomes_text_as_it_was_written(tmp_path: Path) -> None:
    text = '{"i": 12, "f": 19.90, "t": true, "l": ["é", 1], "r": {"a": 1.5}, "n": null, "e": ""}\n'
    assert read(written(tmp_path / "a.jsonl", text), *"iftlrne") == [["12", "19.90", "true", '["é", 1]', '{"a": 1.5}', None, None]]


def test_a_line_is_ended_by_a_line_feed_only(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.jsonl", '{"question": "a\u2028b\x85c", "answer": "d"}\n')) == [["a\u2028b\x85c", "d"]]


def test_broken_json_lines_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.jsonl", '{"question": "q", "answer": "a"}\n{"question": \n[1]\n' + "[" * 100_000 + "\n"))
    assert found[0] == ["q", "a"]
    assert [fault.where for fault in found[1:]] == ["line 2", "line 3", "line 4"]


def test_text_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    (fault,) = read(written(tmp_path / "a.csv", "question,answer\ncafé,ok\n".encode("latin-1")))
    assert "not UTF-8" in fault.text


def test_parquet_columns_of_any_type_become_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, None]),
            "b": pa.array([True, False]),
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "s": pa.array([{"name": "lamp"}, None]),
            "l": pa.array([["a"], []]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "n", "b", "d", "s.name", "l") == [
        ["1", "true", "x", "lamp", '["a"]'],
        [None, "false", "y", None, "[]"],
    ]


def test_a_file_that_is_not_parquet_is_a_fault(tmp_path: Path) -> None:
    (fault,) = read(written(tmp_path / "a.parquet", "question,answer\n"))
    assert "arquet" in fault.text


def test_bad_rows_stop_the_stage_and_are_named_with_their_file(tmp_path: Path) -> None:
    good, bad = jsonl(tmp_path / "a.jsonl", asked(5)), written(tmp_path / "b.jsonl", "{}\n{oops\n")
    with pytest.raises(PlaceError, match=r"b\.jsonl: line 2: not JSON"):
        run(tmp_path, good, bad)


def test_a_file_that_was_written_to_since_it_was_planned_stops_the_stage(tmp_path: Path) -> None:
    faq, tickets = (jsonl(tmp_path / name, asked(20)) for name in ("faq.jsonl", "tickets.jsonl"))
    planned = {str(path): sha256_of(path) for path in (faq, tickets)}
    with tickets.open("a") as file:
        file.write('{"question": "half')
    options = {"data": {"sources": [{"name": "all", "path": "*.jsonl"}]}, "files": {"all": list(planned)}, "digests": planned}
    with pytest.raises(PlaceError, match=r"^data\.sources: no longer as planned: tickets\.jsonl\n  apply again"):
        clean(options, {}, tmp_path, Report(Heard()))


def test_a_column_that_a_header_lacks_is_named_with_what_there_is(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "questoin,answer\nq,a\n")
    with pytest.raises(PlaceError, match=r"a\.csv: no column 'question'; did you mean 'questoin'\? \(it has: questoin, answer\)"):
        run(tmp_path, file)


def test_a_column_that_a_header_has_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="two columns are called 'answer'"):
        run(tmp_path, written(tmp_path / "a.csv", "question,answer,answer\nq,a,b\n"))


def test_a_key_that_no_json_record_has_is_named_with_what_there_is(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [{"title": "q", "body": {"text": "a"}}] * 4)
    with pytest.raises(PlaceError, match=r"no column 'body\.txt'; did you mean 'body\.text'\?"):
        run(tmp_path, file, source={"columns": {"question": "title", "answer": "body.txt"}})


def test_a_key_that_some_json_records_lack_is_nothing_there(tmp_path: Path) -> None:
    rows = [*asked(3), *asked(1, context=lambda n: "On the left.")]
    done = run(tmp_path, jsonl(tmp_path / "a.jsonl", rows), source={"columns": {c: c for c in ("question", "answer", "context")}})
    assert done.column("context") == [None, None, None, "On the left."]


def test_a_format_that_is_named_outdoes_the_ending(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.csv", "".join(json.dumps(row) + "\n" for row in asked(3)))
    assert run(tmp_path, file, source={"format": "jsonl"}).metrics["rows"] == 3


def test_half_a_character_in_json_becomes_a_replacement_character(tmp_path: Path) -> None:
    rows = [*asked(3), {"question": "broken?", "answer": "half \ud83d of it"}]
    file = written(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path, file).column("answer")[3] == "half � of it"


def test_rows_of_all_formats_meet_in_one_table(tmp_path: Path) -> None:
    rows = asked(8)
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "p.parquet")
    jsonl(tmp_path / "l.jsonl", rows[2:4])
    written(tmp_path / "j.json", json.dumps(rows[4:6]))
    written(tmp_path / "c.csv", "title,answer,tag\n" + "".join(f"{r['question']},{r['answer']},x\n" for r in rows[6:]))
    sources = [{"path": name} for name in ("p.parquet", "l.jsonl", "j.json")]
    sources.append({"path": "c.csv", "name": "a-sheet", "columns": {"question": "title", "answer": "answer", "tag": "tag"}})
    files = {Path(s["path"]).stem: [str(tmp_path / s["path"])] for s in sources[:3]} | {"a-sheet": [str(tmp_path / "c.csv")]}
    done = run_sources(tmp_path, sources, files)
    assert sorted(done.column("question")) == sorted(row["question"] for row in rows)
    assert list(done.rows[0]) == ["id", "question", "answer", "context", "source", "tag"]
    assert done.column("source") == ["a-sheet"] * 2 + ["j"] * 2 + ["l"] * 2 + ["p"] * 2
    assert done.column("tag") == ["x", "x", *[None] * 6]
    for part in ("train", "validation", "test"):
        assert (found := [row["id"] for row in done.part(part)]) == sorted(found)


def test_no_row_at_all_is_an_error_that_names_the_sources(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"data\.sources: no row in a"):
        run(tmp_path, written(tmp_path / "a.csv", ""))
