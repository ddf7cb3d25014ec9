"""What every command shares: output, and an open Gatepost."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from ...application.gatepost import Gatepost
from ..settings import Settings, load

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


def with_gatepost(work: Callable[[Gatepost], Awaitable[T]], *, load_keys: bool = True) -> T:
    """Run a coroutine on an open Gatepost, with the configured or the embedded database."""
    from ..container import open_gatepost
    from ..database import available_database

    async def opened(settings: Settings) -> T:
        async with open_gatepost(settings, load_keys=load_keys) as gatepost:
            return await work(gatepost)

    with available_database(load()) as settings:
        return asyncio.run(opened(settings))
