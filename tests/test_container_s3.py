"""The door for a job in a container that reads and writes S3 itself: no channel, no volume, an address for everything."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from container_parts import worked
from serving_parts import eventually
from test_container_work import data_job, interrupted, training_job

from backends.work.kept import LAST, NAME, Kept
from llmspec import container
from llmspec.job import Job
from llmspec.shelf import File, Folder, Shelf, files_in, shelf_at
from llmspec.store import Artifact, open_artifact

if TYPE_CHECKING:
    from moto_parts import Moto

pytest_plugins = ["moto_parts"]
pytestmark = pytest.mark.aws


@dataclass(frozen=True)
class Handed:
    """A job in a bucket, and what its container is told."""

    aws: "Moto"
    bucket: str
    job: Job
    told: dict[str, str]

    @property
    def artifact(self) -> Artifact | None:
        return open_artifact(shelf_at(self.job.output, Path()))

    def keys(self, prefix: str) -> list[str]:
        return self.aws.keys(self.bucket, prefix)

    def run(self, base: Path, **more: str) -> tuple[int, str]:
        base.mkdir(exist_ok=True)
        return worked(base, **self.told, **more)


def hand_over(aws: "Moto", job: Job) -> Handed:
    """As a place does: the paper, and beside it the sources, and inputs that are not in the store."""
    bucket = aws.bucket()
    at = f"s3://{bucket}/llm/{job.spec}/jobs/{job.key}"
    for name, item in job.inputs.items():
        for path in filter(Path.is_file, Path(item.uri).rglob("*")):
            key = f"llm/{job.spec}/jobs/{job.key}/{name}/{path.relative_to(item.uri)}"
            aws.s3.upload_file(str(path), bucket, key)
    for _, path, place in container.source_files(job):
        aws.s3.upload_file(path, bucket, f"llm/{job.spec}/jobs/{job.key}/{container.SOURCES}/{place}")
    job = replace(job, output=f"s3://{bucket}/llm/{job.spec}/{job.stage}/{job.key}")
    aws.s3.put_object(Bucket=bucket, Key=f"llm/{job.spec}/jobs/{job.key}/job/job.json", Body=job.to_json().encode())
    told = {container.JOB: f"{at}/job/job.json", container.OUTPUT: job.output, **aws.env}
    return Handed(aws, bucket, job, told)


@pytest.fixture
def handed(aws_here: "Moto", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handed:
    return hand_over(aws_here, data_job(tmp_path / "shop", monkeypatch))


def test_a_data_job_comes_from_s3_and_its_artifact_is_sealed_there_under_the_buckets_key(handed: Handed, tmp_path: Path) -> None:
    handed.aws.gate.asked.clear()
    code, said = handed.run(tmp_path / "ml")
    assert code == 0, said
    made = handed.artifact
    assert made
    manifest = made.verify().manifest
    assert (manifest.key, manifest.sources) == (handed.job.key, handed.job.files)
    there = [key for key in handed.keys("llm/tiny/data/") if not key.endswith("/.lock")]
    assert {key.rpartition(f"{handed.job.key}/")[2] for key in there} == {*manifest.files, "manifest.json"}
    for key in there:
        assert handed.aws.s3.head_object(Bucket=handed.bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    written = [asked for asked in handed.aws.gate.asked if asked.startswith("PUT") and "/data/" in asked]
    assert written[-1].endswith("manifest.json"), "it vouches for what is there before it"


def test_a_second_start_finds_the_artifact_in_the_store_and_does_nothing(handed: Handed, tmp_path: Path) -> None:
    assert handed.run(tmp_path / "ml")[0] == 0
    assert (before := handed.artifact)
    code, said = handed.run(tmp_path / "again")
    assert (code, "already" in said, "steps" in said) == (0, True, False), said
    assert (after := handed.artifact)
    assert after.manifest == before.manifest


def test_a_source_that_changed_on_its_way_is_named_and_nothing_is_written(handed: Handed, tmp_path: Path) -> None:
    key = next(key for key in handed.keys("") if key.endswith("more.jsonl"))
    handed.aws.s3.put_object(Bucket=handed.bucket, Key=key, Body=b"{}")
    code, said = handed.run(tmp_path / "ml")
    assert code == 1
    assert "more.jsonl is not the file that the job was planned with" in said
    assert not handed.keys("llm/tiny/data/")


def test_without_a_paper_at_the_address_the_cure_is_said(handed: Handed, tmp_path: Path) -> None:
    handed.aws.s3.delete_object(Bucket=handed.bucket, Key=handed.told[container.JOB].partition(f"{handed.bucket}/")[2])
    code, said = handed.run(tmp_path / "ml")
    assert code == 1
    assert f"no job at {handed.told[container.JOB]}: apply again" in said


def test_sent_halfway_it_is_sent_again_and_only_then_counts(handed: Handed, tmp_path: Path) -> None:
    with handed.aws.gate.closed(lambda asked: asked.startswith("PUT") and "manifest.json" in asked):
        code, said = handed.run(tmp_path / "ml")
    assert (code, "access denied" in said) == (1, True)
    assert handed.artifact is None
    code, said = handed.run(tmp_path / "ml")
    assert code == 0, said
    assert "steps" not in said, "what was made before is only sent"
    assert handed.artifact


def test_a_training_without_a_volume_goes_on_from_s3_on_another_machine(aws_here: "Moto", tmp_path: Path) -> None:
    training = training_job(tmp_path / "parts")
    handed = hand_over(aws_here, training)
    prefix = f"llm/test/checkpoints/{handed.job.key}"
    told = {**handed.told, container.CHECKPOINTS: f"s3://{handed.bucket}/{prefix}"}
    (tmp_path / "ml").mkdir()
    code, said = interrupted(tmp_path / "ml", training, signal.SIGTERM, **told)
    assert (code, "is kept" in said) == (143, True), said
    assert handed.artifact is None
    assert f"{prefix}/last" in handed.keys(prefix)
    (tmp_path / "again").mkdir()
    code, said = worked(tmp_path / "again", **told)
    assert (code, "going on from the checkpoint at step" in said) == (0, True), said
    assert handed.artifact
    assert not handed.keys(prefix), "what is done needs none"


def test_while_the_work_goes_on_its_checkpoints_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.work.kept.LOOK_SECONDS", 0.01)
    shelf = Folder(tmp_path / "shelf")
    with Kept(shelf, tmp_path / "grown").watching():
        for text in ("one", "two"):
            write(tmp_path / "grown", text)
            eventually(lambda text=text: restored(shelf, tmp_path / "elsewhere") == text)
    assert len(list((tmp_path / "shelf").rglob(LAST))) == 1, "an earlier one is not paid for"


def test_what_is_being_sent_is_no_part_of_the_artifact_that_may_be_sealed_meanwhile(tmp_path: Path) -> None:
    seen: list[str] = []

    class Looking(Folder):
        def put(self, source: Path, files: Mapping[str, File], manifest: str) -> None:
            seen.extend(files_in(tmp_path / "grown"))
            super().put(source, files, manifest)

        def below(self, name: str) -> Shelf:
            return Looking(self.path / name)

    write(tmp_path / "grown", "one")
    Kept(Looking(tmp_path / "shelf"), tmp_path / "grown").save()
    assert seen == [f"{NAME}/{LAST}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grown", "shelf"]


def test_a_checkpoint_that_is_half_sent_leaves_the_one_before(tmp_path: Path) -> None:
    shelf, grown = Folder(tmp_path / "shelf"), tmp_path / "grown"
    first = Kept(shelf, grown)
    write(grown, "one")
    first.save()
    write(grown, "two")
    broken = Kept(Torn(tmp_path / "shelf"), grown)
    with pytest.raises(OSError, match="gone"):
        broken.save()
    assert restored(shelf, tmp_path / "elsewhere") == "one"


def test_a_checkpoint_with_other_bytes_is_worth_nothing(tmp_path: Path) -> None:
    kept = Kept(Folder(tmp_path / "shelf"), tmp_path / "grown")
    write(tmp_path / "grown", "one")
    kept.save()
    (file,) = (tmp_path / "shelf").rglob(LAST)
    file.write_text("eno")
    assert not Kept(Folder(tmp_path / "shelf"), tmp_path / "elsewhere").restore()
    assert not (tmp_path / "elsewhere" / "checkpoint").exists()


def restored(shelf: Folder, grown: Path) -> str:
    return (grown / "checkpoint" / LAST).read_text() if Kept(shelf, grown).restore() else ""


class Torn(Folder):
    """The machine is taken away between the files and the word that they are the last."""

    def write(self, name: str, text: str, over: str | None = None) -> None:
        raise OSError("gone")


def write(grown: Path, text: str) -> None:
    folder = grown / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "next").write_text(text)
    (folder / "next").replace(folder / LAST)
