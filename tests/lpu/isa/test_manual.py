"""docs/isa.md is what the table says, and what it shows can be read."""

import re
from pathlib import Path

from takt.chips import load_chip
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.manual import manual
from takt.lpu.isa.table import ROWS
from takt.lpu.isa.verify import verify

CHIP = load_chip("lpu-v1")


def test_the_page_is_up_to_date(repository: Path, request) -> None:
    page = repository / "docs" / "isa.md"
    if request.config.getoption("--update-golden"):
        page.write_text(manual(CHIP), encoding="utf-8")
    written = page.read_text(encoding="utf-8")
    assert written == manual(CHIP), "write it anew: python tools/isa_manual.py"


def test_the_page_names_every_instruction() -> None:
    text = manual(CHIP)
    assert all(f"`{row.name}`" in text for row in ROWS)


def test_the_example_on_the_page_is_a_sound_program() -> None:
    examples = re.findall(r"```text\n(.*?)```", manual(CHIP), re.DOTALL)
    programs = [parse_program(example, CHIP) for example in examples]
    assert [len(program.instructions) for program in programs] == [2]
    assert verify(programs[0], CHIP) == []
