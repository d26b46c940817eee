"""The engine, in a process of its own: llama.cpp through xllamacpp, one request on stdin, events on stdout.

Native code ends the whole process where it meets a file it can't take, and writes to wherever it likes; here it may. The
request and the events are the JSON objects that `engine` declares, one a line. Run as a script; imports nothing of Takt.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

Emit = Callable[..., None]


def main() -> None:
    """Answer the request on stdin."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever native code prints goes to stderr

    def emit(event: str, **fields: object) -> None:
        out.write(json.dumps({"event": event, **fields}) + "\n")
        out.flush()

    request = json.load(sys.stdin)
    server = _server(request, emit)
    for _ in range(request["rounds"]):
        _complete(server, request, emit)


def _server(request: dict[str, Any], emit: Emit) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = request["path"]
    params.n_ctx = request["context"]
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = request["threads"]
    params.cpuparams_batch.n_threads = request["threads"]
    params.warmup = True
    params.ctx_shift = False
    params.verbosity = 1  # errors, which the parent shows if there is no answer
    # The package opens its HTTP service whether asked or not: out of everybody's reach, and locked.
    params.hostnames = [request["socket"]]
    params.api_keys = [secrets.token_hex(16)]
    start = time.perf_counter()
    server = xllamacpp.Server(params)
    emit("loaded", load_s=time.perf_counter() - start, version=str(xllamacpp.__version__))
    return server


def _complete(server: Any, request: dict[str, Any], emit: Emit) -> None:
    """One round: a token event for each token, then what the engine's own clock says."""
    stop_ids = set(request["stop_ids"])
    timings: dict[str, Any] = {}
    finish, error = "length", None

    def take(chunk: dict[str, Any]) -> bool:
        nonlocal timings, finish, error
        if "error" in chunk:
            error = chunk["error"].get("message", "no reason given")
            return True
        timings = chunk.get("timings", timings)
        choice = chunk["choices"][0]
        ids = [entry["id"] for entry in (choice.get("logprobs") or {}).get("content", ())]
        if ids or choice["text"]:
            emit("token", ids=ids, text=choice["text"])
        if choice.get("finish_reason"):
            finish = choice["finish_reason"]
        elif stop_ids.intersection(ids):
            finish = "stop"
            return True
        return False

    answer = server.handle_completions(_body(request), take)
    if isinstance(answer, dict):
        take(answer)
    if error is not None:
        emit("error", message=error)
        return
    emit(
        "done",
        finish="eos" if finish == "stop" else "length",
        prompt_tokens=timings["prompt_n"],
        tokens=timings["predicted_n"],
        prompt_s=timings["prompt_ms"] / 1e3,
        decode_s=timings["predicted_ms"] / 1e3,
    )


def _body(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": request["prompt"],
        "max_tokens": request["max_tokens"],
        "temperature": 0,
        "ignore_eos": request["ignore_eos"],
        "stream": True,
        "cache_prompt": False,
        "timings_per_token": True,
        # The chosen token alone, with its id: free of charge after the choice, and not before.
        "logprobs": 1,
        "n_probs": 1,
        "post_sampling_probs": True,
    }


if __name__ == "__main__":
    main()
