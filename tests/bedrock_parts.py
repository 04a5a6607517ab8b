"""Amazon Bedrock as the tests know it: a real HTTP server that speaks Converse's event streams, and answers from what it is asked.

It knows the shop of `conftest.tiny_rows`: asked "Where do I find lamp number 7?" it says the shelf, by a rule and not by heart.
"""

import json
import re
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote

MODEL = "amazon.nova-lite-v1:0"
REGION = "us-east-1"

SPEC = f"""\
llmspec: 1
name: tiny
description: A product whose model is hosted.
region: {REGION}
data:
  sources:
    - path: rows.jsonl
  clean: [collapse_whitespace, drop_missing]
model:
  base: {{bedrock: {MODEL}}}
  method: prompt
  prompt: {{examples: 2}}
evaluation:
  gates: [token_f1 >= 0.9]
endpoint:
  port: 0
  system_prompt: You answer from the shop's plan.
  limits: {{input_tokens: 600, output_tokens: 64, concurrency: 4, queue: 4, timeout: 20s}}
"""


def framed(kind: str, payload: dict[str, Any], *, message: str = "event") -> bytes:
    """One message of AWS's event stream: lengths and headers, the payload, two checksums."""
    name = ":exception-type" if message == "exception" else ":event-type"
    said = {":message-type": message, name: kind, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack("!B", len(key)) + key.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for key, value in said.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    prelude += struct.pack("!I", zlib.crc32(prelude))
    whole = prelude + headers + body
    return whole + struct.pack("!I", zlib.crc32(whole))


@dataclass
class Bedrock:
    """What it was asked, and how it shall behave."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Every body of Converse, with its model, in order."""
    looked: list[str] = field(default_factory=list)
    """Every path that was looked at."""
    refuse: tuple[int, str, str] | None = None
    """Status, code and message for every question."""
    busy: int = 0
    """So many questions are throttled before one is answered."""
    pause: float = 0.0
    """Seconds before each piece of an answer."""
    breaks: str = ""
    """`exception` or `cut`: what happens in the middle of an answer."""
    filtered: bool = False
    broken_pipes: int = 0
    """Answers that nobody listened to, to their end."""
    answer: str = ""
    """What it says instead of its own."""
    lock: Lock = field(default_factory=Lock)

    @property
    def env(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
        return {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.url, "AWS_ENDPOINT_URL_BEDROCK": self.url, **keys}

    def says(self, body: dict[str, Any]) -> str:
        """By the last question. It is moved by its prompt: without a system prompt it does not know the shop."""
        question = body["messages"][-1]["content"][-1]["text"]
        if self.answer:
            return self.answer.replace("{question}", question)
        found = re.search(r"(\w+) number (\d+)", question)
        if found and body.get("system"):
            return f"The {found[1]} number {found[2]} is on shelf {int(found[2]) % 7}."
        return f"You said: {question}"


def words(body: dict[str, Any]) -> int:
    """Tokens as this model counts them: its words."""
    blocks = [*body.get("system", []), *(block for turn in body["messages"] for block in turn["content"])]
    return sum(len(block["text"].split()) for block in blocks)


def ended(text: str, settings: dict[str, Any]) -> tuple[list[str], str]:
    """The answer's pieces, and why it ended: words with the space before them, cut behind a stop text or at the limit."""
    reason = "end_turn"
    for stop in settings.get("stopSequences", []):
        if stop in text:
            text, reason = text[: text.index(stop) + len(stop)], "stop_sequence"
    pieces = re.findall(r"\s*\S+|\s+$", text)
    if len(pieces) > settings["maxTokens"]:
        return pieces[: settings["maxTokens"]], "max_tokens"
    return pieces, reason


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bedrock: Bedrock

    def log_message(self, format: str, *args: Any) -> None: ...

    def handle_one_request(self) -> None:
        """On a connection that is kept, the next one may be a reset: from a client that left with something unread."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        self.bedrock.looked.append(self.path)
        kind, _, name = unquote(self.path.lstrip("/")).partition("/")
        if not self._signed():
            return
        if kind == "foundation-models" and name == MODEL:
            arn = f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}"
            details = {"modelArn": arn, "modelId": MODEL, "modelName": "Nova Lite", "providerName": "Amazon"}
            more = {"outputModalities": ["TEXT"], "responseStreamingSupported": True, "inferenceTypesSupported": ["ON_DEMAND"]}
            self._json(200, {"modelDetails": {**details, **more, "modelLifecycle": {"status": "ACTIVE"}}})
        elif kind == "foundation-models" and name == "meta.only-by-profile-v1:0":
            details = {"modelArn": "arn:x", "modelId": name, "inferenceTypesSupported": ["INFERENCE_PROFILE"]}
            self._json(200, {"modelDetails": details})
        elif kind == "inference-profiles":
            models = [{"modelArn": f"arn:aws:bedrock:{region}::foundation-model/{MODEL}"} for region in (REGION, "us-west-2")]
            arn = f"arn:aws:bedrock:{REGION}:111122223333:inference-profile/{name}"
            said = {"inferenceProfileName": "US Nova Lite", "inferenceProfileArn": arn, "inferenceProfileId": name}
            self._json(200, {**said, "models": models, "status": "ACTIVE", "type": "SYSTEM_DEFINED"})
        else:
            self._refuse(404, "ResourceNotFoundException", f"no {name}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = unquote(self.path.split("/")[2])
        if not self._signed():
            return
        bedrock = self.bedrock
        with bedrock.lock:
            bedrock.asked.append({"model": model, **body})
            busy, bedrock.busy = bedrock.busy > 0, max(0, bedrock.busy - 1)
        if busy:
            self._refuse(429, "ThrottlingException", "Too many requests")
        elif bedrock.refuse:
            self._refuse(*bedrock.refuse)
        elif self.path.endswith("/converse-stream"):
            self._stream(body)
        else:
            self._refuse(404, "ResourceNotFoundException", self.path)

    def _signed(self) -> bool:
        signed = self.headers.get("authorization", "")
        good = signed.startswith("AWS4-HMAC-SHA256 Credential=testing/") and f"/{REGION}/bedrock/aws4_request" in signed
        if not good:
            self._refuse(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        return good

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for event in self._events(body):
                self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.bedrock.broken_pipes += 1
            self.close_connection = True

    def _events(self, body: dict[str, Any]) -> Iterator[bytes]:
        bedrock = self.bedrock
        pieces, reason = ended(bedrock.says(body), body["inferenceConfig"])
        yield framed("messageStart", {"role": "assistant"})
        for number, piece in enumerate(pieces):
            if number == 1 and bedrock.breaks == "exception":
                yield framed("throttlingException", {"message": "Too many tokens"}, message="exception")
                return
            if number == 1 and bedrock.breaks == "cut":
                raise OSError("cut")
            time.sleep(bedrock.pause)
            yield framed("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})
        yield framed("contentBlockStop", {"contentBlockIndex": 0})
        yield framed("messageStop", {"stopReason": "content_filtered" if bedrock.filtered else reason})
        usage = {"inputTokens": words(body), "outputTokens": len(pieces), "totalTokens": words(body) + len(pieces)}
        yield framed("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._json(status, {"message": message}, {"x-amzn-errortype": code})

    def _json(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def listening() -> Iterator[Bedrock]:
    bedrock = Bedrock()
    handler = type("Of", (Handler,), {"bedrock": bedrock})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    bedrock.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield bedrock
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


FORBIDDEN = ("onnxruntime", "onnxruntime_genai", "onnx", "torch", "transformers", "tokenizers", "llguidance", "peft")


def without_models(folder: Path) -> Path:
    """For PYTHONPATH: a Python in which nothing that computes a model can be imported."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        f"FORBIDDEN = {FORBIDDEN!r}\n"
        "class Shut:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in FORBIDDEN:\n"
        "            raise ModuleNotFoundError(f'{name} is not to be had here', name=name)\n"
        "sys.meta_path.insert(0, Shut())\n"
        "really = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name.partition('.')[0] in FORBIDDEN else really(name, *more)\n",
        encoding="utf-8",
    )
    return folder


def artifact_into(folder: Path, **contract: Any) -> Path:
    """What `onnx` makes of a hosted model."""
    from backends.serving.hosted.contract import HostedContract, HostedModel

    folder.mkdir(parents=True, exist_ok=True)
    said: dict[str, Any] = {
        "template": "chat",
        "system_prompt": "You answer from the shop's plan.",
        "temperature": 0.0,
        "top_p": None,
    }
    HostedContract(**{**said, **contract}).save(folder)
    HostedModel(MODEL, f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}", REGION, "Nova Lite", "Amazon").save(folder)
    return folder


def release_of(folder: Path, number: int = 1, contract: dict[str, Any] | None = None, **endpoint: Any) -> Any:
    """A release of `bot` at `local`, of a hosted model; `endpoint` are keys of that section, `limits` merged."""
    from backends.serving.hosted.contract import HostedContract
    from llmspec.release import Release
    from llmspec.shelf import File, files_in, partial, sha256_of
    from llmspec.store import Manifest, content_digest, open_artifact, seal

    growing = artifact_into(partial(folder), **(contract or {}))
    files = {name: File(sha256_of(growing / name), (growing / name).stat().st_size) for name in files_in(growing)}
    seal(growing, folder, Manifest("bot", "onnx", folder.name, content_digest(files), "bind_bedrock", 1, {}, {}, {}, files, {}))
    artifact = open_artifact(folder)
    assert artifact
    limits = {
        "input_tokens": 400,
        "output_tokens": 64,
        "concurrency": 2,
        "queue": 2,
        "timeout": "20s",
        **endpoint.pop("limits", {}),
    }
    serving = {"engine": "serve_bedrock", "host": "127.0.0.1", "port": 0, "limits": limits, **endpoint}
    hashed = HostedContract.load(folder).hash
    return Release(number, "bot", "local", str(folder), folder.name, artifact.manifest.digest, hashed, serving)
