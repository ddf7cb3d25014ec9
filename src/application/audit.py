"""Writing the audit trail, in the transaction of what it tells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from ..domain.audit import AuditEntry, AuditResult, AuditType, ClientContext
from .ports.delivery import Metrics
from .ports.security import Clock, Secrets
from .ports.storage import Transaction, UnitOfWork


@dataclass(frozen=True, slots=True)
class Auditor:
    """Appends entries; a refusal gets a transaction of its own, as nothing else commits it.

    What is counted for operators is counted here, so that both tell the same.
    """

    uow: UnitOfWork
    secrets: Secrets
    now: Clock
    metrics: Metrics

    async def note(
        self,
        tx: Transaction,
        type_: AuditType,
        now: datetime,
        client: ClientContext,
        *,
        actor: UUID | None = None,
        subject: UUID | None = None,
        session_id: UUID | None = None,
        failure: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Append an entry; `failure` names why something was refused, `reason` why it was done."""
        await tx.audit.append(
            AuditEntry(
                id=self.secrets.new_id(),
                created_at=now,
                type=type_,
                result=AuditResult.FAILURE if failure else AuditResult.SUCCESS,
                reason=failure or reason,
                actor=actor,
                subject=subject,
                session_id=session_id,
                client_id=client.client_id,
                ip=client.ip,
                user_agent=client.user_agent,
                request_id=client.request_id,
            )
        )
        self.metrics.noted(type_, failure)

    async def note_all(
        self,
        tx: Transaction,
        type_: AuditType,
        now: datetime,
        client: ClientContext,
        *,
        actor: UUID | None,
        subjects: Sequence[UUID],
        reason: str,
    ) -> None:
        """Append what was done to many, an entry each, at once."""
        entry = AuditEntry(
            id=self.secrets.new_id(),
            created_at=now,
            type=type_,
            reason=reason,
            actor=actor,
            client_id=client.client_id,
            ip=client.ip,
            user_agent=client.user_agent,
            request_id=client.request_id,
        )
        await tx.audit.append_all(
            [replace(entry, id=self.secrets.new_id(), subject=subject) for subject in subjects]
        )
        for _ in subjects:
            self.metrics.noted(type_, None)

    async def refused(
        self,
        type_: AuditType,
        client: ClientContext,
        *,
        actor: UUID | None = None,
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
