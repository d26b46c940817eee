"""llama.cpp on this machine's processors: a request in, tokens and times out.

Knows the child process that holds the engine (`worker`) and how it fails. Does not know models: a request names a GGUF
file and holds token ids, or text for a file whose tokenizer only the engine reads. Always takes the most likely token.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from takt.errors import ModelError, UnsupportedError

__all__ = ["HostRequest", "HostRound", "HostRun", "require_engine", "run_engine"]

PACKAGE = "xllamacpp"
WORKER = Path(__file__).with_name("worker.py")
SPINS = "2000"  # turns in which a waiting thread looks before it sleeps; tens of microseconds
PATIENCE_S = 20.0  # for a child that has nothing more to say
MAX_SHOWN = 300  # characters of what the engine said when it failed


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRequest:
    """What to run. `prompt` is token ids or text; the same prompt is run `rounds` times.

    `stop_ids` end a round; the engine ends it too at end-of-text tokens that the file declares, unless `ignore_eos`, which
    keeps these from being chosen.
    """

    path: Path
    prompt: tuple[int, ...] | str
    max_tokens: int
    context: int
    threads: int
    rounds: int = 1
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRound:
    """One run of the prompt, by the engine's own clock.

    `token_ids` lacks tokens that end inside a character (the engine joins their text to the next one's); `n_tokens`
    counts all. `prompt_s` lasts until the first token is chosen, `decode_s` from then to the last.
    """

    token_ids: tuple[int, ...]
    text: str
    stop: str
    prompt_tokens: int
    n_tokens: int
    prompt_s: float
    decode_s: float

    @property
    def token_s(self) -> float | None:
        """Seconds for each token after the first; None without one."""
        return self.decode_s / (self.n_tokens - 1) if self.n_tokens > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRun:
    """All rounds, and how long the engine took to load the file. `engine` names it with its version."""

    rounds: tuple[HostRound, ...]
    load_s: float
    engine: str


class _Loaded(msgspec.Struct, tag_field="event", tag="loaded"):
    load_s: float
    version: str


class _Token(msgspec.Struct, tag_field="event", tag="token"):
    ids: list[int]
    text: str


class _Done(msgspec.Struct, tag_field="event", tag="done"):
    finish: str
    prompt_tokens: int
    tokens: int
    prompt_s: float
    decode_s: float


class _Failed(msgspec.Struct, tag_field="event", tag="error"):
    message: str


_Event = _Loaded | _Token | _Done | _Failed


def require_engine() -> None:
    """Raises UnsupportedError where the engine's package is not installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise UnsupportedError(
            f"running on this machine's processors needs the package {PACKAGE} (llama.cpp)",
            hint="pip install 'takt-lpu[host]'",
        )


def run_engine(
    request: HostRequest, on_token: Callable[[tuple[int, ...], str], None] | None = None
) -> HostRun:
    """Run it; `on_token` gets ids and text as they come.

    Raises UnsupportedError (no package) and ModelError (the engine refuses the file or the prompt, or ends).
    """
    require_engine()
    with tempfile.TemporaryDirectory(prefix="takt-") as folder, tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(),
        )
        try:
            run = _followed(child, request, f"{folder}/engine.sock", on_token)
            if run is None:  # it has closed its output, so it is about to end by itself
                child.wait(timeout=PATIENCE_S)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        if run is None:
            raise _failure(request.path, child.returncode, said)
        return run


def _environment() -> dict[str, str]:
    """That of the parent, with its search path, so that the child finds what the parent would import.

    The engine's threads wait for one another dozens of times a layer. Left alone they spin for milliseconds, and where other
    programs want the processors a token takes a hundred times as long; microseconds serve on an idle machine too.
    """
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if "OMP_WAIT_POLICY" not in os.environ:
        settings["GOMP_SPINCOUNT"] = os.environ.get("GOMP_SPINCOUNT", SPINS)
    return os.environ | settings


def _followed(
    child: subprocess.Popen[bytes],
    request: HostRequest,
    socket: str,
    on_token: Callable[[tuple[int, ...], str], None] | None,
) -> HostRun | None:
    """The child's answer; None if it ended without a whole one."""
    rounds: list[HostRound] = []
    loaded, ids, text = None, [], []
    for event in _events(child, request, socket):
        match event:
            case _Loaded():
                loaded = event
            case _Token():
                ids += event.ids
                text.append(event.text)
                if on_token is not None:
                    on_token(tuple(event.ids), event.text)
            case _Done():
                rounds.append(_round(event, ids, text))
                ids, text = [], []
            case _Failed():
                raise ModelError(f"llama.cpp refuses the request: {event.message[:MAX_SHOWN]}")
        if loaded is not None and len(rounds) == request.rounds:
            name = f"llama.cpp ({PACKAGE} {loaded.version})"
            return HostRun(rounds=tuple(rounds), load_s=loaded.load_s, engine=name)
    return None


def _events(child: subprocess.Popen[bytes], request: HostRequest, socket: str) -> Iterator[_Event]:
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    decoder = msgspec.json.Decoder(_Event)
    try:
        child.stdin.write(msgspec.json.encode(_fields(request) | {"socket": socket}))
        child.stdin.close()
    except BrokenPipeError:
        return
    for line in child.stdout:
        yield decoder.decode(line)


def _fields(request: HostRequest) -> dict[str, object]:
    return {
        "path": str(request.path),
        "prompt": request.prompt,
        "max_tokens": request.max_tokens,
        "context": request.context,
        "threads": request.threads,
        "rounds": request.rounds,
        "stop_ids": request.stop_ids,
        "ignore_eos": request.ignore_eos,
    }


def _round(done: _Done, ids: list[int], text: list[str]) -> HostRound:
    return HostRound(
        token_ids=tuple(ids),
        text="".join(text),
        stop=done.finish,
        prompt_tokens=done.prompt_tokens,
        n_tokens=done.tokens,
        prompt_s=done.prompt_s,
        decode_s=done.decode_s,
    )


def _failure(path: Path, status: int, said: IO[bytes]) -> ModelError:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    last = f": {lines[-1][:MAX_SHOWN]}" if lines else ""
    return ModelError(
        f"llama.cpp could not run {path} (it ended with status {status}{last})",
        hint="is the file whole, and does the machine have the memory for it?",
    )
