"""The documents: blocks marked as runnable run and print what they say, links lead somewhere.

A runnable block is fenced as ```console run. Lines after `$ ` are commands, run by sh in one empty
folder for each document; the lines up to the next command are its whole output, stdout and stderr.
With --update-golden the outputs are written into the documents, and the README's table of errors.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from takt.cli.app import VERBS

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/**/*.md")]
)
BLOCK = re.compile(r"^```console run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) for each command of the runnable blocks of a document."""
    for block in BLOCK.findall(text):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = piece.partition("\n")
            yield command, output


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `takt` is this source tree's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    takt = folder / "takt"
    takt.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m takt "$@"\n')
    takt.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY / "src"),
        "LC_ALL": "C.UTF-8",
    }


def in_a_block(command: str, output: str) -> str:
    """How a command and its output stand in a runnable block."""
    return f"$ {command}\n{output}"


@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS if BLOCK.search(p.read_text(encoding="utf-8"))], ids=name
)
def test_runnable_blocks_print_what_they_say(
    path: Path, tmp_path: Path, shell: dict[str, str], request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    text = path.read_text(encoding="utf-8")
    for command, expected in commands(text):
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=shell,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
        )
        if request.config.getoption("--update-golden"):
            text = text.replace(in_a_block(command, expected), in_a_block(command, done.stdout))
            path.write_text(text, encoding="utf-8")
        else:
            assert done.stdout == expected, f"{name(path)}: $ {command}"


def test_the_readme_has_runnable_blocks() -> None:
    assert list(commands((REPOSITORY / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{name(path)} links to {target}"


def test_every_document_is_reached_from_the_index() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    decisions = (REPOSITORY / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for path in REPOSITORY.glob("docs/*.md"):
        assert path.name == "index.md" or f"({path.name})" in index, path.name
    for path in REPOSITORY.glob("docs/decisions/*.md"):
        assert path.name == "README.md" or f"({path.name})" in decisions, path.name


def test_ci_runs_the_test_line_of_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    last = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last == "exec make test"
    assert "$ make test\n" in readme


def test_the_readme_lists_exactly_the_verbs_there_are() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## The verbs")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `takt (\w+)", section, re.MULTILINE)
    assert sorted(listed) == sorted(verb.name for verb in VERBS)


def error_rows() -> str:
    """The README's rows of errors, from the figures that ship."""
    shipped = files("takt.perf").joinpath("data/held_out.json").read_text(encoding="utf-8")
    table = json.loads(shipped)
    named = {
        "tpot": "time per output token",
        "throughput": "throughput",
        "ttft": "time to the first token",
        "energy": "energy per output token",
    }
    rows = []
    for figure, words in named.items():
        errors = [table[way][figure]["median_abs_error"] for way in ("series", "model", "chip")]
        cells = [words, f"{table['series'][figure]['n']:,}", *(f"{e:.0%}" for e in errors)]
        rows.append(f"| {' | '.join(cells).replace('%', ' %')} |\n")
    return "".join(rows)


def test_the_readme_states_the_errors_that_ship(request: pytest.FixtureRequest) -> None:
    path = REPOSITORY / "README.md"
    readme = path.read_text(encoding="utf-8")
    stated = re.search(r"(?<=\| figure \| measurements)[^\n]*\n[^\n]*\n((?:\|[^\n]*\n)+)", readme)
    assert stated
    if request.config.getoption("--update-golden"):
        path.write_text(readme.replace(stated[1], error_rows()), encoding="utf-8")
    else:
        assert stated[1] == error_rows()
