"""The hot SQL statements, with arguments as the service gives them.

What is hot is prepared once, so every `Prepared` of the adapter is one, and a few that are text.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg

import gatepost.adapters.postgres as adapter
from gatepost.adapters.postgres import callers, limits
from gatepost.adapters.postgres.connection import Prepared
from gatepost.adapters.postgres.rows import account_to_row, to_row
from gatepost.domain.accounts import Account
from gatepost.domain.limits import Budget
from gatepost.domain.sessions import Session, SessionId
from gatepost.testing.builders import a_token, an_account, an_entry, new_id

_BUDGET = Budget(burst=1_000_000, interval=1)
_GRACE, _IDLE = timedelta(seconds=10), timedelta(days=30)


def _prepared() -> Iterator[tuple[str, Prepared]]:
    for module in pkgutil.iter_modules(adapter.__path__):
        members = vars(importlib.import_module(f"{adapter.__name__}.{module.name}"))
        for name, value in members.items():
            if isinstance(value, Prepared):
                yield f"{module.name}{name.lower()}", value


_TEXTS = {"callers_find": callers._SQL, "limits_spend": limits._SPEND}
_PREPARED = dict(_prepared())
SQL = _TEXTS | {name: statement.sql for name, statement in _PREPARED.items()}


async def store(connection: asyncpg.Connection, subject: "Subject") -> None:
    account, session = _PREPARED["accounts_insert"], _PREPARED["sessions_insert"]
    row = account_to_row(subject.account)
    await connection.execute(account.sql, *account.arguments(row))
    await connection.execute(session.sql, *session.arguments(to_row(subject.session)))


@dataclass
class Subject:
    """An account that is stored, with a session: whom the statements are about."""

    account: Account
    session: Session
    generations: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self.generations = count(self.session.generation)

    def arguments(self, name: str) -> list[Any]:
        """Return those of the next run: what is inserted is new each time."""
        if name == "callers_find":
            return [self.session.id, datetime.now(UTC)]
        if name == "limits_spend":
            budget = _BUDGET
            return [bytes(32), None, budget.interval, budget.full, budget.highest_debt, 0, 0]
        statement = _PREPARED[name]
        wanted = {bind for bind, _, _ in statement._binds}
        values = self._asked(name) | self._stored(name)
        if "presented" in wanted:
            values["presented"] = next(self.generations)
        if unknown := {bind for bind in wanted if not bind[-1].isdigit()} - values.keys():
            raise KeyError(f"{name} wants {', '.join(sorted(unknown))}: say here what that is")
        return statement.arguments(values)

    def _asked(self, name: str) -> dict[str, Any]:
        now, account, session = datetime.now(UTC), self.account, self.session
        return {
            "account_id": account.id,
            "client_id": new_id(),
            "key": account.username.key if name.endswith("username") else account.email.key,
            "of_username": account.username.key,
            "of_email": account.email.key,
            "session_id": session.id,
            "hashed": session.secret_hash,
            "now": now,
            "idle_until": now + _IDLE,
            "earliest": now - _GRACE,
            "latest": now + _GRACE,
            "event": "session.created.v1",
            "lock": 1,
        }

    def _stored(self, name: str) -> dict[str, Any]:
        """Return the row that is written; a new one unless an old one is to change."""
        entry = an_entry(subject=self.account.id)
        session = replace(self.session, id=SessionId(new_id()))
        match name.split("_"):
            case ["accounts", "save"]:
                return account_to_row(self.account)
            case ["accounts", *_]:
                return account_to_row(an_account())
            case ["audit", *_]:
                return to_row(entry)
            case ["credentials", *_]:
                return to_row(a_token(self.account))
            case ["sessions", "insert"]:
                return to_row(session)
            case ["sign", *_]:
                seen = _named("seen_", account_to_row(self.account))
                stored = _named("sessions__", to_row(session))
                return seen | stored | _named("audit_events__", to_row(entry))
        return {}


def _named(prefix: str, row: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in row.items()}
