"""The servers that are compared, each started as its own process with the same two things: a port and how to ask it.

A server that is not measured is stopped (SIGSTOP), so that each has the machine to itself.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_model
import llama_cpp
from load import post

HERE = Path(__file__).parent
ENV = {**os.environ, "PYTHONPATH": str(bench_model.ROOT), "ORT_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Missing(Exception):
    """This peer cannot be had here; the message says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seconds(stat: Path) -> float:
    """Of CPU, as the kernel's file of a process or a thread counts them."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """A process that answers on a port."""

    path = "/v1/chat/completions"
    health = "/health"

    def __init__(self, name: str, command: list[str], port: int, **env: str):
        self.name, self.port = name, port
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        self.process = subprocess.Popen(command, env=ENV | env, stdout=self._log, stderr=subprocess.STDOUT)
        self._until_ready()

    def _until_ready(self, seconds: float = 180) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Missing(f"{self.name} ended with {self.process.returncode}: {self.said()[-400:]}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", self.health)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise Missing(f"{self.name} did not come up in {seconds:g} s: {self.said()[-400:]}")

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def body(self, content: str, answer: int) -> dict[str, object]:
        return {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": answer,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def request(self, number: int, prompt: int, answer: int) -> bytes:
        return post(self.path, self.body(bench_model.conversation(number, prompt), answer))

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return seconds(Path(f"/proc/{self.process.pid}/stat"))

    def threads(self) -> dict[str, float]:
        """The same, of each thread."""
        return {task.name: seconds(task / "stat") for task in Path(f"/proc/{self.process.pid}/task").iterdir()}

    def memory(self) -> int:
        """Bytes resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        self.thaw()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Ours(Server):
    """The endpoint as it is served, with its guards and its journal; or, `bare`, without them."""

    def __init__(self, cache: Path, precision: str, slots: int, *, bare: bool = False, **serving: object):
        port = free_port()
        made = bench_model.artifact(cache, precision)
        limits = {"input_tokens": 2048, "output_tokens": 512, "concurrency": slots, "queue": 512, "timeout": "600s"}
        folder = self._folder = tempfile.TemporaryDirectory()
        file = Path(folder.name) / "release.json"
        file.write_text(bench_model.release(made, port, limits=limits, **serving).to_json(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "backends.serving", "--release", str(file)]
        command += [] if bare else ["--journal", str(Path(folder.name) / "journal")]
        super().__init__(f"llmspec {precision}", command, port)

    def stop(self) -> None:
        super().stop()
        self._folder.cleanup()


class LlamaCpp(Server):
    """llama.cpp's own server, as many slots as clients. Its threads spin while they wait, which on cores of its own is
    up to three times as fast as sleeping."""

    def __init__(self, cache: Path, quantization: str, slots: int, tokens: int, flash: str = "on", **env: str):
        port = free_port()
        binary, model = llama_cpp.binary(cache, "llama-server"), llama_cpp.gguf(cache, quantization)
        command = [str(binary), "-m", str(model), "--port", str(port), "-t", str(CPUS), "-tb", str(CPUS), "--parallel", str(slots)]
        command += ["-c", str(slots * tokens), "-fa", flash, "--cont-batching", "--jinja", "--cache-ram", "0"]
        super().__init__(f"llama.cpp {quantization}", command, port, **{"OMP_WAIT_POLICY": "active"} | env)

    def body(self, content: str, answer: int) -> dict[str, object]:
        return super().body(content, answer) | {"ignore_eos": True}


class Genai(Server):
    """onnxruntime-genai, int4 as its builder makes it, its own batching."""

    def __init__(self, cache: Path, slots: int):
        port, made = free_port(), bench_model.built_for_genai(cache)
        command = [sys.executable, str(HERE / "peer_genai.py"), str(made), str(port), str(slots), str(CPUS)]
        super().__init__("onnxruntime-genai int4", command, port)


class Tutorial(Server):
    """FastAPI around transformers' `generate`, bf16, as tutorials show it."""

    def __init__(self, cache: Path):
        port = free_port()
        command = [sys.executable, str(HERE / "peer_tutorial.py"), str(bench_model.checkpoint(cache)), str(port)]
        super().__init__("FastAPI + generate bf16", command, port)
