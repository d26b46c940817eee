"""The command line itself: verbs found, errors shown, nothing heavy loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from takt.cli import app, main
from takt.errors import MachineFault, UsageError


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command line."""
    status = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str], arguments: tuple[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "")
    for verb in app.VERBS:
        assert f"  {verb.name} " in out
        assert verb.summary in out


@pytest.mark.parametrize("verb", [verb.name for verb in app.VERBS])
def test_every_verb_explains_itself_with_an_example(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    status, out, err = run(capsys, verb, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: takt {verb}" in out
    assert f"\n    takt {verb}" in out or f"Example: takt {verb}" in out


def test_a_mistyped_verb_gets_a_near_miss(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "chip")
    assert (status, out) == (2, "")
    assert err == "error: no verb 'chip'\nhint: did you mean 'chips'?\n"


def test_a_mistyped_option_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "chips", "--jsno")
    assert (status, out) == (2, "")
    assert "--jsno" in err


@pytest.mark.parametrize(("error", "status"), [(UsageError("no"), 2), (MachineFault("no"), 1)])
def test_errors_show_no_traceback_unless_asked(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(app, "_dispatch", fail)
    assert run(capsys, "chips") == (status, "", "error: no\n")
    monkeypatch.setenv("TAKT_DEBUG", "1")
    again, _, err = run(capsys, "chips")
    assert again == status
    assert "Traceback" in err


def test_a_bad_debug_level_is_the_users_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAKT_DEBUG", "lots")
    status, _, err = run(capsys, "chips")
    assert status == 2
    assert "TAKT_DEBUG" in err


def test_help_and_version_load_nothing_heavy(repository: Path) -> None:
    script = (
        "import sys\nfrom takt.cli import main\nmain(['--help'])\nmain(['--version'])\n"
        "heavy = {'numpy', 'typer', 'rich', 'tokenizers', 'torch', 'huggingface_hub', 'msgspec'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("arguments", [["--version"], ["chips", "show", "h100-sxm"]])
def test_a_full_disk_is_an_error_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "takt", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "takt", "chips"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_a_terminal_cannot_show_is_escaped_as_in_json(options: list[str]) -> None:
    arguments = ["compare", "llama-3.1-8b", "--chips", "h100-sxm", *options]
    environment = {**os.environ, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "takt", *arguments]
    plain, ascii_only = (
        subprocess.run(
            command, env={**environment, "PYTHONIOENCODING": encoding}, capture_output=True
        )
        for encoding in ("utf-8", "ascii")
    )
    assert (plain.returncode, ascii_only.returncode, ascii_only.stderr) == (0, 0, b"")
    text = plain.stdout.decode()
    escaped = "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in text)
    assert ascii_only.stdout.decode("ascii") == escaped
    if options:
        assert json.loads(ascii_only.stdout) == json.loads(text)
    else:
        assert not text.isascii()


@pytest.mark.parametrize(
    ("text", "shown"), [("2 × 3", "2 \\u00d7 3"), ("😀", "\\ud83d\\ude00"), ("\udcff", "\\udcff")]
)
def test_any_text_has_an_escaped_form(
    capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    run(capsys, "--version")  # which makes the form known
    assert text.encode("ascii", errors="takt-escaped").decode() == shown
    if text.isprintable():
        assert json.loads(f'"{shown}"') == text


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes files")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize(("arguments", "status"), [("chips show h100-sxm", 0), ("chip", 2)])
def test_a_closed_stdout_or_stderr_is_no_failure(closed: str, arguments: str, status: int) -> None:
    line = f'exec "$0" -m takt {arguments} {closed}'
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True)
    assert done.returncode == status and "Traceback" not in done.stderr
    assert bool(done.stdout) == (status == 0 and closed == "2>&-")
