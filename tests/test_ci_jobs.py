"""The workflow's jobs, really run: bash, git, jq and llmspec are real, GitHub is a file, AWS is moto."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_rows
from moto_parts import Moto, aws  # noqa: F401  (a fixture)
from product_in_aws_parts import spec as in_aws
from pulumi_engine_parts import engine_in
from runner_parts import ROLE, Runner, commit, jobs, repository
from test_ci_workflow import LAPTOP, SHOP

from llmspec.ci.github_role import credentials, token
from llmspec.cli import main
from llmspec.errors import PlaceError

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="GitHub's runners have jq")
COMMENTS = "repos/acme/shop/issues/12/comments"
ISSUES = "repos/acme/shop/issues"
RELEASE = "repos/pulumi/pulumi/releases/tags/v3.272.0"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = repository(tmp_path, {"shop.yaml": SHOP, "laptop.yaml": LAPTOP})
    monkeypatch.chdir(made)
    monkeypatch.delenv("LLMSPEC_HOME", raising=False)
    assert main(["ci", "shop.yaml"]) == 0
    commit(made)
    return made


def runner(shop: Path, name: str = "runner") -> Runner:
    return Runner.at(shop.parents[1] / name, shop)


def bodies(run: Runner, where: str) -> list[str]:
    return [each["body"] for each in run.github["things"].get(where, {}).values()]


def test_a_pull_request_without_a_role_gets_one_comment_with_what_happens_why_and_what_it_costs(shop: Path) -> None:
    run = runner(shop)
    assert run.job(jobs(shop)["plan"]) == []
    (body,) = bodies(run, COMMENTS)
    assert body.startswith("<!-- llmspec plan prod -->\n### llmspec plan: shop, target prod\n")
    assert "> Planned without looking: neither the store nor a cloud was asked" in body
    assert re.search(r"\| \+ \| model \| run \| nothing was made yet \| about \d+ min · [\d.]+ GB \|", body)
    assert "| endpoint | sagemaker ml.m7i.xlarge |" in body or "endpoint: sagemaker ml.m7i.xlarge in us-east-1" in body
    assert body in run.text("summary")
    assert run.text("github.json.pip").split()[-1] == "./wheels/llmspec-0.1.0-py3-none-any.whl[aws]"


def test_the_comment_is_updated_in_place_and_nobody_else_s_is_touched(shop: Path) -> None:
    run, job = runner(shop), jobs(shop)["plan"]
    stranger = {"id": 7, "user": {"login": "mallory"}, "state": "open", "body": "<!-- llmspec plan prod -->\nmine"}
    state = run.github | {"things": {COMMENTS: {f"{ISSUES}/comments/7": stranger}}}
    run.held.write_text(json.dumps(state))
    comment = job["steps"][-1]
    assert run.job(job) == []
    first = bodies(run, COMMENTS)
    (run.folder / "temp" / "report.md").write_text("<!-- llmspec plan prod -->\nanother plan\n")
    assert run.step(comment).returncode == 0
    second = bodies(run, COMMENTS)
    assert first[0] == second[0] == stranger["body"]
    assert (len(first), second[1]) == (2, "<!-- llmspec plan prod -->\nanother plan\n")


def test_a_spec_that_is_wrong_fails_the_job_and_the_comment_says_why(shop: Path) -> None:
    (shop / "shop.yaml").write_text(SHOP.replace("sagemaker: {instance: ml.g5.xlarge", "sagemkaer: {instance: ml.g5.xlarge"))
    commit(shop)
    run = runner(shop)
    assert run.job(jobs(shop)["plan"]) == ["Validate and plan"]
    (body,) = bodies(run, COMMENTS)
    assert "### llmspec: there is no plan" in body
    assert "did you mean 'sagemaker'?" in body


def test_a_fork_is_planned_into_the_summary_and_asks_github_for_nothing(shop: Path) -> None:
    run = runner(shop)
    assert run.job(jobs(shop)["plan-of-a-fork"]) == []
    assert "A fork's pull request gets no role" in run.text("summary")
    assert "| + | model | run |" in run.text("summary")
    assert run.github["asked"] == []


def test_a_name_that_would_be_a_command_is_only_a_name(shop: Path) -> None:
    text = SHOP + "description: '$(touch /tmp/pwned) `touch pwned` @everyone <img src=x> ${{ github.token }}'\n"
    (shop / "shop.yaml").write_text(text.replace("${{", "$${{"))
    commit(shop)
    run = runner(shop)
    run.env["GITHUB_HEAD_REF"] = "$(touch pwned)"
    assert run.job(jobs(shop)["plan"]) == []
    assert not list(run.folder.rglob("pwned"))


def test_another_wheel_than_the_one_that_was_read_is_not_installed(shop: Path) -> None:
    next((shop / "wheels").iterdir()).write_bytes(b"another wheel")
    commit(shop)
    run = runner(shop)
    assert run.job(jobs(shop)["plan"]) == ["Install llmspec 0.1.0"]
    assert not (run.folder / "github.json.pip").exists()


def pulumi_step(shop: Path) -> dict[str, Any]:
    return next(step for step in jobs(shop)["apply"]["steps"] if "Pulumi" in step["name"])


def test_pulumi_is_unpacked_only_when_it_has_the_sum_that_github_knows(shop: Path) -> None:
    run = runner(shop)
    name = "pulumi-v3.272.0-linux-x64.tar.gz"
    run.answers(RELEASE, {"assets": [{"name": "other", "digest": "sha256:00"}, {"name": name, "digest": f"sha256:{run.pulumi()}"}]})
    done = run.step(pulumi_step(shop))
    assert done.returncode == 0, done.stderr
    assert "keep it: llmspec ci --pulumi-sha256" in done.stdout
    assert run.text("path").strip() == f"{run.folder}/temp/pulumi"
    run = runner(shop, "second")
    run.answers(RELEASE, {"assets": [{"name": name, "digest": f"sha256:{run.pulumi()}"}]})
    run.pulumi(b"#!/bin/bash\necho evil\n")
    assert run.step(pulumi_step(shop)).returncode != 0
    assert run.text("path") == ""
    assert not (run.folder / "temp" / "pulumi").exists()


def test_pulumi_of_a_release_that_nobody_knows_is_not_unpacked(shop: Path) -> None:
    run = runner(shop)
    run.pulumi()
    run.answers(RELEASE, {"assets": []})
    assert run.step(pulumi_step(shop)).returncode != 0
    assert run.text("path") == ""


@pytest.mark.parametrize(("rules", "code"), [(["wait_timer", "required_reviewers"], 0), (["wait_timer"], 1), ([], 1)])
def test_nothing_is_applied_from_an_environment_that_asks_nobody(shop: Path, rules: list[str], code: int) -> None:
    run = runner(shop)
    run.answers("repos/acme/shop/environments/prod", {"protection_rules": [{"type": rule} for rule in rules]})
    assert run.step(jobs(shop)["apply"]["steps"][0]).returncode == code


def test_without_a_role_the_branch_is_neither_planned_nor_looked_at(shop: Path) -> None:
    for name in ("plan-of-the-branch", "drift"):
        assert runner(shop, name).job(jobs(shop)[name]) == ["Take on the role in AWS"]


def laptop_step(shop: Path, job: str, name: str) -> dict[str, Any]:
    """A step, about the spec that can be planned and looked at here."""
    step = next(step for step in jobs(shop)[job]["steps"] if step["name"].startswith(name))
    return step | {"run": step["run"].replace("shop.yaml", "laptop.yaml").replace(" --target prod", " --target local")}


def ready(shop: Path, name: str = "runner") -> Runner:
    run = runner(shop, name)
    for step in jobs(shop)["plan"]["steps"][:2]:
        assert run.step(step).returncode == 0
    return run


def test_the_fingerprint_of_what_is_pending_is_handed_to_the_job_that_applies_and_a_stale_one_is_refused(shop: Path) -> None:
    run = ready(shop)
    done = run.step(laptop_step(shop, "plan-of-the-branch", "Plan"))
    assert done.returncode == 0, done.stderr
    name, _, fingerprint = run.text("output").strip().partition("=")
    assert name == "fingerprint"
    assert f"--plan {fingerprint}" in run.text("summary")
    (run.folder / "work" / "laptop.yaml").write_text(LAPTOP + "description: another\n")
    run.env["PLAN1"] = fingerprint
    done = run.step(laptop_step(shop, "apply", "Apply"))
    assert done.returncode == 2
    assert "the saved plan is stale" in done.stderr
    assert not list((run.folder / "work").rglob("manifest.json"))


def test_drift_opens_one_issue_keeps_it_current_and_closes_it(shop: Path) -> None:
    run = ready(shop)
    look, tell = laptop_step(shop, "drift", "Look"), laptop_step(shop, "drift", "One issue")
    for _ in range(2):
        assert [run.step(step).returncode for step in (look, tell)] == [0, 0]
    (body,) = bodies(run, ISSUES)
    assert body.startswith("<!-- llmspec drift prod -->\nWhat runs at prod is not what main says.")
    assert "`llmspec plan laptop.yaml` ended with 3:" in body
    assert "      + model        run          nothing was made yet" in body
    (run.folder / "temp" / "found.md").write_text("")
    assert run.step(tell).returncode == 0
    (issue,) = run.github["things"][ISSUES].values()
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    assert run.step(tell).returncode == 0
    assert len(bodies(run, ISSUES)) == 1


@pytest.mark.aws
@pytest.mark.slow
def test_what_was_changed_by_hand_in_aws_is_seen_at_night_and_told_in_the_issue(
    tmp_path: Path,
    aws: Moto,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = repository(tmp_path, {"tiny.yaml": in_aws(), "rows.jsonl": tiny_rows()})
    monkeypatch.chdir(made)
    monkeypatch.delenv("LLMSPEC_HOME", raising=False)
    assert main(["ci", "tiny.yaml", "--target", "prod"]) == 0
    commit(made)
    engine = engine_in(tmp_path / "engine")
    monkeypatch.setenv("PATH", engine.env["PATH"])
    run = ready(made)
    run.env |= {**engine.env, **aws.env}
    done = run.step({"run": "llmspec apply tiny.yaml --target prod --select data --yes"})
    assert done.returncode == 0, done.stdout + done.stderr
    look, tell = jobs(made)["drift"]["steps"][-2:]
    status = "`llmspec status tiny.yaml --drift` ended with"

    def night() -> str:
        assert [run.step(step).returncode for step in (look, tell)] == [0, 0]
        return "\n".join(bodies(run, ISSUES))

    assert status not in night()
    network = next(engine.cloud.glob("ec2.vpc.Vpc/*.json"))
    network.write_text(json.dumps(json.loads(network.read_text()) | {"enableDnsSupport": False}))
    issue = night()
    assert f"{status} 3:" in issue
    assert "drift        foundation: update aws:ec2/vpc:Vpc" in issue
    assert "enableDnsSupport" in issue


class Identity(BaseHTTPRequestHandler):
    """GitHub's door for a job's token."""

    def do_GET(self) -> None:
        good = self.headers["Authorization"] == "bearer of this job" and self.path == "/token?v=1&audience=sts.amazonaws.com"
        body = json.dumps({"value": "a.word.of-github"} if good else {"message": "no"}).encode()
        self.send_response(200 if good else 403)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def identity() -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Identity)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/token?v=1"
    yield {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of this job"}
    server.shutdown()
    server.server_close()


@pytest.mark.aws
def test_a_job_is_the_role_and_holds_no_key(shop: Path, aws: Moto, identity: dict[str, str]) -> None:  # noqa: F811
    run = ready(shop)
    run.given["vars.LLMSPEC_ROLE_PROD"] = ROLE
    done = run.step(next(step for step in jobs(shop)["apply"]["steps"] if "role" in step["name"]))
    assert done.returncode == 0, done.stderr
    run.env |= {"AWS_ENDPOINT_URL": aws.url, "AWS_EC2_METADATA_DISABLED": "true", **identity}
    ask = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    done = run.step({"run": f'{sys.executable} -c "{ask}"'})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "arn:aws:sts::123456789012:assumed-role/shop-deploy/github-77"
    kept = [path for path in run.folder.rglob("*") if path.is_file() and b"SecretAccessKey" in path.read_bytes()]
    assert kept == []


def test_what_is_no_role_is_refused(shop: Path) -> None:
    run = runner(shop)
    run.given["vars.LLMSPEC_ROLE_PROD"] = "arn:aws:iam::123456789012:user/root\nPATH=/tmp"
    assert run.step(next(step for step in jobs(shop)["plan"]["steps"] if "role" in step["name"])).returncode != 0
    assert run.text("env") == ""


def test_a_job_without_an_identity_is_told_what_to_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    done = subprocess.run(
        [sys.executable, "-m", "llmspec.ci.github_role"], env={"LLMSPEC_ROLE": ROLE}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "permissions: {id-token: write}" in done.stderr


def test_github_s_no_is_told(identity: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", identity["ACTIONS_ID_TOKEN_REQUEST_URL"])
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of another job")
    with pytest.raises(PlaceError, match="GitHub did not say who this job is: HTTP Error 403"):
        token()


@pytest.mark.aws
def test_aws_s_no_names_the_role_and_its_trust(aws: Moto, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    with (
        aws.gate.closed(lambda asked: True),
        pytest.raises(PlaceError, match=r"does not let this job be .*\n.*its trust must name"),
    ):
        credentials(ROLE, "a.word.of-github")
