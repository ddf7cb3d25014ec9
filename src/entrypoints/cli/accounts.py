"""`admin create`, `users list|show|create|suspend|reactivate|recover` and `sessions revoke`."""

import sys
from typing import Annotated, Any

import typer

from ...application.gatepost import Gatepost
from ...application.ports.directory import AccountSort
from ...domain.accounts import Account, AccountStatus
from ...domain.audit import ClientContext
from ...domain.roles import Principal, roles_held
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")

admin = typer.Typer(help="Administrators.", no_args_is_help=True)
users = typer.Typer(help="Accounts.", no_args_is_help=True)
sessions = typer.Typer(help="Sessions.", no_args_is_help=True)

_Login = Annotated[str, typer.Argument(metavar="USER", help="Username or e-mail address.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(admin, name="admin")
    app.add_typer(users, name="users")
    app.add_typer(sessions, name="sessions")


@admin.callback()
@sessions.callback()
def _group() -> None:
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
    q: Annotated[
        str | None, typer.Option("--q", help="Start of a username or an e-mail address.")
    ] = None,
    status: Annotated[AccountStatus | None, typer.Option(help="Only of this status.")] = None,
    role: Annotated[str | None, typer.Option(help="Only with this role.")] = None,
    sort: Annotated[
        AccountSort, typer.Option(help="The order; with - descending.")
    ] = AccountSort.NEWEST,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """List accounts, newest first unless --sort says otherwise."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        page = await gatepost.administration.list_accounts(
            actor=Principal.operator(), q=q, status=status, role=role, sort=sort, limit=limit
        )
        return [_record(account) for account in page.items]

    show(with_gatepost(work), output)


@users.command("show")
def show_user(
    login: _Login,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one account."""

    async def work(gatepost: Gatepost) -> Account:
        return await gatepost.administration.show(actor=Principal.operator(), login=login)

    show(_record(with_gatepost(work)), output)


@users.command("create")
def create_user(
    username: Annotated[str, typer.Option(help="Username.")],
    email: Annotated[str, typer.Option(help="E-mail address; to be verified by its owner.")],
    role: Annotated[list[str] | None, typer.Option(help="Role; may be repeated.")] = None,
    bio: Annotated[str | None, typer.Option(help="About the owner.")] = None,
    locale: Annotated[str | None, typer.Option(help="Language tag such as de-AT.")] = None,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Read an initial password from standard input; else the owner is mailed a link.",
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create an account and mail its owner a link."""
    password = _password(from_stdin=True) if password_stdin else None

    async def work(gatepost: Gatepost) -> Account:
        return await gatepost.administration.create(
            actor=Principal.operator(),
            username=username,
            email=email,
            password=password,
            bio=bio,
            locale=locale,
            roles=role or (),
            client=_FROM_CONSOLE,
        )

    show(_record(with_gatepost(work)), output)


@users.command("suspend")
def suspend_user(login: _Login, output: OutputOption = Output.TEXT) -> None:
    """Keep an account out, and end its sessions."""

    async def work(gatepost: Gatepost) -> Account:
        account = await gatepost.administration.show(actor=Principal.operator(), login=login)
        return await gatepost.administration.suspend(
            actor=Principal.operator(), account_id=account.id, client=_FROM_CONSOLE
        )

    show(_record(with_gatepost(work)), output)


@users.command("reactivate")
def reactivate_user(login: _Login, output: OutputOption = Output.TEXT) -> None:
    """Let a suspended account in again."""

    async def work(gatepost: Gatepost) -> Account:
        account = await gatepost.administration.show(actor=Principal.operator(), login=login)
        return await gatepost.administration.reactivate(
            actor=Principal.operator(), account_id=account.id, client=_FROM_CONSOLE
        )

    show(_record(with_gatepost(work)), output)


@users.command("recover")
def recover_user(
    login: _Login,
    email: Annotated[
        str | None, typer.Option(help="The owner's address, if the account has another by now.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Give a taken-over account back: void password, sessions and links, mail a link to reset."""

    async def work(gatepost: Gatepost) -> Account:
        account = await gatepost.administration.show(actor=Principal.operator(), login=login)
        return await gatepost.administration.recover(
            actor=Principal.operator(), account_id=account.id, email=email, client=_FROM_CONSOLE
        )

    show(_record(with_gatepost(work)), output)


@sessions.command("revoke")
def revoke_sessions(
    login: Annotated[
        str | None, typer.Argument(metavar="USER", help="Username or e-mail address.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody's, as after a restore from a backup.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Sign somebody out everywhere, or everybody."""
    if everybody == (login is not None):
        raise typer.BadParameter("Name somebody, or pass --all.")
    if login is None:
        _revoke_all(output)
    else:
        _revoke(login, output)


def _revoke_all(output: Output) -> None:
    async def work(gatepost: Gatepost) -> int:
        return await gatepost.administration.end_every_session(
            actor=Principal.operator(), client=_FROM_CONSOLE
        )

    show({"ended": with_gatepost(work)}, output)


def _revoke(login: str, output: Output) -> None:

    async def work(gatepost: Gatepost) -> Account:
        account = await gatepost.administration.show(actor=Principal.operator(), login=login)
        await gatepost.administration.end_sessions(
            actor=Principal.operator(), account_id=account.id, client=_FROM_CONSOLE
        )
        return account

    account = with_gatepost(work)
    show({"id": str(account.id), "sessions": "ended"}, output)


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
