"""`llmspec keys`, `history --audit`, and specs that would open a door, as their user types them."""

import http.server
import io
import json
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving_parts import endpoint, eventually, release
from test_serving_tls import broken, certificate

from backends.places.cloud import InAws
from llmspec import exposure
from llmspec.cli import main
from llmspec.errors import SpecError
from llmspec.load import load
from llmspec.release import Live

LAMBDA = Path(__file__).parents[1] / "specs" / "aws-lambda.yaml"
SPEC = """\
llmspec: 1
name: bot
description: Answers.
data: {sources: [{path: rows.jsonl}]}
model: {base: {scratch: tiny}, method: full}
"""
OUTSIDE = SPEC + "endpoint:\n  host: 0.0.0.0\n"


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


def llmspec(folder: Path, *words: str, **env: str) -> Done:
    """The command line, in this process: a second saved per command."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("LLMSPEC_HOME", str(folder / ".llmspec"))
        patch.delenv("LLMSPEC_API_KEY", raising=False)
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            code = main(list(words))
        except SystemExit as ended:
            code = int(str(ended.code))
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.yaml").write_text(SPEC)
    return tmp_path


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose endpoint is live, over HTTPS."""
    made = tmp_path_factory.mktemp("keys")
    (made / "bot.yaml").write_text(SPEC)
    with endpoint(made / ".llmspec", release(tls=certificate(made, "own"))):
        yield made


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked(folder: Path) -> None:
    assert "No key was made" in llmspec(folder, "keys", "list", "bot.yaml").stdout
    made = llmspec(folder, "keys", "create", "bot.yaml", "--role", "developer", "--name", "alice", "--expires", "90d")
    key = made.stdout.strip()
    _, id, secret = key.split("_", 2)
    assert (made.stdout.count("\n"), len(secret)) == (1, 43)
    assert "It is not shown again" in made.stderr
    assert "From now on every request needs a key" in made.stderr
    shown = llmspec(folder, "keys", "list", "bot.yaml").stdout
    assert f"{id}  good     developer  alice" in shown
    assert secret not in shown
    (listed,) = json.loads(llmspec(folder, "keys", "list", "bot.yaml", "-o", "json").stdout)
    assert (listed["id"], listed["state"], listed["expires_at"] - listed["made_at"]) == (id, "good", pytest.approx(90 * 86400))
    assert "sha256" not in listed
    assert "refused from now on" in llmspec(folder, "keys", "revoke", "bot.yaml", id).stdout
    assert "revoked" in llmspec(folder, "keys", "list", "bot.yaml").stdout
    assert llmspec(folder, "keys", "revoke", "bot.yaml", id).returncode == 0, "twice is no fault"


