"""Accounts moved in and out in bulk, by those who run the service."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from uuid import UUID

from ..domain.accounts import Account, AccountId
from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import EmailTaken, FieldError, UsernameTaken, ValidationFailed
from ..domain.roles import BUILT_IN_ROLES, Principal, Role, Scope, names_of_own, scopes_of
from ..domain.transfer import AccountRecord, to_record
from .audit import Auditor
from .ports.security import Clock, PasswordHasher, Secrets
from .ports.storage import Transaction, UnitOfWork

# Rows of a transaction: enough for speed, and few enough for the database's limit of time.
BATCH = 500
_IMPORTED = "imported"


class RowResult(StrEnum):
    CREATED = "created"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReport:
    """What became of one line; `has_slower_hash`: until its owner signs in, time tells of him."""

    line: int
    result: RowResult
    account_id: UUID | None = None
    errors: tuple[FieldError, ...] = ()
    has_slower_hash: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the file by its number; without text when it was too long to be read."""

    number: int
    text: bytes | None = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A row that is valid by itself, and the account it asks for."""

    line: int
    account: Account
    has_id: bool
    has_slower_hash: bool
    verdict: RowResult = RowResult.CREATED
    errors: tuple[FieldError, ...] = ()

    def report(self) -> RowReport:
        made = self.verdict is RowResult.CREATED
        known = made or self.verdict is RowResult.UNCHANGED
        return RowReport(
            line=self.line,
            result=self.verdict,
            account_id=self.account.id if known else None,
            errors=self.errors,
            has_slower_hash=made and self.has_slower_hash,
        )

    def refuse(self, verdict: RowResult, *errors: FieldError) -> None:
        self.verdict, self.errors = verdict, errors


class _Holders:
    """Who holds which id, username and address: stored accounts, and those of rows before."""

    def __init__(self, stored: Iterable[Account]) -> None:
        self._ids: dict[AccountId, Account] = {}
        self._names: dict[str, Account] = {}
        self._emails: dict[str, Account] = {}
        for account in stored:
            self._put(account)

    def _put(self, account: Account) -> None:
        self._ids[account.id] = self._names[account.username.key] = account
        if not account.is_placeholder:
            self._emails[account.email.key] = account

    def judge(self, draft: _Draft) -> None:
        """Compare a row with who is there, and let it take its place if that is free."""
        asked = draft.account
        same = self._ids.get(asked.id)
        by_name = self._names.get(asked.username.key)
        by_email = self._emails.get(asked.email.key)
        if same is None and by_name is not None and by_name is by_email and not draft.has_id:
            same = by_name
        if same is not None and not same.is_placeholder and same in (by_name, by_email):
            draft.account = same
            draft.verdict = RowResult.UNCHANGED
            return
        if errors := tuple(_conflicts(same, by_name, by_email)):
            draft.refuse(RowResult.CONFLICT, *errors)
            return
        self._put(asked)


def _conflicts(*holders: Account | None) -> Iterator[FieldError]:
    same, by_name, by_email = holders
    if same is not None:
        yield FieldError("id", "id_taken", "Another account has this id.")
    if by_name is not None:
        yield FieldError("username", UsernameTaken.code, UsernameTaken.title)
    if by_email is not None:
        yield FieldError("email", EmailTaken.code, EmailTaken.title)


@dataclass(frozen=True, slots=True)
class ImportAccounts:
    """Create the accounts of a file of JSON Lines, a batch a transaction, and tell of each row.

    Known accounts are left as they are, so that the same file again changes nothing: known by
    `id`, or without one by username and address together. No mail is sent. A refused row is
    reported and stops nothing. `dry_run` checks and writes nothing; it does not see rows of other
    batches. Raises InsufficientScope and Unavailable; what was yielded before stays.
    """

    uow: UnitOfWork
    hasher: PasswordHasher
    secrets: Secrets
    auditor: Auditor
    now: Clock

    async def __call__(
        self,
        *,
        actor: Principal,
        lines: Iterable[Line],
        dry_run: bool = False,
        allow_roles: bool = False,
        client: ClientContext,
    ) -> AsyncIterator[Sequence[RowReport]]:
        actor.require(Scope.USERS_WRITE)
        if allow_roles:
            actor.require(Scope.ROLES_WRITE)
        remaining = iter(lines)
        while batch := list(islice(remaining, BATCH)):
            now = self.now()
            read = [self._read(line, allow_roles, now) for line in batch]
            drafts = [one for one in read if isinstance(one, _Draft)]
            await self._take(drafts, actor, dry_run, client, now)
            yield [one.report() if isinstance(one, _Draft) else one for one in read]

    def _read(self, line: Line, allow_roles: bool, now: datetime) -> _Draft | RowReport:
        try:
            record = AccountRecord.parse(_parsed(line))
            if record.roles and not allow_roles:
                message = "Given only where that was asked for."
                raise ValidationFailed(FieldError("roles", "roles_not_allowed", message))
            return self._draft(line.number, record, now)
        except ValidationFailed as refused:
            result, errors = RowResult.INVALID, refused.errors
            return RowReport(line=line.number, result=result, errors=errors)

    def _draft(self, line: int, record: AccountRecord, now: datetime) -> _Draft:
        given = record.password_hash
        adopted = None if given is None else self.hasher.adopt(given)
        encoded = adopted.encoded if adopted else None
        account = record.to_account(AccountId(self.secrets.new_id()), encoded, now)
        if account.has_expired(now):
            raise ValidationFailed(FieldError("expires_at", "expired", "Gone already."))
        return _Draft(
            line=line,
            account=account,
            has_id=record.id is not None,
            has_slower_hash=adopted is not None and adopted.is_slower,
        )

    async def _take(
        self,
        drafts: Sequence[_Draft],
        actor: Principal,
        dry_run: bool,
        client: ClientContext,
        now: datetime,
    ) -> None:
        async with self.uow() as tx:
            new = await self._find_new(tx, drafts, actor, now)
            if dry_run or not new:
                return
            added = await tx.transfer.add_all(new, now)
            type_ = AuditType.ACCOUNT_CREATED
            await self.auditor.note_all(
                tx, type_, now, client, actor=actor, subjects=sorted(added), reason=_IMPORTED
            )
            await tx.commit()
        lost = {account.id for account in new} - added
        for draft in drafts:
            # Rows that repeat one of those are no more there than it is.
            if draft.account.id in lost and not draft.errors:
                draft.refuse(
                    RowResult.CONFLICT,
                    FieldError("row", "taken", "Its id, username or address was just taken."),
                )

    async def _find_new(
        self, tx: Transaction, drafts: Sequence[_Draft], actor: Principal, now: datetime
    ) -> list[Account]:
        """Judge the drafts, and return the accounts of those that are to be made."""
        await self._refuse_roles(tx, drafts, actor)
        good = [draft for draft in drafts if not draft.errors]
        rivals = await tx.transfer.find_rivals([draft.account for draft in good], now)
        holders = _Holders(rivals)
        for draft in good:
            holders.judge(draft)
        return [draft.account for draft in good if draft.verdict is RowResult.CREATED]

    async def _refuse_roles(
        self, tx: Transaction, drafts: Sequence[_Draft], actor: Principal
    ) -> None:
        """Refuse unknown roles, and those beyond the actor; hold the others until the end."""
        asked = names_of_own({role for draft in drafts for role in draft.account.roles})
        found = await tx.roles.find(asked, lock=True) if asked else ()
        known = {role.name for role in found} | set(BUILT_IN_ROLES)
        for draft in drafts:
            if error := _role_error(draft.account.roles, known, found, actor):
                draft.refuse(RowResult.INVALID, error)


def _role_error(
    named: tuple[str, ...], known: set[str], own: Sequence[Role], actor: Principal
) -> FieldError | None:
    if not known.issuperset(named):
        return FieldError("roles", "unknown_role", "There is no such role.")
    if not actor.holds(scopes_of(named, own)):
        return FieldError("roles", "permission_denied", "They hold more than you do.")
    return None


def _parsed(line: Line) -> object:
    if line.text is None:
        raise ValidationFailed(FieldError("row", "too_long", "Longer than a row may be."))
    try:
        value: object = json.loads(line.text)
    except (ValueError, RecursionError):
        raise ValidationFailed(FieldError("row", "invalid_json", "Not JSON.")) from None
    return value


@dataclass(frozen=True, slots=True)
class ExportAccounts:
    """Give out every account as a record that `ImportAccounts` takes, by `id`, in batches.

    With password hashes unless told otherwise, which is audited before the first leaves. Not one
    snapshot: who signs up meanwhile may be in it. Raises InsufficientScope, Unavailable.
    """

    uow: UnitOfWork
    hasher: PasswordHasher
    auditor: Auditor
    now: Clock

    async def __call__(
        self, *, actor: Principal, with_passwords: bool = True, client: ClientContext
    ) -> AsyncIterator[Sequence[dict[str, object]]]:
        # Nobody but the operator holds all of them, or an administrator who is his equal.
        for scope in sorted(Scope):
            actor.require(scope)
        async with self.uow() as tx:
            type_ = AuditType.ACCOUNTS_EXPORTED
            await self.auditor.note(tx, type_, self.now(), client, actor=actor)
            await tx.commit()
        last: AccountId | None = None
        while True:
            async with self.uow() as tx:
                found = await tx.transfer.read_after(last, BATCH)
            if not found:
                return
            now = self.now()
            # Who has expired is gone, only not swept out yet.
            left = [account for account in found if not account.has_expired(now)]
            yield [self._record(account, with_passwords) for account in left]
            last = found[-1].id

    def _record(self, account: Account, with_passwords: bool) -> dict[str, object]:
        encoded = account.password_hash if with_passwords else None
        return to_record(account, self.hasher.portable(encoded) if encoded else None)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Accounts in bulk."""

    import_accounts: ImportAccounts
    export_accounts: ExportAccounts
