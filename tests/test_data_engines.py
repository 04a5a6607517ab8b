"""data: the same program gives the same rows on Sail, on a JVM, and over Spark Connect; the door seals what came out."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from backends.engines.clean_spark import Spark
from backends.work.clean_engine import sail
from backends.work.clean_split import PARTS
from llmspec.errors import PlaceError
from llmspec.job import Job
from llmspec.spec.data import Data
from llmspec.store import open_artifact
from tests.data_parts import asked, jsonl, run

ROOT = Path(__file__).parents[1]
STEPS: list[Any] = [
    "normalize_unicode",
    "strip_html",
    {"drop_duplicates": ["question", "answer", "shop"]},
    "collapse_whitespace",
    {"lowercase": ["question"]},
    {"remove": r"[^\w\s?.,!'@:+\[\]-]"},
    "drop_missing",
    {"redact": {"kinds": ["email", "phone", "credit_card"]}},
    {"drop_short": {"characters": 4}},
    "drop_duplicates",
]


def tricky() -> list[dict[str, Any]]:
    """What makes two engines disagree: spellings, mark-up, blanks, numbers, copies, nothing at all."""
    rows = [
        ("Wie groß ist <b>die Straße</b>?", "  „Sehr“ groß\u00a0— 5&nbsp;km.  "),
        ("wie GROSS ist die  strasse?", "Sehr groß, 5 km."),
        ("İstanbul'da mı?", "Evet, İSTANBUL'da.\u200b"),
        ("Cafe\u0301 or café?", "Both are <i>café</i>."),
        ("Who?", "Ask ann@shop.example, +49 (0)30 1234567 or 4111 1111 1111 1111."),
        ("Emoji 👩\u200d💻?", "Yes 😀, and می\u200cخواهم too."),
        ("Line\r\nbreak?", 'A "quoted", comma\nand line\u2028break.'),
        ("Empty?", ""),
        ("Blank?", " \t\u3000 "),
        ("Tiny?", "ok"),
        ("Why?", "Because 1 < 2 && 3 > 2; x|y\\z."),
        ("Why?", "Because 1 < 2 && 3 > 2; x|y\\z."),
    ]
    every = [{"question": q, "answer": a, "shop": f"shop {n % 5}"} for n, (q, a) in enumerate(rows)]
    return every + asked(300, shop=lambda n: f"shop {n % 60}") + asked(40, shop="copy")


def sources(folder: Path) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The same rows in every format, each a source."""
    folder.mkdir()
    rows = tricky()
    pq.write_table(pa.Table.from_pylist(rows), folder / "p.parquet")
    jsonl(folder / "l.jsonl", [{"q": {"text": row["question"]}, **row} for row in rows])
    (folder / "j.json").write_text(json.dumps(rows), encoding="utf-8")
    for name, gap in {"c.csv": ",", "t.tsv": "\t"}.items():
        quoted = (gap.join('"' + row[key].replace('"', '""') + '"' for key in ("question", "answer", "shop")) for row in rows)
        (folder / name).write_text("\ufeff" + gap.join(["question", "answer", "shop"]) + "\n" + "\n".join(quoted), encoding="utf-8")
    columns = {"question": "question", "answer": "answer", "shop": "shop"}
    names = ("t.tsv", "p.parquet", "l.jsonl", "j.json", "c.csv")
    said = [{"path": name, "columns": {**columns, **({"question": "q.text"} if name == "l.jsonl" else {})}} for name in names]
    return said, {Path(name).stem: [str(folder / name)] for name in names}


def through_the_door(folder: Path, engine: Any, data: dict[str, Any], files: dict[str, list[str]]) -> Path:
    """`python -m backends.work job.json`, as a place would do it."""
    said = Data.model_validate({"engine": engine, **data}).model_dump(mode="json")
    ((name, _),) = said["engine"].items()
    digests = {source: {path: sha256(Path(path).read_bytes()).hexdigest() for path in paths} for source, paths in files.items()}
    output = folder / "key"
    job = Job(
        spec="tiny",
        stage="data",
        engine=name,
        version=1,
        work="backends.work.clean_spark:clean",
        options={"data": said},
        keyed={"data": data},
        inputs={},
        files=digests,
        output=str(output),
    )
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(job.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "backends.work", str(folder / "job.json")]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return output


