"""`keys list|rotate|revoke`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ...application.gatepost import Gatepost
from ...application.keys import ListedKey
from ...domain.audit import ClientContext
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")

keys = typer.Typer(help="Keys that sign access tokens.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")


@keys.command("list")
def list_keys(output: OutputOption = Output.TEXT) -> None:
    """List the signing keys, oldest first, and under which master key each is sealed."""
    show(with_gatepost(_listed, load_keys=False), output)


@keys.command("rotate")
def rotate_keys(output: OutputOption = Output.TEXT) -> None:
    """Announce the next signing key now; it signs when every verifier can know it."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        await gatepost.keys.rotate(early=True, client=_FROM_CONSOLE)
        return await _listed(gatepost)

    show(with_gatepost(work, load_keys=False), output)


# Some thumbprints begin with a hyphen, and are no options.
@keys.command("revoke", context_settings={"ignore_unknown_options": True})
def revoke_key(
    kid: Annotated[str, typer.Argument(metavar="KID", help="Id of the key.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Forget a signing key at once: what it signed is refused, and a fresh one signs."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        await gatepost.keys.revoke(kid=kid, client=_FROM_CONSOLE)
        return await _listed(gatepost)

    show(with_gatepost(work, load_keys=False), output)


async def _listed(gatepost: Gatepost) -> list[dict[str, Any]]:
    return [_record(listed) for listed in await gatepost.keys.list()]


def _record(listed: ListedKey) -> dict[str, Any]:
    key = listed.key
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "state": key.state.value,
        "master_key": "other" if listed.is_stale else "first",
        "created_at": _spelled(key.created_at),
        "activates_at": _spelled(listed.activates_at),
        "activated_at": _spelled(key.activated_at),
        "retires_at": _spelled(key.retires_at),
    }


def _spelled(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
