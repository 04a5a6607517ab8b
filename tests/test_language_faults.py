"""Broken specs: where the caret stands, what is said, and how it is cured."""
# ruff: noqa: E501  (a table reads best with one line for each case)

import os
from pathlib import Path

import pytest

from llmspec.errors import Problem, SpecError
from llmspec.load import load

GOOD = """\
llmspec: 1
name: shop
data:
  sources:
    - path: faq.jsonl
model:
  base: {scratch: tiny}
  method: full
"""
PROD = "targets:\n  prod:\n"
HUB = "{hub: a/b, revision: " + "a" * 40 + "}"


def problems(tmp_path: Path, text: str | bytes, target: str | None = None, name: str = "shop.yaml") -> list[Problem]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load(path, target, env={"PORT": "eighty"})
    return list(caught.value.problems)


def put(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


# what was written, the words under the carets, the fault, the cure
FAULTS = {
    "unknown key": (put("    - path", "    - colums: {q: a}\n      path"), "colums", "unknown key 'colums'", "did you mean 'columns'?"),
    "unknown top key": (GOOD + "modl: 1\n", "modl", "unknown key 'modl'", "known: "),
    "misspelt and needed": (put("path:", "paht:"), "paht", "unknown key 'paht'", "did you mean 'path'?"),
    "missing": (put("  base: {scratch: tiny}\n", ""), "model", "base is needed", "add `base: …`"),
    "missing in a union": (put("{scratch: tiny}", "{hub: a/b}"), "{hub: a/b}", "revision is needed", "The commit, all 40 digits"),
    "no base": (put("{scratch: tiny}", "{x: 1}"), "{x: 1}", "a base is one of", ""),
    "choice": (GOOD + "onnx: {precision: int44}\n", "int44", "'int44' is not one of fp32, int8, int4, fp16, auto", "did you mean 'int4'?"),
    "version": (put("llmspec: 1", "llmspec: 2"), "2", "version 2 of the language is not known", "write `llmspec: 1`"),
    "number as text": (GOOD + 'features: {max_tokens: "512"}\n', '"512"', "expects a whole number, got text '512'", "write 512"),
    "text for a number": (GOOD + "  training: {epochs: abc}\n", "abc", "expects a number, got text 'abc'", ""),
    "fraction": (GOOD + "features: {max_tokens: 51.5}\n", "51.5", "expects a whole number, got the number 51.5", ""),
    "yes": (GOOD + "features: {pack: yes}\n", "yes", "expects true or false, got text 'yes'", "write true"),
    "truth as a number": (GOOD + "features: {max_tokens: true}\n", "true", "expects a whole number, got true", ""),
    "number for text": (GOOD + "tags: {team: 7}\n", "7", "expects text, got the number 7", 'put it in quotes: "7"'),
    "text for a list": (GOOD + "evaluation: {metrics: token_f1}\n", "token_f1", "expects a list, got text 'token_f1'", "write [token_f1]"),
    "text for a mapping": (GOOD + "onnx: int4\n", "int4", "expects a mapping, got text 'int4'", ""),
    "empty section": (GOOD + "onnx:\n", "onnx", "expects a mapping, got nothing", "take the key out"),
    "too small": (GOOD + "features: {max_tokens: 3}\n", "3", "must be at least 16, and is 3", ""),
    "too large": (GOOD + "endpoint: {port: 70000}\n", "70000", "must be at most 65,535, and is 70000", ""),
    "infinite": (GOOD + "  training: {epochs: .inf}\n", ".inf", "must be a finite number", ""),
    "empty list": (put("\n    - path: faq.jsonl", " []"), "[]", "needs at least 1, and has 0", ""),
    "empty text": (put("faq.jsonl", '""'), '""', "is empty", ""),
    "pattern": (GOOD + "owner: bob\n", "bob", "'bob' is not allowed here", "team:NAME"),
    "key pattern": (GOOD + "tags: {a b: c}\n", "a b", "the name 'a b' is not allowed here", "letters, digits"),
    "branch for a commit": (put("{scratch: tiny}", "{hub: a/b, revision: main}"), "main", "'main' is not allowed here", "40 digits"),
    "duration": (GOOD + "monitors: {every: 15 min}\n", "15 min", "'15 min' is not a duration", "500ms, 30s, 5m"),
    "number for a duration": (GOOD + "monitors: {every: 15}\n", "15", "'15' is not a duration", "write a number and a unit"),
    "union of text and mapping": (GOOD + "features: {tokenizer: bass}\n", "bass", "'bass' is not one of auto, base", "did you mean 'base'?"),
    "inside a union": (GOOD + "features: {tokenizer: {train: bpe, vocab: 9}}\n", "vocab", "unknown key 'vocab'", "vocab_size"),
    "no member of a union": (GOOD + "vars: {x: [1]}\n", "[1]", "expects text, a number or true or false, got a list", ""),
    "engine": (put("data:\n", "data:\n  engine: spork\n"), "spork", "no engine named 'spork'", "did you mean 'spark'? (known: sail, spark)"),
    "engine of another stage": (put("data:\n", "data:\n  engine: train_hf\n"), "train_hf", "no engine named 'train_hf'", "known: sail"),
    "engine's option": (put("data:\n", "data:\n  engine: {spark: {mastr: x}}\n"), "mastr", "unknown key 'mastr'", "did you mean 'master'?"),
    "two engines": (put("data:\n", "data:\n  engine: {sail: {}, spark: {}}\n"), "{sail: {}, spark: {}}", "engine is a name or one", "known: sail"),
    "place": (GOOD + "places: {model: lcal}\n", "lcal", "no place named 'lcal'", "did you mean 'local'?"),
    "place in long form": (GOOD + "places: {model: {lcal: {}}}\n", "lcal", "no place named 'lcal'", "did you mean 'local'?"),
    "stage of a place": (GOOD + "places: {modle: local}\n", "modle", "unknown key 'modle'", "did you mean 'model'?"),
    "cleaning step": (put("model:\n", "  clean: [lowercas]\nmodel:\n"), "lowercas", "no cleaning step named 'lowercas'", "did you mean 'lowercase'?"),
    "two steps in one": (put("model:\n", "  clean: [{lowercase: , strip_html: }]\nmodel:\n"), "{lowercase: , strip_html: }", "a cleaning step is one", "'-'"),
    "bare value of a step": (put("model:\n", "  clean: [drop_missing: [Answer]]\nmodel:\n"), "Answer", "'Answer' is not allowed here", "small letters"),
    "regular expression": (put("model:\n", "  clean: [remove: (?=x)]\nmodel:\n"), "(?=x)", "not a regular expression", "without look-around"),
    "split": (put("model:\n", "  split: {train: 0.9}\nmodel:\n"), "{train: 0.9}", "train + validation + test is 1.1", "make it 1"),
    "columns": (put("faq.jsonl", "faq.jsonl\n      columns: {question: q}"), "{question: q}", "columns must name answer", ""),
    "group_by": (put("model:\n", "  split: {group_by: shop}\nmodel:\n"), "shop", "no column 'shop' in every source's columns", "answer, question"),
    "same name": (put("faq.jsonl", "a.csv\n      name: x\n    - path: b.csv\n      name: x"), "x", "two sources are called 'x'", "of its own"),
    "context": (put("model:\n", "  template: context_qa\nmodel:\n"), "context_qa", "template context_qa needs rows with a context", "context: …"),
    "adapter": (GOOD + "  adapter: {rank: 4}\n", "{rank: 4}", "adapter does nothing with method: full", "use method: lora"),
    "method": (put("full", "qlora"), "qlora", "method: qlora on random weights learns nothing", "use method: full"),
    "tokenizer": (GOOD + "features: {tokenizer: base}\n", "base", "a base from scratch has no tokenizer", "tokenizer: auto"),
    "gate": (GOOD + "evaluation: {gates: [token_f2 >= 1]}\n", "token_f2", "no metric named 'token_f2'", "did you mean 'token_f1'?"),
    "gate not measured": (GOOD + "evaluation: {metrics: [perplexity], gates: [token_f1 > 1]}\n", "token_f1", "which is not measured", "add token_f1"),
    "gate's sign": (GOOD + "evaluation: {gates: [token_f1 => 1]}\n", "=>", "cannot read '=>'", "did you mean '>='?"),
    "alarm without unit": (GOOD + "monitors: {alarms: [p95_latency > 1]}\n", "p95_latency > 1", "has no unit", "500ms"),
    "check that is a number": (put("model:\n", "  checks: {rows: 3}\nmodel:\n"), "3", "3 is not a comparison", '">= 100"'),
    "name of the file": (put("shop", "bakery"), "bakery", "'bakery' is not the file's name", "name: shop"),
    "name's letters": (put("name: shop", "name: A shop"), "A shop", "'A shop' is not allowed here", "a letter first"),
    "short duration": (GOOD + "monitors: {every: 5s}\n", "5s", "must be at least 1m, and is '5s'", "How often"),
    "no duration": (GOOD + "endpoint: {limits: {timeout: 0}}\n", "0", "must be above 0ms, and is 0", ""),
    "double star": (put("faq.jsonl", '"**.jsonl"'), '"**.jsonl"', "`**` stands for folders", "`data/**/*.jsonl`"),
    "ending": (put("faq.jsonl", "faq.txt"), "faq.txt", "'txt' does not say what format it is", "add `format: …`"),
    "own column": (put("faq.jsonl", "a.csv\n      columns: {question: q, answer: a, id: x}"), "id", "column 'id' is made by llmspec", ""),
    "column of a step": (put("model:\n", "  clean: [drop_missing: [answr]]\nmodel:\n"), "answr", "no source has a column 'answr'", "'answer'"),
    "no columns": (put("model:\n", "  clean: [drop_missing: []]\nmodel:\n"), "[]", "needs at least 1, and has 0", ""),
    "metric twice": (GOOD + "evaluation: {metrics: [rouge_l, rouge_l]}\n", "rouge_l", "rouge_l is named twice", "name it once"),
    "gate twice": (GOOD + "evaluation: {gates: [rouge_l >= 0.8, rouge_l>=80%]}\n", "rouge_l>=80%", "the same as 'rouge_l >= 0.8'", "keep one"),
    "alarm twice": (GOOD + "monitors: {alarms: [error_rate > 5%, error_rate > 0.05]}\n", "error_rate > 0.05", "the same as 'error_rate > 5%'", "keep one"),
    "owner": (GOOD + "owner: 'ana,bob@acme.example'\n", "'ana,bob@acme.example'", "'ana,bob@acme.example' is not allowed here", "team:search"),
    "target's letters": (GOOD + "targets: {" + "p" * 64 + ": {}}\n", "p" * 64, "is not allowed here", "at most 63"),
    "name of a var": (GOOD + "vars: {a.b: c}\n", "a.b", "the name 'a.b' is not allowed here", "letters"),
    "host": (GOOD + "endpoint: {host: 'a b'}\n", "'a b'", "'a b' is not allowed here", "an address"),
    "path for a hub": (put("{scratch: tiny}", "{hub: ../x, revision: " + "a" * 40 + "}"), "../x", "'../x' is not allowed here", "organisation"),
    "var": (GOOD + "vars: {host: a}\nendpoint:\n  host: ${var.hots}\n", "${var.hots}", "no var named 'hots'", "did you mean 'host'?"),
    "a store elsewhere": (GOOD + "store: gs://acme/llm\n", "gs://acme/llm", "a store is a folder or in S3", "name a folder"),
    "a bucket's name": (GOOD + "store: s3://Acme_LLM/x\n", "s3://Acme_LLM/x", "no bucket can be called 'Acme_LLM'", "s3://acme-llm/bots"),
    "a store's prefix": (GOOD + "store: s3://acme/a//b\n", "s3://acme/a//b", "'a//b' is no prefix for keys", "single '/'"),
    "var in a longer text": (GOOD + "vars: {host: a}\nstore: /mnt/x/${var.hots}/y\n", "${var.hots}", "no var named 'hots'", "'host'"),
    "var of itself": (GOOD + 'vars: {a: "${var.b}", b: "${var.a}"}\n', "${var.a}", "needs itself: a → b → a", ""),
    "env": (GOOD + "endpoint:\n  host: ${env.NOPE}\n", "${env.NOPE}", "the environment has no NOPE", "export NOPE=…"),
    "env of the wrong kind": (GOOD + "endpoint:\n  port: ${env.PORT}\n", "${env.PORT}", "got the value of ${env.PORT}", ""),
    "kind of reference": (GOOD + "endpoint:\n  host: ${vra.x}\n", "${vra.x}", "there is no ${vra.…}", "did you mean 'var'?"),
    "shell's reference": (GOOD + "endpoint:\n  host: ${HOME}\n", "${HOME}", "${HOME} is not a reference", "'$${'"),
    "open reference": (GOOD + "endpoint:\n  host: ${var.x\n", "${", "'${' is not closed", "add '}'"),
    "secret where none may be": (GOOD + "description: ${secret.X}\n", "${secret.X}", "a secret may not be used here", "data.engine.spark.remote, model.base.token"),
    "secret in a var": (GOOD + "vars:\n  x: ${secret.X}\n", "${secret.X}", "a secret may not be used here", "model.base.token"),
    "target": (GOOD + PROD + "    defualt: true\n", "defualt", "unknown key 'defualt'", "did you mean 'default'?"),
    "overlay": (GOOD + PROD + "    model: {training: {epochs: x}}\n", "x", "expects a number, got text 'x'", ""),
    "two defaults": (GOOD + PROD + "    default: true\n  dev: {default: true}\n", "true", "prod and dev are both `default: true`", "keep one"),
    "duplicate key": (GOOD + "name: again\n", "name", "the key 'name' is written twice", "the first is on line 2"),
    "number as a key": (GOOD + "tags: {2024: x}\n", "2024", "a key is text, and 2024 is not", "quote it: '2024'"),
    "unknown tag": (GOOD + "description: !secret x\n", "!secret x", "the tag !secret is not known", "take it out"),
    "tab": (put("  method", "\tmethod"), "\t", "a tab indents this line", "replace it by spaces"),
    "reference in braces": (GOOD + "endpoint: {host: ${var.h}}\n", "${var.h}", "${var.h} is not quoted", 'quote it: "${var.h}"'),
    "reference in brackets": (GOOD + "tags: [a-${var.h}/x]\n", "a-${var.h}/x", "a-${var.h}/x is not quoted", 'quote it: "a-${var.h}/x"'),
    "alias loop": (GOOD + "tags: &a {x: *a}\n", "*a", "'*a' contains itself", ""),
    "unknown alias": (GOOD + "vars: &shop {x: 1}\ntags: *shp\n", "*shp", "no anchor is called '&shp'", "did you mean '*shop'?"),
    "indentation": (put("  method", "   method"), "method", "this line fits no indentation above it", "line it up"),
    "second colon": (GOOD + "description: shop: a shop\n", ":", "a second ':' on one line", "quote the text"),
    "no colon": (GOOD + "description\nowner: x\n", "description", "a ':' is missing", "write `key: value`"),
    "open quote": (GOOD + 'description: "x\n', '"', "this quote is never closed", "close it"),
    "open bracket": (GOOD + "tags: {a: b\nvars: {}\n", "{", "this bracket is never closed", "close it with '}'"),
    "escape": (GOOD + 'description: "\\d"\n', "\\d", "\\d means nothing inside double quotes", "use single quotes"),
    "at sign": (GOOD + "description: @x\n", "@", "a value cannot start with '@'", "put it in quotes"),
    "conflict": (GOOD + "<<<<<<< HEAD\nowner: x\n", "<<<<<<<", "a merge conflict is left in the file", "resolve it"),
    "second document": (GOOD + "---\nllmspec: 1\n", "---", "a second document starts here", "one file, one spec"),
    "control character": (GOOD + "description: a\x07b\n", "\x07", "the control character U+0007", "delete it"),
    "NUL": (GOOD + "description: a\x00b\n", "\x00", "a NUL byte", "delete it"),
    "escaped NUL": (GOOD + 'description: "a\\0b"\n', '"a\\0b"', "a NUL character", "delete"),
    "not UTF-8": (GOOD.encode() + b"description: caf\xe9\n", "\ufffd", "byte 0xe9 is not UTF-8", "save the file as UTF-8"),
    "bomb": (
        GOOD + "vars:\n  a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"  {chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
        ),
        "&c [*b, *b, *b, *b, *b, *b, *b, *b, *b]", "more than 5,000 values once its anchors are expanded", "",
    ),
    "deep brackets": (GOOD + "tags: " + "[" * 500_000, "[", "nested more than 50 deep", "bracket"),
    "deep indentation": ("\n".join("  " * depth + "a:" for depth in range(600)), "a:", "nested more than 50 deep", ""),
    "deep through anchors": (
        GOOD + "vars:\n  a0: &a0 {x: 1}\n" + "".join(f"  a{i}: &a{i} {{x: *a{i - 1}}}\n" for i in range(1, 60)),
        "*a47", "nested more than 50 deep", "",
    ),
    "not a mapping": ("[a]", "[a]", "a spec is made of keys", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_broken_spec_is_told_with_its_place_its_fault_and_its_cure(tmp_path: Path, case: str) -> None:
    text, under, fault, cure = FAULTS[case]
    found = problems(tmp_path, text)
    told = "\n".join(map(str, found))
    (problem,) = [each for each in found if fault in each.fault] or pytest.fail(told)
    caret = problem.text[problem.column - 1 : problem.column - 1 + problem.width]
    assert caret == under or (under in ("[", "a:") and caret.startswith(under[:1])), told
    assert cure in problem.cure, told
    assert len(found) == 1, told


def test_a_problem_looks_like_its_page_in_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        GOOD.replace("    - path: faq.jsonl", "    - path: faq.jsonl\n      colums: {question: q}") + "onnx: {precision: int44}\n"
    )
    Path("shop.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load("shop.yaml")
    assert str(caught.value) == (
        "shop.yaml:6:7  data.sources[0]: unknown key 'colums'\n"
        "    6 |       colums: {question: q}\n"
        "      |       ^^^^^^ did you mean 'columns'? (known: name, format, columns)\n"
        "shop.yaml:10:19  onnx.precision: 'int44' is not one of fp32, int8, int4, fp16, auto\n"
        "   10 | onnx: {precision: int44}\n"
        "      |                   ^^^^^ did you mean 'int4'?"
    )


def test_all_problems_come_at_once_sorted_by_line_even_those_between_fields(tmp_path: Path) -> None:
    text = (
        put("scratch: tiny", "scratch: tinny").replace("path:", "paht:")
        + "features: {tokenizer: base, pack: maybe}\n"
        + "places: {endpoint: lcal}\n"
        + "evaluation: {metrics: [perplexity], gates: [token_f1 > 1]}\n"
        + "description: ${var.x}\n"
    )
    found = problems(tmp_path, text)
    assert [each.line for each in found] == sorted(each.line for each in found)
    assert [each.where for each in found] == [
        "data.sources[0]",
        "model.base.scratch",
        "features.tokenizer",
        "features.pack",
        "places.endpoint",
        "evaluation.gates[0]",
        "description",
    ]


def test_the_value_of_an_environment_variable_is_in_no_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(
        GOOD + "vars:\n  p: ${env.P}\nendpoint:\n  port: ${env.P}\n  api: ${var.p}\nmonitors:\n  every: ${env.P}\nowner: ${env.P}\n"
    )
    with pytest.raises(SpecError) as caught:
        load(path, env={"P": "hunter2-and-more"})
    assert len(caught.value.problems) == 4
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).count("${env.P}") >= 4


def test_a_caret_stands_under_its_word_after_wide_characters_and_in_long_lines(tmp_path: Path) -> None:
    (wide,) = problems(tmp_path, GOOD + "vars: {a: 日本, b: [7]}\n")
    shown = str(wide).splitlines()
    assert shown[2].index("^") - shown[1].index("[7]") == 2  # a terminal prints these two characters four columns wide
    (far,) = problems(tmp_path, GOOD + f"tags: {{{', '.join(f'a{n}: b' for n in range(500))}, c: 7}}\n")
    shown = str(far).splitlines()
    assert max(map(len, shown)) < 200
    assert shown[1][shown[2].index("^")] == "7"


def test_a_problem_that_only_another_target_has_names_it(tmp_path: Path) -> None:
    text = GOOD + PROD + "    onnx: {precision: int3}\n"
    (here,) = problems(tmp_path, text)
    assert here.where == "onnx.precision (target prod)"
    (there,) = problems(tmp_path, text, target="prod")
    assert there.where == "onnx.precision"


def test_an_unknown_target_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD + PROD + "    default: true\n", target="prdo")
    assert problem.fault == "no target named 'prdo'"
    assert problem.cure == "did you mean 'prod'? (known: prod, local)"
    assert problem.text == "targets:"


def test_a_file_with_thousands_of_faults_is_told_quickly_and_in_part(tmp_path: Path) -> None:
    text = GOOD + "tags: {" + ", ".join(f"k{n}: {n}" for n in range(2400)) + "}\n"
    found = problems(tmp_path, text)
    assert 50 < len(found) <= 200
    assert "more like these" in str(SpecError(*found))


def test_a_missing_file_a_directory_and_a_device_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD)
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, fault, cure in (
        (tmp_path / "shpo.yaml", "no such file", "shop.yaml"),
        (tmp_path / "nowhere" / "x.yaml", "no such file", "llmspec init"),
        (tmp_path, "is a directory, not a spec", "shop.yaml"),
        (tmp_path / "pipe.yaml", "is not a regular file", ".yaml file"),
        (tmp_path / ("x" * 300), "cannot be read: file name too long", ""),
        (tmp_path / "a\0b", "cannot be read", ""),
    ):
        with pytest.raises(SpecError) as caught:
            load(path)
        (problem,) = caught.value.problems
        assert fault in problem.fault
        assert cure in problem.cure
        assert problem.line == 0


def test_an_empty_file_a_comment_and_utf_16_are_explained(tmp_path: Path) -> None:
    for text, fault in (
        (b"", "the file is empty"),
        (b"# soon\n", "nothing in the file but comments"),
        ("a: 1".encode("utf-16"), "is UTF-16"),
    ):
        (problem,) = problems(tmp_path, text)
        assert fault in problem.fault


def test_a_file_of_10_mb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, b"#" * 10_000_000)
    assert problem.fault == "is 10.0 MB; a spec has at most 1 MB"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    loaded = load(path)
    assert loaded.origins["model.method"].line == 8
