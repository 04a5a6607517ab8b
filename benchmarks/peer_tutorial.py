"""A peer: what tutorials show. FastAPI, transformers' `generate` in a thread per request, a streamer, bf16.

python benchmarks/peer_tutorial.py <checkpoint> <port>
"""

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

app = FastAPI()
tokenizer: Any = AutoTokenizer.from_pretrained(sys.argv[1])
model: Any = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)


@app.get("/health")
def health() -> dict[str, bool]:
    return {"ready": True}


@app.post("/v1/chat/completions")
def chat(body: dict[str, Any]) -> StreamingResponse:
    text = tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    asked = {"max_new_tokens": body["max_tokens"], "min_new_tokens": body["max_tokens"], "do_sample": False, "streamer": streamer}
    threading.Thread(target=model.generate, kwargs={**inputs, **asked}).start()
    usage = {"prompt_tokens": inputs["input_ids"].shape[1], "completion_tokens": body["max_tokens"]}

    def events() -> Iterator[str]:
        for piece in streamer:
            if piece:
                yield f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
