"""Entities with defaults, so that a test names only what it is about."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from ..adapters.memory import ManualClock
from ..adapters.system import SystemSecrets
from ..application.ports.delivery import Job, JobName
from ..domain.accounts import Account, AccountId, AccountStatus, Username
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditEntry, AuditType
from ..domain.clients import Client, ClientId, ClientSecret
from ..domain.credentials import OneTimeToken, Purpose
from ..domain.exports import Export, ExportId, ExportStatus
from ..domain.keys import KeyState, SigningKey
from ..domain.sessions import (
    RefreshClaim,
    Session,
    SessionId,
    SessionPolicy,
    start_session,
)
from ..domain.webhooks import Delivery, DeliveryId, DeliveryStatus, Endpoint, EndpointId

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
SECRET = bytes(range(16))
A_HASH = "a hash"

_numbers = count(1)
new_id = SystemSecrets().new_id


def a_clock(now: datetime = NOW) -> ManualClock:
    return ManualClock(now)


def an_account(
    *,
    username: str | None = None,
    email: str | None = None,
    email_verified: bool = True,
    is_placeholder: bool = False,
    password_hash: str | None = A_HASH,
    bio: str | None = None,
    roles: tuple[str, ...] = (),
    status: AccountStatus = AccountStatus.ACTIVE,
    created_at: datetime = NOW,
    expires_at: datetime | None = None,
) -> Account:
    """Build an active, verified account whose name and address nobody else has."""
    name = username or f"user-{next(_numbers)}"
    return Account(
        id=AccountId(new_id()),
        username=Username(name),
        email=EmailAddress(email or f"{name}@example.com"),
        email_verified=email_verified,
        is_placeholder=is_placeholder,
        password_hash=password_hash,
        bio=bio,
        roles=roles,
        status=status,
        created_at=created_at,
        updated_at=created_at,
        expires_at=expires_at,
    )


def an_unproven_account(
    *,
    username: str | None = None,
    email: str | None = None,
    is_placeholder: bool = False,
    created_at: datetime = NOW,
    expires_at: datetime = NOW + 7 * DAY,
) -> Account:
    """Build a registration whose address is not proven; `is_placeholder`: and not its own."""
    return an_account(
        username=username,
        email=email,
        email_verified=False,
        is_placeholder=is_placeholder,
        created_at=created_at,
        expires_at=expires_at,
    )


def a_session(
    account: Account,
    *,
    secret: bytes = SECRET,
    now: datetime = NOW,
    policy: SessionPolicy | None = None,
    device_name: str | None = None,
) -> Session:
    return start_session(
        session_id=SessionId(new_id()),
        account_id=account.id,
        secret_hash=hashlib.sha256(secret).digest(),
        now=now,
        policy=policy or SessionPolicy(),
        device_name=device_name,
        user_agent=None,
        ip=None,
    )


def a_claim(session: Session, generation: int = 0, secret: bytes = SECRET) -> RefreshClaim:
    return RefreshClaim(session.id, secret, generation)


def a_token(
    account: Account,
    *,
    secret: str | None = None,
    purpose: Purpose = Purpose.VERIFY_EMAIL,
    now: datetime = NOW,
) -> OneTimeToken:
    secret = secret or f"token-{next(_numbers)}"
    return OneTimeToken.issue(secret, purpose, account.id, account.email.key, now)


def a_key(
    *, kid: str | None = None, state: KeyState = KeyState.ACTIVE, created_at: datetime = NOW
) -> SigningKey:
    return SigningKey(
        kid=kid or f"key-{next(_numbers)}",
        algorithm="ES256",
        sealed_private_key=b"\x00sealed\xff",
        state=state,
        created_at=created_at,
    )


def a_job(
    *,
    job_id: UUID | None = None,
    name: JobName = JobName.SEND_MAIL,
    payload: Mapping[str, str] | None = None,
) -> Job:
    return Job(id=job_id or new_id(), name=name, payload=payload or {"sealed": "00ff"})


def an_entry(*, subject: UUID | None = None, reason: str | None = None) -> AuditEntry:
    return AuditEntry(
        id=new_id(),
        created_at=NOW,
        type=AuditType.SESSION_CREATED,
        subject=subject,
        reason=reason,
    )


def a_client(*, scopes: tuple[str, ...] = ("users:read",)) -> Client:
    return Client(
        id=ClientId(new_id()),
        name=f"client {next(_numbers)}",
        scopes=scopes,
        created_at=NOW,
        updated_at=NOW,
    )


def a_client_secret(*, now: datetime = NOW) -> ClientSecret:
    return ClientSecret.issue(new_id(), f"secret-{next(_numbers)}", now, None)


def an_export(
    account: Account, *, status: ExportStatus = ExportStatus.PENDING, now: datetime = NOW
) -> Export:
    return replace(Export.request(ExportId(new_id()), account.id, now), status=status)


def an_endpoint(
    *, url: str = "https://hooks.example.com/in", events: tuple[str, ...] = ()
) -> Endpoint:
    return Endpoint(
        id=EndpointId(new_id()),
        url=url,
        events=events,
        sealed_secret=b"\x00sealed\xff",
        created_at=NOW,
        updated_at=NOW,
    )


def a_delivery(
    endpoint: Endpoint,
    *,
    event_id: UUID | None = None,
    status: DeliveryStatus = DeliveryStatus.PENDING,
    now: datetime = NOW,
) -> Delivery:
    return Delivery(
        id=DeliveryId(new_id()),
        endpoint_id=endpoint.id,
        event_id=event_id or new_id(),
        event="account.deleted.v1",
        body='{"type":"account.deleted.v1"}',
        status=status,
        created_at=now,
    )
