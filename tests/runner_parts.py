"""GitHub's runner as far as our workflow needs it: steps are really run by bash, with a `gh` that keeps comments in a file."""

import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT

from llmspec import __version__

ROLE = "arn:aws:iam::123456789012:role/shop-deploy"

GH = '''\
"""GitHub's `gh`, as far as the workflow asks it: what it holds is in a JSON file, and `--jq` is jq's."""
import json, os, subprocess, sys
from pathlib import Path

held = Path(os.environ["GH_HELD"])
state = json.loads(held.read_text())
words = sys.argv[1:]
assert os.environ.get("GH_TOKEN") == "a token of this job", "gh was called without its token"
if words == ["auth", "setup-git"]:
    sys.exit(0)
assert words.pop(0) == "api"
method, query, fields, silent, path = "GET", "", {}, False, ""
while words:
    word = words.pop(0)
    if word == "--method":
        method = words.pop(0)
    elif word == "--jq":
        query = words.pop(0)
    elif word in ("-F", "-f"):
        name, _, value = words.pop(0).partition("=")
        fields[name] = Path(value[1:]).read_text() if word == "-F" and value.startswith("@") else value
    elif word in ("--silent", "--paginate"):
        silent = silent or word == "--silent"
    else:
        assert not path, word
        path = word.partition("?")[0]
state["asked"].append(f"{method} {path}")
things = state["things"]
if method == "POST":
    number = 1 + max([int(key.rpartition("/")[2]) for found in things.values() for key in found] or [100])
    assert len(fields["body"]) <= 65536
    where = path.rsplit("/", 2)[0] + "/comments" if path.endswith("/comments") else path
    made = {"id": number, "number": number, "user": {"login": "github-actions[bot]"}, "state": "open", **fields}
    things.setdefault(path, {})[f"{where}/{number}"] = made
elif method == "PATCH":
    found = next(found[path] for found in things.values() if path in found)
    found.update(fields)
else:
    answer = state["answers"].get(path)
    if answer is None:
        answer = [each for each in things.get(path, {}).values() if each["state"] == "open"]
    done = subprocess.run(["jq", "-r", query], input=json.dumps(answer), text=True, capture_output=True, check=True)
    sys.stdout.write(done.stdout)
held.write_text(json.dumps(state))
'''

PYTHON = '''\
"""Makes a "virtual environment" without asking an index: its Python is this one, and pip only says what it was asked for."""
import os, sys
from pathlib import Path

real = {real!r}
if sys.argv[1:3] == ["-m", "venv"]:
    folder = Path(sys.argv[3]) / "bin"
    folder.mkdir(parents=True)
    for name, line in {{"python": '[ "$1 $2" = "-m pip" ] && echo "$@" >> "$GH_HELD.pip" && exit 0; exec ' + real + ' "$@"',
                        "llmspec": "exec " + real + ' -P -m llmspec "$@"'}}.items():
        (folder / name).write_text("#!/bin/bash\\n" + line + "\\n")
        (folder / name).chmod(0o755)
else:
    os.execv(real, [real, *sys.argv[1:]])
'''
CURL = '#!/bin/bash\nwhile [ $# -gt 0 ]; do [ "$1" = --output ] && out=$2; shift; done\ncp "$FETCHED" "$out"\n'


