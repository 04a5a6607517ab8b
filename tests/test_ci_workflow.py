"""The workflow that `llmspec ci` writes: what is in it, what each job may, and that nobody's edit is lost."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from runner_parts import repository
from test_policy import CLEAN

from llmspec.ci.steps import PULUMI
from llmspec.ci.written import FILE
from llmspec.cli import COMMANDS, main

SHOP = CLEAN.replace("  prod: {}", "  prod: {store: 's3://acme-llm/bots'}").replace("eu-central-1", "us-east-1")
LAPTOP = "llmspec: 1\nname: laptop\ndata: {sources: [{path: faq.jsonl}]}\nmodel: {base: {scratch: tiny}}\n"
PERMISSIONS = {
    "plan": {"contents": "read", "id-token": "write", "pull-requests": "write"},
    "plan-of-a-fork": {"contents": "read"},
    "plan-of-the-branch": {"contents": "read", "id-token": "write"},
    "apply": {"actions": "read", "contents": "read", "id-token": "write"},
    "drift": {"contents": "read", "id-token": "write", "issues": "write"},
}
KEYS = {
    "workflow": ({"name", True, "permissions", "defaults", "jobs"}, {"env"}),
    "job": (
        {"runs-on", "timeout-minutes", "permissions", "steps", "if"},
        {"environment", "concurrency", "env", "needs", "outputs"},
    ),
    "step": ({"name", "run"}, {"id", "if", "env"}),
}
"""GitHub's names for what we use: those that must be there, and those that may. YAML reads `on` as true."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = repository(
        tmp_path, {"shop.yaml": SHOP, "second.yaml": SHOP.replace("name: shop", "name: second"), "laptop.yaml": LAPTOP}
    )
    monkeypatch.chdir(made)
    monkeypatch.delenv("LLMSPEC_HOME", raising=False)
    return made


def written(*words: str) -> dict[Any, Any]:
    assert main(["ci", *words]) == 0
    found = yaml.safe_load(FILE.read_text())
    assert isinstance(found, dict)
    return found


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_it_has_the_shape_that_github_reads(shop: Path) -> None:
    made = written("shop.yaml", "second.yaml", "--target", "prod")

    def named(what: str, found: dict[Any, Any]) -> None:
        must, may = KEYS[what]
        assert must <= set(found) <= must | may, (what, set(found))

    named("workflow", made)
    assert set(made[True]) == {"pull_request", "push", "schedule", "workflow_dispatch"}
    for name, job in made["jobs"].items():
        named("job", job)
        assert re.fullmatch(r"[a-z][a-z-]*", name)
        assert 0 < job["timeout-minutes"] <= 360
        assert job.get("needs", name) in made["jobs"]
        ids = [step["id"] for step in job["steps"] if "id" in step]
        assert len(ids) == len(set(ids))
    for step in steps(made):
        named("step", step)
        assert all(isinstance(value, str) for value in step.get("env", {}).values())


def test_each_job_may_do_what_it_does_and_no_more(shop: Path) -> None:
    made = written("shop.yaml")
    assert made["permissions"] == {}
    assert {name: job["permissions"] for name, job in made["jobs"].items()} == PERMISSIONS


def test_only_the_approved_environment_applies_and_one_apply_at_a_time(shop: Path) -> None:
    jobs = written("shop.yaml")["jobs"]
    assert [name for name, job in jobs.items() if job.get("environment") == "prod"] == ["apply"]
    assert jobs["apply"]["concurrency"] == {"group": "llmspec-prod", "cancel-in-progress": False}
    assert [name for name, job in jobs.items() if "llmspec apply" in json.dumps(job)] == ["apply"]
    assert "github.ref == 'refs/heads/main'" in jobs["plan-of-the-branch"]["if"]


