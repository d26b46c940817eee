"""Running a model on the processors in front of you, and what the time should have been.

`gguf_of` makes the file that the engine reads, `run_engine` runs it, `measure_machine` and `predict` say how fast it
should be. The engine is llama.cpp (docs/decisions/cpu-engine.md) and optional: `require_engine` says how to get it.
"""

from .cache import gguf_of
from .engine import HostRequest, HostRound, HostRun, require_engine, run_engine
from .gguf_out import write_gguf
from .machine import HostMachine, measure_machine, usable_processors
from .predict import HostPrediction, layer_time_s, predict, work_of

__all__ = [
    "HostMachine",
    "HostPrediction",
    "HostRequest",
    "HostRound",
    "HostRun",
    "gguf_of",
    "layer_time_s",
    "measure_machine",
    "predict",
    "require_engine",
    "run_engine",
    "usable_processors",
    "work_of",
    "write_gguf",
]
