"""Writing the audit trail, in the transaction of what it tells, and the events that follow."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from ..domain.audit import AuditEntry, AuditResult, AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.events import event_of, is_hidden
from ..domain.roles import Principal
from .events import Outbox
from .ports.delivery import Metrics
from .ports.security import Clock, Secrets
from .ports.storage import Transaction, UnitOfWork

# Who did it: a caller, whose session is noted too, or an account that came without one.
Actor = Principal | UUID


@dataclass(frozen=True, slots=True)
class Auditor:
    """Appends entries; a refusal gets a transaction of its own, as nothing else commits it.

    What is counted for operators is counted here, and what others are told of is derived here, so
    that all of them tell the same.
    """

    uow: UnitOfWork
    secrets: Secrets
    now: Clock
    metrics: Metrics
    outbox: Outbox

    async def note(
        self,
        tx: Transaction,
        type_: AuditType,
        now: datetime,
        client: ClientContext,
        *,
        actor: Actor | None = None,
        subject: UUID | None = None,
        session_id: UUID | None = None,
        failure: str | None = None,
        reason: str | None = None,
        changed: Sequence[str] = (),
    ) -> None:
        """Append an entry; `failure` names why something was refused, `reason` why it was done.

        `session_id` is the session that it is about, if that is not the actor's. `changed` names
        the fields that a changed account has new.
        """
        entry = self._entry(type_, now, client, actor, subject, session_id, failure, reason)
        await self._append(tx, entry, changed)
        self.metrics.noted(type_, failure)

    async def note_unannounced(
        self,
        write: Callable[[AuditEntry, str], Awaitable[bool]],
        type_: AuditType,
        now: datetime,
        client: ClientContext,
        *,
        owner: UUID,
        session_id: UUID,
    ) -> bool:
        """Let one statement write the entry, if nobody has to be told of it; tells whether it did.

        `write` gets the event's name and refuses where an endpoint wants it.
        """
        entry = self._entry(type_, now, client, owner, owner, session_id, None, None)
        event = event_of(entry)
        if event is None or self.outbox.has_subscribers or not await write(entry, event.name):
            return False
        self.metrics.noted(type_, None)
        return True

    def _entry(
        self,
        type_: AuditType,
        now: datetime,
        client: ClientContext,
        actor: Actor | None,
        subject: UUID | None,
        session_id: UUID | None,
        failure: str | None,
        reason: str | None,
    ) -> AuditEntry:
        who, from_session = _identity(actor)
        return AuditEntry(
            id=self.secrets.new_id(),
            created_at=now,
            type=type_,
            result=AuditResult.FAILURE if failure else AuditResult.SUCCESS,
            reason=failure or reason,
            actor=who,
            subject=subject,
            session_id=session_id or from_session,
            client_id=client.client_id,
            ip=client.ip,
            user_agent=client.user_agent,
            request_id=client.request_id,
        )

    async def note_all(
        self,
        tx: Transaction,
        type_: AuditType,
        now: datetime,
        client: ClientContext,
        *,
        actor: Actor | None,
        subjects: Sequence[UUID],
        reason: str,
    ) -> None:
        """Append what was done to many, an entry each, at once."""
        entry = self._entry(type_, now, client, actor, None, None, None, reason)
        await tx.audit.append_all(
            [replace(entry, id=self.secrets.new_id(), subject=subject) for subject in subjects]
        )
        for _ in subjects:
            self.metrics.noted(type_, None)

    async def _append(self, tx: Transaction, entry: AuditEntry, changed: Sequence[str]) -> None:
        event = event_of(entry, changed)
        is_wanted = await tx.audit.append(entry, announces=event.name if event else None)
        if event and (is_wanted or self.outbox.has_subscribers):
            await self.outbox.put(tx, event, is_hidden=is_hidden(entry))

    async def refused(
        self,
        type_: AuditType,
        client: ClientContext,
        *,
        actor: Actor | None = None,
        subject: UUID | None,
        session_id: UUID | None = None,
        failure: str,
    ) -> None:
        """Commit a failure by itself, before the caller raises it."""
        async with self.uow() as tx:
            await self.note(
                tx,
                type_,
                self.now(),
                client,
                actor=actor,
                subject=subject,
                session_id=session_id,
                failure=failure,
            )
            await tx.commit()


def _identity(actor: Actor | None) -> tuple[UUID | None, UUID | None]:
    if isinstance(actor, Principal):
        return actor.actor_id, actor.session_id
    return actor, None