def test_the_door_seals_the_rows_and_two_folders_hold_the_same_digest(tmp_path: Path) -> None:
    said, files = sources(tmp_path / "in")
    data = {"sources": said, "clean": STEPS, "split": {"group_by": "shop"}}
    one, two = (open_artifact(through_the_door(tmp_path / name, "sail", data, files)) for name in ("1", "2"))
    assert one is not None
    assert two is not None
    assert one.verify().manifest.digest == two.verify().manifest.digest
    assert {f"{part}.parquet" for part in PARTS} <= set(one.manifest.files)
    assert one.manifest.metrics["rows_in"] == 5 * len(tricky())
    assert one.manifest.metrics["rows"] == sum(one.manifest.metrics[part] for part in PARTS)
    assert one.manifest.summary.endswith("dropped")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="no java on this machine")
def test_a_jvm_and_sail_give_the_same_rows_and_bytes(tmp_path: Path) -> None:
    said, files = sources(tmp_path / "in")
    data = {"sources": said, "clean": STEPS, "split": {"group_by": "shop"}}
    on_sail = through_the_door(tmp_path / "sail", "sail", data, files)
    on_jvm = through_the_door(tmp_path / "jvm", {"spark": {"master": "local[2]"}}, data, files)
    for part in PARTS:
        rows = [pq.read_table(folder / f"{part}.parquet").to_pylist() for folder in (on_sail, on_jvm)]
        assert rows[0] == rows[1]
        assert (on_sail / f"{part}.parquet").read_bytes() == (on_jvm / f"{part}.parquet").read_bytes()
    assert (on_sail / "report" / "steps.md").read_text() == (on_jvm / "report" / "steps.md").read_text()


def test_a_spark_connect_server_gives_the_same_rows(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", asked(50))
    with sail() as remote:
        one, two = (run(tmp_path / name, file, engine=engine, clean=["redact", "drop_duplicates"]) for name, engine in
                    (("1", "sail"), ("2", {"spark": {"remote": remote}})))  # fmt: skip
    assert one.files == two.files


def test_a_signal_that_was_survived_leaves_the_next_job_a_server(tmp_path: Path) -> None:
    """Sail listens for Ctrl-C too, and answers nothing afterwards."""
    file = jsonl(tmp_path / "a.jsonl", asked(10))
    before = run(tmp_path / "before", file)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert run(tmp_path / "after", file).files == before.files


def test_a_server_that_is_not_there_is_named_at_once_without_its_token(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    remote = f"sc://127.0.0.1:{port}/;token=hunter2"
    with pytest.raises(PlaceError, match=f"no Spark Connect server answers at sc://127.0.0.1:{port} ") as raised:
        run(tmp_path, jsonl(tmp_path / "a.jsonl", asked(5)), engine={"spark": {"remote": remote}})
    assert "hunter2" not in str(raised.value)


def test_spark_without_java_says_how_to_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(PlaceError, match="use `engine: sail`"):
        run(tmp_path, jsonl(tmp_path / "a.jsonl", asked(5)), engine="spark")


@pytest.mark.parametrize("options", [{"master": "local[2]", "remote": "sc://host"}, {"remote": "http://host"}, {"master": ""}])
def test_spark_is_reached_in_one_way(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Spark.model_validate(options)


@pytest.mark.parametrize("name", ["quickstart", "support-base", "support-bot"])
def test_the_rows_of_our_own_specs_are_clean_and_plenty(tmp_path: Path, name: str) -> None:
    data = yaml.safe_load((ROOT / "specs" / f"{name}.yaml").read_text(encoding="utf-8"))["data"]
    (source,) = data.pop("sources")
    done = run(tmp_path, ROOT / "specs" / source["path"], source=source, **data)
    text = json.dumps(done.rows, ensure_ascii=False)
    assert done.metrics["rows"] >= 600
    assert min(len(done.part(part)) for part in PARTS) >= 50
    assert not any(dirt in text for dirt in ("<", "&nbsp;", "  ", "\u00a0", "\u200b", ".example"))
    if data.get("template") == "context_qa":
        assert all(row["context"] for row in done.rows)


def test_the_script_writes_the_rows_that_are_committed(tmp_path: Path) -> None:
    shutil.copy(ROOT / "specs" / "data" / "make.py", tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "make.py")], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    assert len(made) == 3
    assert made == {name: (ROOT / "specs" / "data" / name).read_bytes() for name in made}