WRONG = {
    "role": (["create", "bot.yaml", "--name", "x", "--role", "root"], "invalid choice: 'root'"),
    "time": (["create", "bot.yaml", "--name", "x", "--expires", "soon"], "write a number and a unit"),
    "never": (["create", "bot.yaml", "--name", "x", "--expires", "0s"], "longer than nothing"),
    "name": (["create", "bot.yaml", "--name", "a\nb"], "one line"),
    "id": (["revoke", "bot.yaml", "deadbeef"], "no key 'deadbeef': none was made"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_call_says_what_would_be_right(folder: Path, fault: str) -> None:
    words, said = WRONG[fault]
    done = llmspec(folder, "keys", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (folder / ".llmspec" / "access").exists()


def test_ask_uses_the_key_in_the_environment_and_says_what_is_missing_without(live: Path) -> None:
    assert llmspec(live, "ask", "bot.yaml", "Hello", "--max-tokens", "3").returncode == 0
    key = llmspec(live, "keys", "create", "bot.yaml", "--name", "alice").stdout.strip()
    asked = llmspec(live, "ask", "bot.yaml", "Hello", "--max-tokens", "3", LLMSPEC_API_KEY=f"{key}\n")
    assert (asked.returncode, asked.stderr) == (0, "")
    without = llmspec(live, "ask", "bot.yaml", "Hello")
    assert (without.returncode, "LLMSPEC_API_KEY" in without.stderr) == (2, True), without.stderr
    eventually(lambda: "refused" in llmspec(live, "history", "bot.yaml", "--audit").stdout)  # a thread of the worker writes it
    trail = llmspec(live, "history", "bot.yaml", "--audit")
    assert (trail.returncode, "key created" in trail.stdout) == (0, True)
    assert "Every line is as it was written" in trail.stderr


@pytest.mark.parametrize("harm", ["edited", "taken out", "put in"])
def test_a_changed_trail_shows(folder: Path, harm: str) -> None:
    for name in ("alice", "bob", "carol"):
        llmspec(folder, "keys", "create", "bot.yaml", "--name", name)
    trail = folder / ".llmspec" / "access" / "bot-local" / "audit.jsonl"
    lines = trail.read_text().splitlines(keepends=True)
    changed = {
        "edited": [lines[0], lines[1].replace('"user"', '"admin"'), lines[2]],
        "taken out": [lines[0], lines[2]],
        "put in": [lines[0], lines[0], *lines[1:]],
    }[harm]
    assert llmspec(folder, "history", "bot.yaml", "--audit").returncode == 0
    trail.write_text("".join(changed))
    done = llmspec(folder, "history", "bot.yaml", "--audit")
    assert (done.returncode, "line 2 is not as it was written" in done.stderr) == (1, True)


def test_an_endpoint_that_others_can_reach_needs_a_key_before_it_is_applied(folder: Path) -> None:
    (folder / "bot.yaml").write_text(OUTSIDE)
    assert llmspec(folder, "validate", "bot.yaml").returncode == 0, "keys are made where it serves, not where it is written"
    done = llmspec(folder, "apply", "--yes", "bot.yaml")
    assert done.returncode == 2
    assert "bot.yaml:7:9  endpoint.host: 0.0.0.0 can be reached from elsewhere" in done.stderr
    assert "llmspec keys create bot.yaml --role user" in done.stderr


@pytest.mark.parametrize("host", ["203.0.113.7", "box.invalid", "a..b"])
def test_a_host_that_is_not_this_machine_is_said_before_anything_is_made(folder: Path, host: str) -> None:
    (folder / "bot.yaml").write_text(OUTSIDE.replace("0.0.0.0", host))
    assert llmspec(folder, "validate", "bot.yaml").returncode == 0, "it may be right where it serves"
    done = llmspec(folder, "apply", "--yes", "bot.yaml")
    assert done.returncode == 2
    assert f"bot.yaml:7:9  endpoint.host: this machine cannot listen on {host}" in done.stderr
    assert "write an address of this machine" in done.stderr


def exposed(folder: Path) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LLMSPEC_HOME", str(folder / ".llmspec"))
        try:
            exposure.check(load(str(folder / "bot.yaml")))
        except SpecError:
            return True
        return False


def test_a_key_that_is_good_is_enough(folder: Path) -> None:
    (folder / "bot.yaml").write_text(OUTSIDE)
    assert exposed(folder)
    key = llmspec(folder, "keys", "create", "bot.yaml", "--name", "alice").stdout
    assert not exposed(folder)
    llmspec(folder, "keys", "revoke", "bot.yaml", key.split("_")[1])
    assert exposed(folder), "a revoked key opens nothing"


@pytest.mark.parametrize(
    ("host", "others"),
    [("127.0.0.2", False), ("localhost", False), ("::1", False), ("::", True), ("box.example", True), ("10.0.0.1", True)],
)
def test_what_is_only_this_machine_needs_none(folder: Path, host: str, others: bool) -> None:
    (folder / "bot.yaml").write_text(OUTSIDE.replace("0.0.0.0", f"'{host}'"))
    assert exposed(folder) == others


def test_a_certificate_is_tried_when_a_spec_is_validated(folder: Path) -> None:
    certificate(folder, "good")
    (folder / "bot.yaml").write_text(SPEC + "endpoint:\n  tls: {certificate: good.pem, key: good.key}\n")
    assert llmspec(folder, "validate", "bot.yaml").returncode == 0
    broken("expired", folder)
    done = llmspec(folder, "validate", "bot.yaml")
    assert (done.returncode, "endpoint.tls.certificate" in done.stderr, "has expired" in done.stderr) == (2, True, True)
    (folder / "good.pem").unlink()
    assert "paths are relative to the spec" in llmspec(folder, "validate", "bot.yaml").stderr


@pytest.mark.parametrize("origin", ["'*'", "shop.example", "https://shop.example/", "https://*.shop.example", "'null'"])
def test_an_origin_is_exact(folder: Path, origin: str) -> None:
    (folder / "bot.yaml").write_text(SPEC + f"endpoint:\n  cors: [{origin}]\n")
    done = llmspec(folder, "validate", "bot.yaml")
    assert (done.returncode, "is no origin" in done.stderr) == (2, True)


class Gateway(http.server.BaseHTTPRequestHandler):
    """What API Gateway says to whoever did not sign in."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        said = b'{"message":"The incoming token has expired"}'
        self.send_response(401)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *words: object) -> None:
        """Not into the test's own output."""


def test_where_people_sign_in_a_refusal_says_that_and_nothing_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(InAws, "live", lambda *_: Live(f"http://127.0.0.1:{server.server_port}", 1, 0, 0.0))
        monkeypatch.setattr(InAws, "headers", lambda *_: {})
        monkeypatch.setattr(InAws, "call", lambda *_: None)
        done = llmspec(tmp_path, "ask", str(LAMBDA), "Hello?", "--target", "prod")
        server.shutdown()
    assert done.returncode == 2
    assert "the endpoint refused (401): The incoming token has expired" in done.stderr
    assert "put the ID token that Cognito gives into LLMSPEC_API_KEY" in done.stderr
    assert "keys create" not in done.stderr


def test_a_key_is_not_made_for_an_endpoint_that_would_not_look_at_it(tmp_path: Path) -> None:
    done = llmspec(tmp_path, "keys", "create", str(LAMBDA), "--target", "prod", "--name", "alice")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no effect at lambda, where people sign in\n  let them in: aws cognito-idp admin-create-user" in done.stderr
    none = llmspec(tmp_path, "keys", "list", str(LAMBDA), "--target", "prod")
    assert (none.returncode, none.stderr) == (2, done.stderr), "nobody is sent to make one"
    assert not (tmp_path / ".llmspec" / "access").exists()
