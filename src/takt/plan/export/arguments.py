"""What the command lines of serving tools may say: their arguments as data, and the check of a line against them.

One file a tool in the folder `arguments`, read from the tool's own source, which each names with its version. Knows no plans.
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from takt.errors import DataError, UsageError, did_you_mean

from .command import VARIABLE

__all__ = ["TOOLS", "Argument", "Tool", "check_argv", "load_tool"]

TOOLS = (
    "vllm",
    "sglang",
    "trtllm",
    "trtllm-disaggregated",
    "vllm-router",
    "sglang-router",
    "dynamo-frontend",
    "dynamo-vllm",
    "dynamo-sglang",
)


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One option: `flag` takes no value, `switch` neither but has a --no- form; `many` takes one value or more."""

    type: Literal["flag", "switch", "int", "float", "text", "json"]
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    many: bool = False


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program: the words that start it, the options it takes (`includes`: those of another tool too)."""

    command: tuple[str, ...]
    version: str
    source: str
    licence: str
    arguments: dict[str, Argument]
    positional: int = 0
    includes: str = ""


@cache
def load_tool(name: str) -> Tool:
    """The tool of that name (`TOOLS`). UsageError with a near miss for another, DataError for a file that is wrong."""
    if name not in TOOLS:
        hint = did_you_mean(name, TOOLS) or f"known are {', '.join(TOOLS)}"
        raise UsageError(f"no list of arguments for '{name}'", hint=hint)
    path = files("takt.plan.export").joinpath(f"arguments/{name}.toml")
    try:
        tool = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Tool)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{error}", file=str(path)) from error
    if not tool.includes:
        return tool
    return msgspec.structs.replace(
        tool, arguments={**load_tool(tool.includes).arguments, **tool.arguments}
    )


def check_argv(argv: Sequence[str]) -> Tool:
    """The tool that a command line starts, all of whose words it understands.

    Words with a variable (`${NAME}`) hold any value. Raises UsageError for a program that is not known, and for an
    option that it has not, a value of the wrong type, none where one is needed, or one word too many.
    """
    tool = _tool_of(argv)
    loose = 0
    words = list(argv[len(tool.command) :])
    for name, argument, values in _options(tool, words):
        if argument is None:
            loose += len(values)
            if loose > tool.positional:
                raise UsageError(f"{_title(tool)} does not know what '{values[-1]}' is for")
        else:
            _check_values(tool, name, argument, values)
    return tool


def _title(tool: Tool) -> str:
    return " ".join(tool.command)


def _tool_of(argv: Sequence[str]) -> Tool:
    """The longest start that fits: `trtllm-serve disaggregated` before `trtllm-serve`."""
    found = [tool for name in TOOLS if _starts(argv, (tool := load_tool(name)))]
    if not found:
        start = " ".join(argv[:3])
        raise UsageError(f"no list of arguments for '{start}'", hint=did_you_mean(start, TOOLS))
    return max(found, key=lambda tool: len(tool.command))


def _starts(argv: Sequence[str], tool: Tool) -> bool:
    return tuple(argv[: len(tool.command)]) == tool.command


def _options(
    tool: Tool, words: list[str]
) -> Iterator[tuple[str, Argument | None, tuple[str, ...]]]:
    """(option as written, what it is, its values); words that belong to none come with None."""
    known = _spellings(tool)
    i = 0
    while i < len(words):
        word, equals, value = words[i].partition("=")
        i += 1
        if not words[i - 1].startswith("-"):
            yield "", None, (words[i - 1],)
            continue
        if word not in known:
            hint = did_you_mean(word, known)
            raise UsageError(f"{_title(tool)} {tool.version} has no argument '{word}'", hint=hint)
        argument = known[word]
        most = 0 if argument.type in ("flag", "switch") else len(words) if argument.many else 1
        values = [value] if equals else []
        while not equals and len(values) < most and i < len(words) and not _is_option(words[i]):
            values.append(words[i])
            i += 1
        yield word, argument, tuple(values)


def _spellings(tool: Tool) -> dict[str, Argument]:
    known: dict[str, Argument] = {}
    for name, argument in tool.arguments.items():
        for spelling in (name, *argument.also):
            known[spelling] = argument
            if argument.type == "switch" and spelling.startswith("--"):
                known[f"--no-{spelling[2:]}"] = argument
    return known


def _is_option(word: str) -> bool:
    """Whether a word starts an option; a negative number does not."""
    return word.startswith("-") and not word[1:].replace(".", "", 1).isdigit()


def _check_values(tool: Tool, name: str, argument: Argument, values: tuple[str, ...]) -> None:
    where = f"{name} of {_title(tool)}"
    if argument.type in ("flag", "switch"):
        if values:
            raise UsageError(f"{where} takes no value, got '{values[0]}'")
        return
    if not values:
        raise UsageError(f"{where} needs a value")
    for value in values:
        if VARIABLE.search(value):
            continue
        if argument.choices and value not in argument.choices:
            hint = did_you_mean(value, argument.choices)
            raise UsageError(
                f"{where} is '{value}', expected one of {', '.join(argument.choices)}", hint=hint
            )
        _check_type(where, argument.type, value)


def _check_type(where: str, form: str, value: str) -> None:
    readers: dict[str, Callable[[str], object]] = {
        "int": int,
        "float": float,
        "json": json.loads,
        "text": str,
    }
    try:
        readers[form](value)
    except ValueError as error:
        raise UsageError(f"{where} is '{value}', expected {form}") from error
