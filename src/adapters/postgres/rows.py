"""Entities to rows and back."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Table

from ...domain.accounts import Account, AccountStatus, Username
from ...domain.addresses import EmailAddress
from ...domain.clients import Client, ClientSecret, ClientStatus
from ...domain.sessions import EndReason, Session

T = TypeVar("T")


class Row(Protocol):
    """What SQLAlchemy's and asyncpg's rows have in common."""

    def __getitem__(self, key: str, /) -> Any: ...


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def to_row(entity: Any) -> dict[str, Any]:
    cls: Any = type(entity)
    return {name: getattr(entity, name) for name in _names(cls)}


def to_entity(cls: type[T], row: RowMapping | None) -> T | None:
    return None if row is None else cls(**row)


def account_to_row(account: Account) -> dict[str, Any]:
    return to_row(account) | {
        "username": account.username.value,
        "username_key": account.username.key,
        "email": account.email.value,
        "email_key": account.email.key,
        "roles": list(account.roles),
    }


def account_columns(accounts: Table, prefix: str = "") -> list[ColumnElement[Any]]:
    """Select what `row_to_account` reads, named apart from another table's columns."""
    return [accounts.c[name].label(prefix + name) for name in _names(Account)]


def row_to_account(row: Row, prefix: str = "") -> Account:
    values = {name: row[prefix + name] for name in _names(Account)}
    values["username"] = Username(values["username"])
    values["email"] = EmailAddress(values["email"])
    values["status"] = AccountStatus(values["status"])
    values["roles"] = tuple(values["roles"])
    return Account(**values)


def rows_to_client(rows: Sequence[Row]) -> Client:
    """Make a client of a row for each of its secrets, or of one without."""
    values = {name: rows[0][name] for name in _names(Client) if name != "secrets"}
    values["scopes"] = tuple(values["scopes"])
    values["status"] = ClientStatus(values["status"])
    held = (row for row in rows if row["secret__id"] is not None)
    secrets = tuple(
        ClientSecret(**{name: row[f"secret__{name}"] for name in _names(ClientSecret)})
        for row in held
    )
    return Client(**values, secrets=secrets)


def row_to_session(row: Row) -> Session:
    values = {name: row[name] for name in _names(Session)}
    reason = values["revoked_reason"]
    values["revoked_reason"] = None if reason is None else EndReason(reason)
    return Session(**values)
