"""Routes of exports: all that is stored about the caller, as one file."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from ...application.exports import Exports
from ...application.idempotency import Idempotency
from ...domain import exports as domain
from ...domain.exports import ExportStatus
from .idempotency import Repeatable, once
from .openapi import BODY, CALLER, KEYED, problems
from .paths import ID
from .principal import Client, Reader, Writer
from .schemas import Form, Secret, Time, json_answer

_PREFIX = "/v1/users/me/exports"
_ARCHIVE = {
    "description": "One JSON document; `format` names its shape.",
    "content": {"application/json": {"schema": {"type": "object"}}},
    "headers": {"Content-Disposition": {"schema": {"type": "string"}}},
}

ExportPath = Annotated[UUID, Path(alias="id")]


class ExportRequest(Form):
    password: Secret


class ExportAccepted(BaseModel):
    """An export that is being built."""

    id: UUID
    status: ExportStatus


class Export(BaseModel):
    """How an export stands."""

    id: UUID
    status: ExportStatus
    progress: int = Field(ge=0, le=100, description="How much is written, in per cent.")
    created_at: Time
    expires_at: Time | None = Field(description="`null` until it is ready.")
    download_url: str | None = Field(
        description="Needs the bearer token as well; `null` unless it is ready."
    )

    @classmethod
    def of(cls, export: domain.Export, public_url: str) -> "Export":
        is_ready = export.status is ExportStatus.READY
        was_ready = is_ready or export.status is ExportStatus.EXPIRED
        return cls(
            id=export.id,
            status=export.status,
            progress=export.progress,
            created_at=export.created_at,
            expires_at=export.expires_at if was_ready else None,
            download_url=f"{public_url}{_PREFIX}/{export.id}/download" if is_ready else None,
        )


def router(
    exports: Exports, idempotency: Idempotency, route: type[APIRoute], public_url: str
) -> APIRouter:
    api = APIRouter(prefix=_PREFIX, tags=["Own account"], route_class=route)

    @api.post(
        "",
        status_code=202,
        response_model=ExportAccepted,
        operation_id="requestExport",
        summary="Ask for a copy of all own data",
        responses=problems(CALLER, BODY, KEYED, "wrong_password", "overloaded"),
    )
    async def request_export(
        body: ExportRequest, caller: Writer, client: Client, keyed: Repeatable
    ) -> Response:
        """Build it in the background; a mail tells when it is ready. One is built at a time."""
        export = await exports.request(
            actor=caller,
            password=body.password,
            client=client,
            once=once(idempotency, keyed, _accepted, caller.actor_id),
        )
        return _accepted(export)

    @api.get(
        f"/{ID}",
        response_model=Export,
        operation_id="readExport",
        summary="See whether an export is ready",
        responses=problems(CALLER, "not_found", "validation_failed"),
    )
    async def read_export(export_id: ExportPath, caller: Reader) -> Response:
        export = await exports.read(actor=caller, export_id=export_id)
        return json_answer(Export.of(export, public_url))

    @api.get(
        f"/{ID}/download",
        response_class=StreamingResponse,
        operation_id="downloadExport",
        summary="Download an export",
        responses={200: _ARCHIVE, **problems(CALLER, "not_found", "validation_failed")},
    )
    async def download_export(
        export_id: ExportPath, caller: Reader, client: Client
    ) -> StreamingResponse:
        """Answer for a day after it is ready; before and after there is nothing here."""
        found = await exports.download(actor=caller, export_id=export_id, client=client)
        made = f"{found.export.created_at:%Y-%m-%d}"
        headers = {
            "Content-Disposition": f'attachment; filename="gatepost-export-{made}.json"',
            "Content-Length": str(found.export.size),
        }
        return StreamingResponse(found.content, headers=headers, media_type="application/json")

    return api


def _accepted(export: domain.Export) -> Response:
    return json_answer(ExportAccepted(id=export.id, status=export.status), 202)
