"""`takt`: finds the verb, loads its module, runs it, and turns errors into an exit status.

``VERBS`` is the whole table. To add a verb, write ``src/takt/cli/<verb>.py`` with a typer function
(or a ``typer.Typer`` for a verb with sub-verbs) named ``command``, and add its line here. A module is
imported only when its verb is called, so that `takt --help` stays quick.

Results go to stdout, everything else to stderr. Exit status: 0 done; 1 the machine or Takt failed;
2 the user's mistake; 130 interrupted.
"""

import codecs
import contextlib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from takt import __version__
from takt.errors import MachineFault, TaktError, UsageError, did_you_mean
from takt.flags import debug_level

__all__ = ["VERBS", "Verb", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb: its name, the module with its ``command``, and a line for the list."""

    name: str
    module: str
    summary: str


VERBS = (
    Verb(
        name="run",
        module="takt.cli.run",
        summary="run a model on one LPU: its text, then cycles, energy and memory",
    ),
    Verb(
        name="compile",
        module="takt.cli.compile",
        summary="compile a model into a file of programs, or over a system of chips",
    ),
    Verb(name="show", module="takt.cli.show", summary="a program file as assembly"),
    Verb(
        name="trace",
        module="takt.cli.trace",
        summary="every queue over time: for Perfetto or Chrome, and as a picture",
    ),
    Verb(
        name="embed",
        module="takt.cli.embed",
        summary="sentence vectors with an encoder, and how alike the sentences are",
    ),
    Verb(
        name="compare",
        module="takt.cli.compare",
        summary="a model on many chips: chips needed, speed, joules and dollars for a latency to meet",
    ),
    Verb(
        name="simulate",
        module="takt.cli.simulate",
        summary="requests on replicas of a model, event by event: what users see, energy, cost",
    ),
    Verb(
        name="plan",
        module="takt.cli.plan",
        summary="which chips, how many, how arranged, for traffic, latency targets and limits",
    ),
    Verb(
        name="workload",
        module="takt.cli.workload",
        summary="what a recording of requests is, and a workload like it",
    ),
    Verb(
        name="accuracy",
        module="takt.cli.accuracy",
        summary="predicted against measured, for files of measurements: error, bias, coverage",
    ),
    Verb(
        name="calibrate",
        module="takt.cli.calibrate",
        summary="fit a few engine parameters to measurements of your own",
    ),
    Verb(
        name="claims",
        module="takt.cli.claims",
        summary="what is in print about LPUs, beside Takt's own figures and why they differ",
    ),
    Verb(
        name="chips",
        module="takt.cli.chips",
        summary="list, show and check chips: every figure with its source",
    ),
)

_ESCAPED = "takt-escaped"
_HELP = """\
Usage: takt VERB [ARGUMENTS]

Compile a language model into an exact schedule for an LPU, run it, and know how fast, how large and
how power-hungry it will be there.

Verbs:
{verbs}

Try first:
  takt run 'import os'       the default model on one chip: text, cycles, energy, memory
  takt trace --png step.png  what every queue of the chip does in one step, as a picture
  takt compare qwen3-8b      which chips, how many, how fast, at what cost
  takt chips                 which chips there are
  takt chips show lpu-v1     every figure of one, with its source

`takt VERB --help` explains a verb with an example. `takt --version` prints the version.
TAKT_DEBUG=1..5 in the environment shows more (1: tracebacks).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line (default: the process's own) and leave with SystemExit."""
    _prepare_streams()
    try:
        debug = debug_level()
    except UsageError as error:
        _report(error)
        raise SystemExit(2) from None
    try:
        try:
            _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()  # here and not at exit, where an error could only be ignored
    except OSError as error:
        if debug:
            traceback.print_exc()
        _drop_output()
        if not isinstance(error, BrokenPipeError):  # whoever read has seen enough
            at = f" ({error.filename})" if error.filename else ""
            sys.stderr.write(f"error: {error.strerror or error}{at}\n")
        raise SystemExit(1) from None
    except TaktError as error:
        if debug:
            traceback.print_exc()
        _report(error)
        raise SystemExit(1 if isinstance(error, MachineFault) else 2) from None
    except KeyboardInterrupt as interrupt:
        if debug:
            traceback.print_exc()
        if str(interrupt):  # how to go on from here
            sys.stderr.write(f"{interrupt}\n")
        raise SystemExit(130) from None


def _prepare_streams() -> None:
    """Let stdout and stderr take any text, whatever the terminal can show and even where they are closed.

    What an encoding lacks is written as in JSON (\\u00d7), so that `--json` stays JSON and nothing is lost.
    """
    codecs.register_error(_ESCAPED, _escaped)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this: nobody wants to read it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in (
            "strict",
            "surrogateescape",
        ):
            stream.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """A handler of `codecs`: each 16-bit unit of what cannot be encoded as four hexadecimal digits."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end


def _drop_output() -> None:
    """Let what stdout still holds go nowhere: the exit would try to write it again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return
    if arguments[0] == "--version":
        sys.stdout.write(f"takt {__version__}\n")
        return
    _run(_find(arguments[0]), arguments[1:])


def _help() -> str:
    width = max(len(verb.name) for verb in VERBS)
    lines = [f"  {verb.name:{width}}  {verb.summary}" for verb in VERBS]
    return _HELP.format(verbs="\n".join(lines))


def _find(name: str) -> Verb:
    for verb in VERBS:
        if verb.name == name:
            return verb
    names = [verb.name for verb in VERBS]
    hint = did_you_mean(name, names) or f"verbs are {', '.join(names)}; `takt --help` explains them"
    raise UsageError(f"no verb {name[:40]!r}", hint=hint)


def _run(verb: Verb, arguments: list[str]) -> None:
    command = importlib.import_module(verb.module).command
    typer = importlib.import_module("typer")
    if not isinstance(command, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(verb.name)(command)
        command = app
    typer.main.get_command(command).main(args=arguments, prog_name=f"takt {verb.name}")


def _report(error: TaktError) -> None:
    sys.stderr.write(f"error: {error}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
