"""What a serverless endpoint takes: one file, made of the artifact before its stack comes up, whole or not there."""

import dataclasses
import io
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import TINY, Project
from moto_parts import Moto, aws, aws_here
from serving_parts import eventually

from llmspec.copies import copies_of
from llmspec.errors import PlaceError
from llmspec.infra import archive, stacks
from llmspec.load import load
from llmspec.release import Release
from llmspec.shelf import MANIFEST, File, sha256_of
from llmspec.site import Site
from llmspec.store import Artifact, Manifest, Store, content_digest, remember_store

__all__ = ["aws", "aws_here"]
pytestmark = pytest.mark.aws
PLACES = "store: s3://{bucket}/bots\nregion: eu-central-1\nplaces: {{endpoint: {{sagemaker: {{{form}}}}}}}\n"
KEY = "a" * 64
CONTENT = {"model.onnx": random.Random(7).randbytes(20 * 2**20), "report/loss.svg": b"<svg/>", "tokenizer/vocab.txt": b"lamp"}
"""Random bytes stay as many: three parts of an upload."""
CHILD = """
import sys
from pathlib import Path
from llmspec.infra import archive
from llmspec.load import load
from llmspec.release import Release
archive.ready(load(Path(sys.argv[1])).place("endpoint").site, Release.from_json(sys.argv[2]))
"""


def site(aws: Moto, tmp_path: Path, patch: pytest.MonkeyPatch, form: str = "form: serverless") -> Site:
    """A product whose store is a bucket."""
    made = Project(tmp_path)
    patch.setenv("LLMSPEC_HOME", str(tmp_path / ".llmspec"))
    made.write(TINY + PLACES.format(bucket=aws.bucket(), form=form))
    return load(made.spec).place("endpoint").site


def released(where: Site, folder: Path) -> Release:
    """Of an artifact that is in the store."""
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = {name: File(sha256_of(folder / name), len(content)) for name, content in CONTENT.items()}
    manifest = Manifest("tiny", "onnx", KEY, content_digest(files), "export_onnx", 1, {}, {}, {}, files, {})
    at = where.store.below(f"tiny/onnx/{KEY}")
    at.put(folder, files, manifest.to_json())
    return Release(1, "tiny", "local", Artifact(at, manifest).uri, KEY, manifest.digest, "c", {})


def held(where: Site) -> dict[str, int]:
    """The archives in the store, with their sizes."""
    return {name: size for name, size in where.store.sizes().items() if name.endswith(".tar.gz")}


def content(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as found:
        return {member.name: found.extractfile(member).read() for member in found.getmembers()}  # type: ignore[union-attr]


def test_a_bucket_of_another_foundation_is_left_alone(aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = site(aws_here, tmp_path, monkeypatch)
    bucket = where.spec.store.removeprefix("s3://").partition("/")[0]
    stack = stacks.foundation_stack(where)
    stack.before(print)
    for name, target, free in (("tiny", where.target, True), ("other", "prod", False), ("tiny", "elsewhere", False)):
        tags = [{"Key": "llmspec:name", "Value": name}, {"Key": "llmspec:target", "Value": target}]
        aws_here.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
        if free:
            stack.before(print)
            continue
        with pytest.raises(PlaceError, match=rf"belongs to the foundation of {name} at {target}[^$]*a bucket of its own"):
            stack.before(print)
    aws_here.s3.delete_bucket(Bucket=bucket)
    stack.before(print)


def test_a_foundation_is_not_made_a_second_time_in_another_bucket(
    aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site(aws_here, tmp_path, monkeypatch)
    before.found({"bucket": "whatever"})
    remember_store("tiny", before.store)
    stacks.foundation_stack(before).before(print)
    now = site(aws_here, tmp_path, monkeypatch)
    with pytest.raises(
        PlaceError, match=rf"stands in {before.store.uri}, and would want the same names[^$]*store: {before.store.uri}"
    ):
        stacks.foundation_stack(now).before(print)
    before.leave()
    stacks.foundation_stack(now).before(print)
    elsewhere = now.spec.model_copy(update={"store": f"{before.spec.store}/of/it"})
    before.found({"bucket": "whatever"})
    stacks.foundation_stack(dataclasses.replace(now, spec=elsewhere)).before(print)


def test_it_holds_the_artifacts_files_and_is_made_once(aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, heard = site(aws_here, tmp_path, monkeypatch), list[str]()
    release = released(where, tmp_path / "made")
    archive.ready(where, release, heard.append)
    (name,) = held(where)
    assert archive.address(release) == f"{where.store.uri}/{name}"
    manifest = where.store.read(f"tiny/onnx/{KEY}/{MANIFEST}")
    assert manifest
    assert content(where.store.content(name)) == {**CONTENT, MANIFEST: manifest.encode()}
    assert len(heard) == 1
    before = len(aws_here.gate.asked)
    archive.ready(where, release, heard.append)
    assert [each.partition(" ")[0] for each in aws_here.gate.asked[before:]] == ["HEAD"]
    assert len(heard) == 1
    assert not list(copies_of("tiny").rglob("*.tar.gz"))


def test_nobody_takes_it_for_an_artifact(aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = site(aws_here, tmp_path, monkeypatch)
    archive.ready(where, released(where, tmp_path / "made"))
    store = Store(where.store)
    assert [artifact.manifest.key for artifact in store.artifacts("tiny", "onnx")] == [KEY]
    found = store.find("tiny", "onnx", KEY)
    assert found
    assert found.verify().uri.endswith(KEY)


def test_the_same_artifact_gives_the_same_bytes_whenever_and_wherever_it_is_packed(
    aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = site(aws_here, tmp_path, monkeypatch)
    release = released(where, tmp_path / "made")
    archive.ready(where, release)
    (name,) = held(where)
    first = where.store.content(name)
    where.store.remove(name)
    shutil.rmtree(copies_of("tiny"))
    archive.ready(where, release)
    assert where.store.content(name) == first


def test_killed_while_it_is_sent_it_is_not_there_and_only_the_rest_is_sent_again(
    aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, gate = site(aws_here, tmp_path, monkeypatch), aws_here.gate
    release, before = released(where, tmp_path / "made"), len(gate.asked)
    with (
        gate.closed(lambda asked: asked.startswith("POST") and ".tar.gz?uploadId" in asked, stand=True),
        subprocess.Popen([sys.executable, "-c", CHILD, str(where.file), release.to_json()]) as child,
    ):
        eventually(lambda: gate.reached.is_set() or child.poll() is not None, 60)
        child.kill()
        assert child.wait() == -9
    parts = [each for each in gate.asked[before:] if each.startswith("PUT") and "partNumber" in each]
    assert (len(parts), held(where)) == (3, {})
    before = len(gate.asked)
    archive.ready(where, release)
    assert not [each for each in gate.asked[before:] if each.startswith("PUT")]
    (name,) = held(where)
    assert content(where.store.content(name))["model.onnx"] == CONTENT["model.onnx"]


def test_the_service_stack_makes_it_before_anything_else_and_only_for_the_form_that_takes_it(
    aws_here: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "ready", lambda *_: None)  # the image
    for form, made in (("instance: ml.m7i.large", 0), ("form: serverless", 1)):
        where = site(aws_here, tmp_path, monkeypatch, form)
        stacks.service_stack(where, released(where, tmp_path / "made")).before(lambda _: None)
        assert len(held(where)) == made
    lost = Release(1, "tiny", "local", "/nowhere/onnx/k", KEY, "d", "c", {})
    stacks.service_stack(where, lost).before(lambda _: None)  # its program says that AWS cannot reach it
