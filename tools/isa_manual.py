"""Write docs/isa.md from the instruction table: `python tools/isa_manual.py`."""

from pathlib import Path

from takt.chips import load_chip
from takt.lpu.isa.manual import manual

PAGE = Path(__file__).resolve().parent.parent / "docs" / "isa.md"

if __name__ == "__main__":
    PAGE.write_text(manual(load_chip("lpu-v1")), encoding="utf-8")
