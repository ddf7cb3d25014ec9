"""The audit trail, for those who may read it."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ...application.trail import ReadAudit
from ...domain.audit import AuditFilter, AuditResult, AuditType
from .openapi import CALLER, problems
from .paging import Cursor, paged
from .principal import AuditReader
from .schemas import Time

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)


def _bounded(moment: datetime) -> datetime:
    """Bring a time to where the trail can be; at the ends of the calendar zones overflow it."""
    return min(max(moment, _FIRST), _LAST).astimezone(UTC)


_Moment = Annotated[AwareDatetime, AfterValidator(_bounded)]


class AuditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None
    actor: UUID | None = None
    subject: UUID | None = None
    type: AuditType | None = None
    since: _Moment | None = None
    until: _Moment | None = None


class AuditEvent(BaseModel):
    """Who did what to whom, when and from where. New types may come with any release."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    created_at: Time
    type: str = Field(examples=[AuditType.SESSION_CREATED.value])
    result: AuditResult
    reason: str | None
    actor: UUID | None
    subject: UUID | None
    session_id: UUID | None
    client_id: str | None
    ip: str | None
    user_agent: str | None
    request_id: str | None


class AuditEvents(BaseModel):
    items: list[AuditEvent]
    next_cursor: str | None


def router(read: ReadAudit, route: type[APIRoute], public_url: str) -> APIRouter:
    api = APIRouter(prefix="/v1/audit-events", tags=["Audit"], route_class=route)

    @api.get(
        "",
        response_model=AuditEvents,
        operation_id="listAuditEvents",
        summary="Read the audit trail, newest first",
        responses=problems(CALLER, "validation_failed"),
    )
    async def list_audit_events(
        request: Request, caller: AuditReader, query: Annotated[AuditQuery, Query()]
    ) -> Response:
        """Filter by who did it, to whom, what, and when; `until` is not included."""
        wanted = AuditFilter(
            actor=query.actor,
            subject=query.subject,
            type=query.type,
            since=query.since,
            until=query.until,
        )
        page = await read(actor=caller, filter_=wanted, limit=query.limit, cursor=query.cursor)
        items = [AuditEvent.model_validate(entry) for entry in page.items]
        body = AuditEvents(items=items, next_cursor=page.next_cursor)
        return paged(request, public_url, body, page.next_cursor)

    return api
