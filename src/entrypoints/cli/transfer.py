"""`users export|import`."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, NoReturn, TextIO

import typer

from ...application.gatepost import Gatepost
from ...application.transfer import Line, RowReport, RowResult
from ...domain.audit import ClientContext
from ...domain.roles import Principal
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")
_STANDARD = "-"
_LONGEST_ROW = 64 * 1024
# Refused rows that are told on the screen; the report has all of them.
_TOLD = 20
_BAR = 30
_WARNING = (
    "gatepost: the export holds password hashes and addresses: keep it as you keep passwords"
)

_FORCE = typer.Option("--force", help="Overwrite a file, or write to a terminal.")
_FILE = typer.Argument(metavar="FILE", help="JSON Lines; - for standard input or output.")


def export_users(
    file: Annotated[str, _FILE],
    without_passwords: Annotated[
        bool, typer.Option("--without-passwords", help="Leave the password hashes out.")
    ] = False,
    force: Annotated[bool, _FORCE] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write every account, one JSON object a line, as `users import` reads it."""
    _refuse_target(file, force)
    progress = Progress()

    async def work(gatepost: Gatepost) -> None:
        with _target(file) as target:
            async for records in gatepost.transfer.export_accounts(
                actor=Principal.operator(),
                with_passwords=not without_passwords,
                client=_FROM_CONSOLE,
            ):
                for record in records:
                    target.write(json.dumps(record, ensure_ascii=False) + "\n")
                progress.step(len(records))

    with_gatepost(work)
    progress.end()
    if not without_passwords:
        typer.echo(_WARNING, err=True)
    if file != _STANDARD:
        show({"exported": progress.rows}, output)


def _refuse_target(file: str, force: bool) -> None:
    path = Path(file)
    if file != _STANDARD and path.exists() and not path.is_file():
        # The finished export takes the name: that would be the end of /dev/null.
        raise typer.BadParameter("Not a file; - is standard output.")
    if force:
        return
    if file == _STANDARD and sys.stdout.isatty():
        raise typer.BadParameter("Not on a terminal: name a file, or pass --force.")
    if file != _STANDARD and path.exists():
        raise typer.BadParameter("The file exists: name another, or pass --force.")


@contextmanager
def _target(file: str) -> Iterator[TextIO]:
    """Open the export; a file is its owner's alone, and complete before it bears its name."""
    if file == _STANDARD:
        yield sys.stdout
        return
    part = Path(f"{file}.part")
    try:
        part.unlink(missing_ok=True)
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(number, "w", encoding="utf-8") as target:
            yield target
            target.flush()
            os.fsync(number)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        _refuse_file(error)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _refuse_file(error: OSError) -> NoReturn:
    typer.echo(f"gatepost: file_not_written: {error.strerror}", err=True)
    raise typer.Exit(1) from None


