"""Files of `takt plan`: whether they can be written, asked before the search, and writing them after it.

Knows which room writes what, and imports it for files that are asked for.
"""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from takt import __version__
from takt.cli.outputs import check_apart, writable
from takt.errors import UsageError
from takt.files import is_stream, write_whole
from takt.plan.export import check_folder, export_plan
from takt.plan.plans import PlanSet

__all__ = ["Outputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What to write beside what is printed; `force`: over an export that is there."""

    html: str | None
    export: str | None
    resume: str | None
    force: bool = False

    def check(self) -> None:
        """Say now, not after a long search, what cannot be written. UsageError."""
        if self.force and self.export is None:
            raise UsageError("--force goes with --export", hint="it replaces an earlier export")
        options = (("--html", self.html), ("--resume", self.resume), ("--export", self.export))
        named = [(option, path) for option, path in options if path is not None]
        check_apart(named)
        for option, path in named:
            if option == "--export":
                _check_export(path, self.force)
                continue
            writable(path)
            folder = Path(path).resolve().parent  # through a link: where the file itself lies
            if not is_stream(Path(path)) and not os.access(folder, os.W_OK | os.X_OK):
                raise UsageError(f"{option} {path}: {folder} can't be written to")
            self._check_outside(option, path)

    def _check_outside(self, option: str, path: str) -> None:
        """A file in the folder of the export would go with what the folder replaces."""
        if self.export and Path(self.export).resolve() in Path(path).resolve().parents:
            raise UsageError(
                f"{option} {path} lies in the folder of --export",
                hint="that folder is written whole: put the file beside it",
            )

    def write(self, plans: PlanSet) -> None:
        """The page and the folder, where asked for. UsageError where there is no plan to export."""
        if self.html is not None:
            _write_page(plans, self.html)
        if self.export is None:
            return
        if plans.winner is None:
            raise UsageError(
                f"no plan meets the targets: nothing is exported to {self.export}",
                hint="ask for less, or for more chips",
            )
        try:
            written = export_plan(plans, self.export, force=self.force)
        except UsageError as error:
            raise UsageError(f"--export: {error}", hint=error.hint) from error
        sys.stderr.write(f"wrote {len(written)} files to {self.export}\n")


def _check_export(path: str, force: bool) -> None:
    try:
        check_folder(path, force=force)
    except UsageError as error:
        raise UsageError(f"--export: {error}", hint=error.hint) from error


def _write_page(plans: PlanSet, file: str) -> None:
    # Needs a template engine that nothing else does.
    from takt.report.plan_page import plan_page

    date = datetime.now(UTC).date().isoformat()
    command = " ".join(["takt", *sys.argv[1:]])
    page = plan_page(plans, date=date, version=__version__, command=command)
    write_whole(Path(file), page.encode())
    sys.stderr.write(f"wrote {file}\n")