def executable(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@dataclass
class Runner:
    """One machine of GitHub's, for one job."""

    folder: Path
    repository: Path
    """`…/acme/shop`: what `git fetch` finds."""
    env: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    """What GitHub fills in, by expression."""

    @classmethod
    def at(cls, folder: Path, repository: Path) -> "Runner":
        made = cls(folder, repository)
        for name in ("work", "temp", "bin"):
            (folder / name).mkdir(parents=True)
        made.held.write_text(json.dumps({"asked": [], "things": {}, "answers": {}}))
        head = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        executable(folder / "bin" / "gh", f"#!{sys.executable}\n{GH}")
        executable(folder / "bin" / "python3", f"#!{sys.executable}\n{PYTHON.format(real=sys.executable)}")
        executable(folder / "bin" / "curl", CURL)
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("LLMSPEC", "DAGSTER", "AWS", "GITHUB"))}
        made.env = keep | {
            "PYTHONPATH": str(ROOT),
            "GH_HELD": str(made.held),
            "RUNNER_TEMP": str(folder / "temp"),
            "GITHUB_ENV": str(folder / "env"),
            "GITHUB_PATH": str(folder / "path"),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GITHUB_SERVER_URL": f"file://{repository.parents[1]}",
            "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_REF_NAME": "main",
            "GITHUB_RUN_ID": "77",
            "GITHUB_SHA": head.stdout.strip(),
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        }
        made.given = {"github.token": "a token of this job", "github.event.pull_request.number": "12"}
        for name in ("env", "path", "output", "summary"):
            (folder / name).touch()
        return made

    @property
    def held(self) -> Path:
        return self.folder / "github.json"

    @property
    def github(self) -> Any:
        return json.loads(self.held.read_text())

    def answers(self, path: str, answer: Any) -> None:
        """What GitHub says of something that the workflow only reads."""
        state = self.github
        state["answers"][path] = answer
        self.held.write_text(json.dumps(state))

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def pulumi(self, content: bytes = b"#!/bin/bash\necho v3\n") -> str:
        """The archive that curl brings; its sum."""
        packed = self.folder / "pulumi.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            info = tarfile.TarInfo("pulumi/pulumi")
            info.size, info.mode = len(content), 0o755
            archive.addfile(info, io.BytesIO(content))
        self.env["FETCHED"] = str(packed)
        return hashlib.sha256(packed.read_bytes()).hexdigest()

    def job(self, job: dict[str, Any]) -> list[str]:
        """Every step of a job, as GitHub runs it: the names of those that failed."""
        self.env |= {name: self._filled(value) for name, value in job.get("env", {}).items()}
        failed: list[str] = []
        ran: set[str] = set()
        for step in job["steps"]:
            if self._wanted(step.get("if"), failed, ran):
                ran.add(step.get("id", ""))
                failed += [step["name"]] if self.step(step).returncode else []
        return failed

    def step(self, step: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """One step, by the shell that GitHub starts for `shell: bash`."""
        own = {name: self._filled(value) for name, value in step.get("env", {}).items()}
        kept = dict(line.split("=", 1) for line in self.text("env").splitlines())
        path = [*reversed(self.text("path").split()), str(self.folder / "bin"), os.environ["PATH"]]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder / "work",
            env=self.env | kept | own | {"PATH": ":".join(path)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def _filled(self, value: str) -> str:
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: self.given.get(match[1], ""), str(value))

    def _wanted(self, condition: str | None, failed: list[str], ran: set[str]) -> bool:
        if condition is None:
            return not failed
        if condition == "${{ !cancelled() && (steps.plan.outcome == 'success' || steps.plan.outcome == 'failure') }}":
            return "plan" in ran
        found = re.fullmatch(r"env\.(\w+) (==|!=) ''", condition)
        assert found, condition
        kept = dict(line.split("=", 1) for line in self.text("env").splitlines())
        return not failed and ((self.env | kept).get(found[1], "") == "") == (found[2] == "==")


def repository(folder: Path, specs: dict[str, str]) -> Path:
    """A user's repository with specs, their rows and llmspec's wheel in it."""
    made = folder / "acme" / "shop"
    (made / "wheels").mkdir(parents=True)
    (made / "wheels" / f"llmspec-{__version__}-py3-none-any.whl").write_bytes(b"a wheel")
    (made / "faq.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    for name, text in specs.items():
        (made / name).write_text(text)
    commit(made)
    return made


def commit(repository: Path) -> None:
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q", "."], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "what is planned"], check=True)


def jobs(repository: Path) -> dict[str, Any]:
    found = yaml.safe_load((repository / ".github/workflows/llmspec.yml").read_text())
    assert isinstance(found["jobs"], dict)
    return found["jobs"]
