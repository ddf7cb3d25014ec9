"""How a refusal is told over gRPC: each kind has one status, here and nowhere else."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from gatepost import GatepostError, Kind
from gatepost.domain.errors import FieldError, PasswordChangeRequired, ValidationFailed

STATUS = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Kind.STALE: grpc.StatusCode.ABORTED,
    Kind.THROTTLED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
CODE = "gatepost-code"
_log = logging.getLogger(__name__)


class Refusals(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Turns what methods raise into a status, and lets no other error's text out."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None

        async def answer(received: bytes, context: Any) -> Any:
            try:
                request = handler.request_deserializer(received)
                _refuse_nul(request)
                return await handler.unary_unary(request, context)
            except GatepostError as refused:
                await context.abort(STATUS[refused.kind], refused.detail, _trailing(refused))
            except DecodeError:
                malformed = ((CODE, "malformed_request"),)
                await context.abort(STATUS[Kind.INVALID], "No such message.", malformed)
            except Exception as error:
                # Only the kind: a driver's text may hold what somebody sent.
                _log.error("%s failed: %s", details.method, type(error).__name__)
                await context.abort(grpc.StatusCode.INTERNAL, "Something went wrong on our side.")

        # Messages are read inside, for gRPC calls one that is none our fault.
        return grpc.unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _refuse_nul(request: Any) -> None:
    """PostgreSQL cannot hold NUL characters; what else is wrong is for the use cases to say."""
    texts = [(field, value) for field, value in request.ListFields() if isinstance(value, str)]
    ValidationFailed.raise_for(
        FieldError(field.name, "nul_character", "No NUL characters.")
        for field, value in texts
        if "\0" in value
    )


def _trailing(refused: GatepostError) -> tuple[tuple[str, str], ...]:
    told = [(CODE, refused.code)]
    if isinstance(refused, ValidationFailed):
        errors = [{"field": each.field, "code": each.code} for each in refused.errors]
        told.append(("gatepost-errors", json.dumps(errors)))
    if isinstance(refused, PasswordChangeRequired):
        told.append(("gatepost-password-change-token", refused.password_change_token))
    if refused.kind in (Kind.THROTTLED, Kind.UNAVAILABLE):
        told.append(("retry-after", str(getattr(refused, "retry_after", 1))))
    return tuple(told)