def test_it_works_in_the_environment_that_the_role_trusts(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deploy = "  deploy: {github: acme/shop, environment: live}\n"
    (shop / "live.yaml").write_text(SHOP.replace("store:", f"{deploy}store:", 1).replace("name: shop", "name: live"))
    jobs = written("live.yaml")["jobs"]
    assert {name: job.get("environment") for name, job in jobs.items()} == {
        "plan": "live-plan",
        "plan-of-a-fork": None,
        "plan-of-the-branch": "live-plan",
        "apply": "live",
        "drift": "live-plan",
    }
    assert "/environments/live" in json.dumps(jobs["apply"])
    said = capsys.readouterr()
    assert "\n  live: reviewers" in said.out
    assert "No role for GitHub" not in said.err
    assert main(["ci", "live.yaml", "shop.yaml", "--force"]) == 2
    assert "one workflow is for one environment of GitHub, and these have live, prod" in capsys.readouterr().err
    written("shop.yaml", "--force")
    assert "No role for GitHub is asked for, and so none is made: shop.yaml.\n  add `governance: {deploy" in capsys.readouterr().err


def test_a_fork_gets_no_role_no_secret_and_no_variable(shop: Path) -> None:
    job = written("shop.yaml")["jobs"]["plan-of-a-fork"]
    assert "environment" not in job
    assert job["env"] == {"OFFLINE": "1"}
    assert "secrets." not in json.dumps(job)
    assert "LLMSPEC_ROLE" not in json.dumps(job)


def test_nothing_of_github_s_is_read_as_a_line_of_shell_and_no_action_of_anybody_s_is_used(shop: Path) -> None:
    text = written("shop.yaml", "second.yaml")
    assert [step["name"] for step in steps(text) if "${{" in step["run"]] == []
    assert [step["name"] for step in steps(text) if "uses" in step] == []


def test_every_shell_block_is_shell(shop: Path) -> None:
    for step in steps(written("shop.yaml", "second.yaml")):
        done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), step["name"]


@pytest.mark.parametrize("offline", ["", "1"])
def test_every_llmspec_line_is_one_that_llmspec_understands(
    shop: Path, offline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = re.findall(
        r"^ *(?:code=0; )?llmspec ([^|>\n]*)", "\n".join(step["run"] for step in steps(written("shop.yaml"))), re.MULTILINE
    )
    assert len(lines) >= 9
    asked: list[str] = []
    for name in COMMANDS:  # the real parser of each command, which then only says what it was asked
        monkeypatch.setattr(f"llmspec.cli.{name}.run", lambda args: asked.append(args.command) or 0)
    for line in lines:
        env = {**os.environ, "OFFLINE": offline, "PLAN1": "f" * 64, "RUNNER_TEMP": "/t"}
        words = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], env=env, capture_output=True, text=True, check=True)
        assert ("--offline" in words.stdout) == (bool(offline) and "markdown" in line and "--out" not in line)
        assert main(words.stdout.splitlines()) == 0
    assert {"validate", "plan", "apply", "status"} == set(asked)


