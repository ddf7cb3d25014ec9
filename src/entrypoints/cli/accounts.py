"""`admin create` and `users list|show`."""

import sys
from typing import Annotated, Any

import typer

from ...application.gatepost import Gatepost
from ...domain.accounts import Account
from ...domain.audit import ClientContext
from ...domain.roles import Principal, roles_held
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")

admin = typer.Typer(help="Administrators.", no_args_is_help=True)
users = typer.Typer(help="Accounts.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(admin, name="admin")
    app.add_typer(users, name="users")


@admin.callback()
def _admin() -> None:
    # A group of one command needs a callback, or typer makes the command the group.
    pass


@admin.command("create")
def create_admin(
    username: Annotated[str, typer.Option(help="Username.")],
    email: Annotated[str, typer.Option(help="E-mail address; counts as verified.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create a verified account with the role admin."""
    password = _password(password_stdin)

    async def work(gatepost: Gatepost) -> Account:
        return await gatepost.administration.create_administrator(
            actor=Principal.operator(),
            username=username,
            email=email,
            password=password,
            client=_FROM_CONSOLE,
        )

    show(_record(with_gatepost(work)), output)


def _password(from_stdin: bool) -> str:
    """Read it from a pipe or a prompt: arguments are seen by every user of the machine."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("Pass --password-stdin and pipe the password in.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


@users.command("list")
def list_users(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """List accounts, newest first."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        found = await gatepost.administration.list_accounts(
            actor=Principal.operator(), limit=limit
        )
        return [_record(account) for account in found]

    show(with_gatepost(work), output)


@users.command("show")
def show_user(
    login: Annotated[str, typer.Argument(help="Username or e-mail address.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one account."""

    async def work(gatepost: Gatepost) -> Account:
        return await gatepost.administration.show(actor=Principal.operator(), login=login)

    show(_record(with_gatepost(work)), output)


def _record(account: Account) -> dict[str, Any]:
    return {
        "id": str(account.id),
        "username": account.username.value,
        "email": account.email.value,
        "email_verified": account.email_verified,
        "status": account.status.value,
        "roles": list(roles_held(account.roles)),
        "created_at": account.created_at.isoformat().replace("+00:00", "Z"),
    }
