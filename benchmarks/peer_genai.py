"""A peer: onnxruntime-genai behind a small streaming server. Whoever waits when a batch begins is in it, up to `slots`.

python benchmarks/peer_genai.py <artifact> <port> <slots> <threads>
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai as og
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

PAD = 2


def with_threads(artifact: Path, threads: int) -> Path:
    """The artifact with its threads named: genai's own choice is slower here."""
    folder = Path(tempfile.mkdtemp()) / "model"
    folder.mkdir()
    for path in artifact.iterdir():
        (folder / path.name).symlink_to(path)
    settings = json.loads((artifact / "genai_config.json").read_text())
    settings["model"]["decoder"]["session_options"] |= {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
    (folder / "genai_config.json").unlink()
    (folder / "genai_config.json").write_text(json.dumps(settings))
    return folder


app = FastAPI()
folder = with_threads(Path(sys.argv[1]), int(sys.argv[4]))
model, slots = og.Model(str(folder)), int(sys.argv[3])
tokenizer = og.Tokenizer(model)
shutil.rmtree(folder.parent)
waiting: SimpleQueue[Any] = SimpleQueue()


class Asked:
    """A request and the queue to its client."""

    def __init__(self, ids: list[int], most: int):
        self.ids, self.most = ids, most
        self.loop, self.said = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        self.stream = tokenizer.create_stream()

    def say(self, token: int | None) -> None:
        text = None if token is None else self.stream.decode(token)
        self.loop.call_soon_threadsafe(self.said.put_nowait, text)


def answer_for_ever() -> None:
    while True:
        batch = [waiting.get()]
        while len(batch) < slots and not waiting.empty():
            batch.append(waiting.get())
        answer(batch)


def answer(batch: list[Asked]) -> None:
    longest, most = max(len(asked.ids) for asked in batch), max(asked.most for asked in batch)
    params = og.GeneratorParams(model)
    params.set_search_options(batch_size=len(batch), max_length=longest + most, min_length=longest + most, do_sample=False)
    generator = og.Generator(model, params)
    rows = [[PAD] * (longest - len(asked.ids)) + asked.ids for asked in batch]
    generator.append_tokens(rows[0] if len(rows) == 1 else np.array(rows, np.int32))
    for _ in range(most):
        generator.generate_next_token()
        for asked, token in zip(batch, generator.get_next_tokens(), strict=True):
            asked.say(int(token))
    for asked in batch:
        asked.say(None)


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ready": True}


@app.post("/v1/chat/completions")
async def chat(body: dict[str, Any]) -> StreamingResponse:
    text = "<|bos|>" + "".join(f"<|{turn['role']}|>{turn['content']}" for turn in body["messages"]) + "<|assistant|>"
    asked = Asked([int(token) for token in tokenizer.encode(text)], body["max_tokens"])
    waiting.put(asked)

    async def events() -> AsyncIterator[str]:
        while (piece := await asked.said.get()) is not None:
            if piece:
                yield f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n"
        usage = {"prompt_tokens": len(asked.ids), "completion_tokens": asked.most}
        yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    threading.Thread(target=answer_for_ever, daemon=True).start()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
