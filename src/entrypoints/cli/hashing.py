"""`hash calibrate`."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..settings import PREFIX, load
from .output import Output, OutputOption, show

if TYPE_CHECKING:
    # Only this command needs it.
    from ...application.hash_costs import Proposal

_MIB = 1024
_SECONDS = 1.0
# Without a limit that the machine tells.
_MEMORY_MIB = 512

hashing = typer.Typer(help="Password hashing.", no_args_is_help=True)
_Target = Annotated[
    int, typer.Option(min=1, max=5000, help="Milliseconds that one hash may take.")
]
_AtOnce = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Hashes at once; as the settings say if unset.")
]
_Memory = Annotated[
    int | None,
    typer.Option(min=1, help="MiB for all of them; a quarter of the machine's if unset."),
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(hashing, name="hash")


@hashing.command("calibrate")
def calibrate(
    target_ms: _Target = 100,
    at_once: _AtOnce = None,
    memory_mib: _Memory = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Measure Argon2id here and propose settings for a wanted time; takes some seconds.

    Never below OWASP's floor, which production demands. Measure on the machine that will serve,
    and while it is idle.
    """
    from ...application.hash_costs import propose
    from ..doctor.hashing import Machine, hashes_at_once, speed_of

    together = at_once or hashes_at_once(load())
    memory = Machine.read().memory
    _demand_room(together, memory)
    most = memory_mib or (_MEMORY_MIB if memory is None else memory // _MIB // _MIB // 4)
    found = asyncio.run(
        propose(
            partial(speed_of, at_once=together, seconds=_SECONDS),
            target=target_ms / 1000,
            most_memory_kib=most * _MIB // together,
        )
    )
    settings, meaning = _settings(found), _meaning(found)
    if output is Output.JSON:
        show({"settings": settings, **meaning}, output)
    else:
        _print(settings, meaning, target_ms)


def _demand_room(together: int, memory: int | None) -> None:
    """Refuse what would take the machine down with the service on it, even at the floor."""
    from ...application.hash_costs import FLOOR

    if memory is not None and together * FLOOR.memory_kib * _MIB > memory / 2:
        raise typer.BadParameter(
            f"{together} hashes at once need more than half of the memory: lower --at-once."
        )


def _settings(found: "Proposal") -> dict[str, int]:
    return {
        f"{PREFIX}PASSWORD__MEMORY_KIB": found.cost.memory_kib,
        f"{PREFIX}PASSWORD__TIME_COST": found.cost.time_cost,
        f"{PREFIX}PASSWORD__PARALLELISM": 1,
    }


def _meaning(found: "Proposal") -> dict[str, Any]:
    return {
        "fits": found.fits,
        "median_ms": round(found.speed.median_seconds * 1000, 1),
        "at_once": found.speed.at_once,
        "sign_ins_a_second": round(found.speed.a_second, 2),
        "memory_mib": round(found.cost.memory_kib * found.speed.at_once / _MIB),
    }


def _print(settings: dict[str, int], meaning: dict[str, Any], target_ms: int) -> None:
    """Print lines for `.env`; what they mean stands there as a comment."""
    for name, value in settings.items():
        typer.echo(f"{name}={value}")
    typer.echo(
        "# {median_ms} ms a hash with {at_once} at once: {sign_ins_a_second} sign-ins a second at"
        " most, {memory_mib} MiB when all hash".format(**meaning)
    )
    if not meaning["fits"]:
        typer.echo(f"# The floor takes longer than {target_ms} ms here; cheaper is not safe.")
