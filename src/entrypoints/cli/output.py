"""What every command shares: output, errors and exit codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, TextIO, TypeVar

import typer

from ...adapters.embedded import EmbeddedPostgresError
from ...application.gatepost import Gatepost
from ...application.ports.security import SigningKeysInvalid
from ...domain.errors import GatepostError, ValidationFailed
from ..settings import Settings, SettingsError, load

T = TypeVar("T")


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="text or json.")]


def show(value: Any, output: Output) -> None:
    """Print a result: JSON for programs, or one line a record for people."""
    if output is Output.JSON:
        typer.echo(json.dumps(value, ensure_ascii=False))
        return
    for record in value if isinstance(value, list) else [value]:
        typer.echo("  ".join(_text(part) for part in record.values()))


def _text(value: object) -> str:
    if value is None:
        return "-"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@contextmanager
def fail_as(stream: TextIO) -> Iterator[None]:
    """Turn refusals into one line with the error's code, and exit code 1."""
    try:
        yield
    except ValidationFailed as refused:
        faults = "; ".join(f"{e.field}: {e.code}, {e.message}" for e in refused.errors)
        _fail(stream, refused.code, faults)
    except GatepostError as refused:
        _fail(stream, refused.code, refused.detail)
    except SettingsError as refused:
        for problem in refused.problems:
            print(f"gatepost: settings_invalid: {problem}", file=stream)
        raise SystemExit(1) from None
    except SigningKeysInvalid as refused:
        _fail(stream, "settings_invalid", f"GATEPOST_SECRETS__KEYS: {refused}")
    except EmbeddedPostgresError as refused:
        _fail(stream, "embedded_database", str(refused))


def _fail(stream: TextIO, code: str, detail: str) -> None:
    print(f"gatepost: {code}: {detail}", file=stream)
    raise SystemExit(1) from None


def with_gatepost(work: Callable[[Gatepost], Awaitable[T]], *, load_keys: bool = True) -> T:
    """Run a coroutine on an open Gatepost, with the configured or the embedded database."""
    from ..container import open_gatepost
    from ..database import available_database

    async def opened(settings: Settings) -> T:
        async with open_gatepost(settings, load_keys=load_keys) as gatepost:
            return await work(gatepost)

    with available_database(load()) as settings:
        return asyncio.run(opened(settings))