def test_what_the_spec_reads_comes_from_github_and_secrets_only_to_what_applies(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNER", "team:shop")
    more = "owner: ${env.OWNER}\ndescription: At ${env.HOME}\n"
    hook = "monitors: {notify: {webhook: 'https://hooks.acme.example/${secret.HOOK}'}}\n"
    text = re.sub(r"monitors:\n(  .*\n)+", hook, SHOP)
    (shop / "shop.yaml").write_text(text + more)
    made = written("shop.yaml")
    assert made["env"] == {"OWNER": "${{ vars.OWNER }}"}
    holding = [step["name"] for step in steps(made) if "secrets.HOOK" in json.dumps(step)]
    assert holding == ["Apply shop.yaml, if it is still what was approved"]


def test_a_product_that_a_runner_cannot_apply_is_only_checked_and_that_is_said(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, why = written("laptop.yaml", "--force"), "serves on the machine that applies it"
    assert set(made["jobs"]) == {"plan", "plan-of-a-fork"}
    assert "id-token" not in FILE.read_text()
    assert why in capsys.readouterr().err
    assert why in FILE.read_text()
    shutil.copy(ROOT / "specs" / "aws-eks.yaml", shop / "aws-eks.yaml")
    assert set(written("aws-eks.yaml", "--target", "prod", "--force")["jobs"]) == {"plan", "plan-of-a-fork"}
    assert "serves at eks, whose roles reach beyond what a pipeline may make: people deploy it" in capsys.readouterr().err


def test_a_job_that_may_outlast_its_runner_is_told_with_what_to_do(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "short.yaml").write_text(SHOP.replace("spot: true", "spot: true, max_runtime: 5h").replace("name: shop", "name: short"))
    assert written("short.yaml")["jobs"]["apply"]["timeout-minutes"] == 350
    assert "max_runtime" not in capsys.readouterr().err
    written("shop.yaml", "--force")
    said = capsys.readouterr().err
    assert "A runner lives 350 minutes, and these may run longer, by their max_runtime: shop.yaml: model, 24h." in said
    assert "run the workflow again, which goes on with the same job" in said


def test_pulumi_and_llmspec_are_pinned(shop: Path) -> None:
    text = json.dumps(written("shop.yaml", "--pulumi-sha256", "ab" * 32))
    assert f'"PULUMI": "{PULUMI}", "SHA256": "{"ab" * 32}"' in text
    lock = (Path(__file__).parents[1] / "requirements.lock").read_text()
    assert f"\npulumi=={PULUMI}\n" in lock
    wheel = next((shop / "wheels").iterdir())
    assert text.count("sha256sum --check --strict") == 2 * len(PERMISSIONS) - 1  # each checks the wheel, all but a fork's Pulumi
    with wheel.open("ab") as file:
        file.write(b"!")
    assert main(["ci", "--check"]) == 3


def test_an_edit_is_kept_until_somebody_insists(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("shop.yaml")
    FILE.write_text(FILE.read_text().replace("timeout-minutes: 20", "timeout-minutes: 25"))
    edited = FILE.read_text()
    assert main(["ci", "shop.yaml"]) == 2
    assert "was edited" in capsys.readouterr().err
    assert FILE.read_text() == edited
    written("shop.yaml", "--force")
    assert FILE.read_text() != edited


def test_somebody_else_s_file_is_kept(shop: Path) -> None:
    FILE.parent.mkdir(parents=True)
    FILE.write_text("name: ours\n")
    assert main(["ci", "shop.yaml"]) == 2
    assert FILE.read_text() == "name: ours\n"


def test_check_says_whether_it_is_current_and_writes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def state(*words: str) -> tuple[int, str]:
        code = main(["ci", *words, "--check", "-o", "json"])
        return code, json.loads(capsys.readouterr().out)["state"]

    assert state("shop.yaml") == (3, "missing")
    assert not FILE.exists()
    written("shop.yaml")
    capsys.readouterr()
    assert state("shop.yaml") == (0, "current")
    assert state("second.yaml") == (3, "outdated")
    FILE.write_text(FILE.read_text() + "# mine\n")
    assert state("shop.yaml") == (3, "edited")


def test_without_words_it_is_brought_up_to_date_as_it_was_asked_for(shop: Path) -> None:
    written("shop.yaml", "--branch", "release", "--no-approval")
    before = FILE.read_text()
    assert shlex.split(before.splitlines()[1])[3:] == ["shop.yaml", "--target", "prod", "--branch", "release", "--no-approval"]
    assert main(["ci", "--check"]) == 0
    assert written()["jobs"]["apply"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert FILE.read_text() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nope.yaml"], "nope.yaml"),
        (["shop.yaml", "--target", "nope"], "no target named 'nope'"),
        (["shop.yaml", "--wheel", "x.whl"], "is no wheel of llmspec"),
        (["shop.yaml", "--pulumi-sha256", "12"], "a sha256 is 64 digits"),
        (["shop.yaml", "--branch", "a;b"], "cannot stand in a workflow"),
        (["shop.yaml", "laptop.yaml"], "one workflow is for one target"),
        ([], "no spec in specs/ serves in AWS"),
    ],
)
def test_what_cannot_be_written_is_refused_with_a_cure(
    shop: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ci", *words]) == 2
    assert says in capsys.readouterr().err
    assert not FILE.exists()


def test_below_the_top_of_the_repository_it_is_refused(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop / "wheels")
    assert main(["ci", "../shop.yaml"]) == 2
    assert f"cd {shop}" in capsys.readouterr().err
