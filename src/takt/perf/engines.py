"""Serving engines as named parameters: what they add to the kernels of a step, and what memory they keep.

The figures lie in ``data/engines.toml``, each with how it is known. Knows nothing of chips or models.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from takt.errors import UsageError, did_you_mean

from .estimate import Floats

__all__ = ["Engine", "engine_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Overheads of a serving engine; ``data/engines.toml`` says what each is and how it is known.

    `step_s`, `user_s`, `launch_s` and `first_s` are seconds, `reserve_fraction` and `burst` shares of 1. On chips of the
    architectures `one_call` a single attention call serves prompts and generating users.
    """

    name: str
    step_s: float
    user_s: float
    launch_s: float
    reserve_fraction: float
    fixed_bytes: float
    chunk_tokens: int
    first_s: float
    burst: float
    one_call: frozenset[str]
    basis: str

    def overhead_s(self, users: Floats, launches: float) -> Floats:
        """Seconds that the host adds to a step of that many users and kernels."""
        return self.step_s + self.user_s * users + self.launch_s * launches


@cache
def engine_of(name: str) -> Engine:
    """The engine of that name; raises UsageError with a near miss."""
    text = files("takt.perf").joinpath("data/engines.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    if name not in table:
        hint = did_you_mean(name, table) or f"known engines are {', '.join(table)}"
        raise UsageError(f"no engine '{name}'", hint=hint)
    rows = table[name]
    kinds = sorted({row["kind"] for row in rows.values()})
    return Engine(
        name=name,
        step_s=float(rows["step_s"]["value"]),
        user_s=float(rows["user_s"]["value"]),
        launch_s=float(rows["launch_s"]["value"]),
        reserve_fraction=float(rows["reserve_fraction"]["value"]),
        fixed_bytes=float(rows["fixed_bytes"]["value"]),
        chunk_tokens=int(rows["chunk_tokens"]["value"]),
        first_s=float(rows["first_s"]["value"]),
        burst=float(rows["burst"]["value"]),
        one_call=frozenset(rows["one_call"]["value"]),
        basis=f"{'/'.join(kinds)}: overheads of {name}",
    )