def import_users(
    file: Annotated[str, _FILE],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and write nothing.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Append what became of each row, as JSON Lines."),
    ] = None,
    from_line: Annotated[int, typer.Option(min=1, help="Begin at this line.")] = 1,
    allow_roles: Annotated[
        bool, typer.Option("--allow-roles", help="Give the roles that rows name.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create the accounts of a file that are not there yet; known ones stay as they are.

    Exits with 1 when a row was refused; the others are done nevertheless.
    """
    with _source(file) as source, _report(report) as written:
        tally, progress = Tally(), Progress(_size(source))

        async def work(gatepost: Gatepost) -> None:
            async for rows in gatepost.transfer.import_accounts(
                actor=Principal.operator(),
                lines=_lines(source, from_line),
                dry_run=dry_run,
                allow_roles=allow_roles,
                client=_FROM_CONSOLE,
            ):
                tally.add(rows, progress)
                _write(written, rows)
                progress.step(len(rows), _position(source))

        with_gatepost(work)
    progress.end()
    tally.end()
    _show(tally.record() | ({"dry_run": True} if dry_run else {}), output)
    if tally.refused:
        raise typer.Exit(1)


def _show(record: dict[str, Any], output: Output) -> None:
    # Bare numbers would be a riddle.
    labelled = {name: f"{name} {value}" for name, value in record.items()}
    show(record if output is Output.JSON else labelled, output)


def add_to(users: typer.Typer) -> None:
    users.command("export")(export_users)
    users.command("import")(import_users)


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    if file == _STANDARD:
        yield sys.stdin.buffer
        return
    try:
        opened = open(file, "rb")  # noqa: SIM115
    except OSError as error:
        raise typer.BadParameter(f"Cannot be read: {error.strerror}.") from None
    with opened:
        yield opened


@contextmanager
def _report(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        opened = path.open("a", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--report cannot be written: {error.strerror}.") from None
    with opened:
        yield opened


def _lines(source: BinaryIO, from_line: int) -> Iterator[Line]:
    """Read line by line; of one that is too long no more is kept than of another."""
    number = 0
    while text := source.readline(_LONGEST_ROW):
        number += 1
        is_whole = text.endswith(b"\n") or len(text) < _LONGEST_ROW
        rest = text
        while rest and not rest.endswith(b"\n") and len(rest) == _LONGEST_ROW:
            rest = source.readline(_LONGEST_ROW)
        if number >= from_line and text.strip():
            yield Line(number=number, text=text if is_whole else None)


def _size(source: IO[bytes]) -> int | None:
    return os.fstat(source.fileno()).st_size if source.seekable() else None


def _position(source: IO[bytes]) -> int:
    return source.tell() if source.seekable() else 0


def _write(report: TextIO | None, rows: Sequence[RowReport]) -> None:
    if report is None:
        return
    for row in rows:
        report.write(json.dumps(_row(row), ensure_ascii=False) + "\n")
    # Committed already: who looks after a crash must find it.
    report.flush()


def _row(row: RowReport) -> dict[str, Any]:
    record: dict[str, Any] = {"line": row.line, "result": row.result.value}
    if row.account_id is not None:
        record["id"] = str(row.account_id)
    if row.has_slower_hash:
        record["slower_hash"] = True
    if row.errors:
        record["errors"] = [
            {"field": error.field, "code": error.code, "message": error.message}
            for error in row.errors
        ]
    return record


@dataclass(slots=True)
class Tally:
    """Counts results, and tells of refused rows."""

    counts: Counter[RowResult] = field(default_factory=Counter)
    slower: int = 0

    @property
    def refused(self) -> int:
        return self.counts[RowResult.CONFLICT] + self.counts[RowResult.INVALID]

    def add(self, rows: Sequence[RowReport], progress: "Progress") -> None:
        for row in rows:
            self.counts[row.result] += 1
            self.slower += row.has_slower_hash
            if row.errors and self.refused <= _TOLD:
                faults = "; ".join(f"{one.field}: {one.code}, {one.message}" for one in row.errors)
                progress.clear()
                typer.echo(f"line {row.line}: {row.result.value}: {faults}", err=True)

    def end(self) -> None:
        if self.refused > _TOLD:
            more = self.refused - _TOLD
            typer.echo(f"and {more} more refused rows; --report tells of all", err=True)
        if self.slower:
            typer.echo(
                f"{self.slower} hashes take longer than ours: until their owners sign in,"
                " the time of a sign-in tells that they have accounts",
                err=True,
            )

    def record(self) -> dict[str, Any]:
        counted = {result.value: self.counts[result] for result in RowResult}
        return {"rows": self.counts.total(), **counted}


class Progress:
    """Tells the rate at the end, and on a terminal all the while."""

    def __init__(self, size: int | None = None) -> None:
        self.rows = 0
        self._size = size
        self._started = time.monotonic()
        self._is_shown = sys.stderr.isatty()

    def step(self, rows: int, position: int = 0) -> None:
        self.rows += rows
        if not self._is_shown:
            return
        share = min(1.0, position / self._size) if self._size else None
        bar = "" if share is None else f"[{'#' * int(share * _BAR):{_BAR}}] {share:4.0%}  "
        sys.stderr.write(f"\r\033[K{bar}{self._told()}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\033[K")

    def end(self) -> None:
        self.clear()
        typer.echo(f"gatepost: {self._told()}", err=True)

    def _told(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{self.rows:,} rows in {seconds:.1f} s, {self.rows / max(seconds, 0.001):,.0f}/s"
