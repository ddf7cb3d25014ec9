"""A command of your own over the use cases: offboard whoever left the company.

It suspends the accounts, which ends their sessions at once, and goes on after one that cannot be.
`open_gatepost(settings)` gives the same object that Gatepost's HTTP API works with, so that the
audit trail and the rules hold here too: the last administrator, for one, stays.

    make run
    python -m examples.typer_offboard ada grace@example.com     # in another terminal

Settings are Gatepost's own: `DATABASE_URL` and the others, or those of the data folder.
"""

import asyncio
from typing import Annotated

import typer

from gatepost import (
    ClientContext,
    Gatepost,
    GatepostError,
    Principal,
    Settings,
    available_database,
    load_settings,
    open_gatepost,
)

CONSOLE = ClientContext(user_agent="offboard")


async def suspend(gatepost: Gatepost, login: str) -> None:
    # Whoever runs commands on this machine: no account, every scope.
    operator = Principal.operator()
    account = await gatepost.administration.show(actor=operator, login=login)
    await gatepost.administration.suspend(actor=operator, account_id=account.id, client=CONSOLE)


async def suspend_all(settings: Settings, logins: list[str]) -> int:
    """Suspend each, and return how many could not be."""
    failed = 0
    async with open_gatepost(settings) as gatepost:
        for login in logins:
            try:
                await suspend(gatepost, login)
                typer.echo(f"{login}: suspended")
            except GatepostError as refused:
                failed += 1
                typer.echo(f"{login}: {refused.code}, {refused.detail}", err=True)
    return failed


def offboard(logins: Annotated[list[str], typer.Argument(help="Usernames or addresses.")]) -> None:
    """Suspend accounts and end their sessions."""
    with available_database(load_settings()) as settings:
        failed = asyncio.run(suspend_all(settings, logins))
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(offboard)
