"""Routes of passwords: forgotten, reset, changed."""

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import Field

from ...application.credentials import Credentials
from .openapi import BODY, CALLER, problems
from .principal import Client, Writer
from .schemas import Form, Message, Secret, Text

_LINK_SENT = Message(message="If there is an account with this address, a link is on its way.")


class ResetRequest(Form):
    email: Text = Field(examples=["ada@example.com"])


class Reset(Form):
    token: Text = Field(repr=False)
    new_password: Secret


class PasswordChange(Form):
    current_password: Secret
    new_password: Secret


def router(credentials: Credentials, route: type[APIRoute]) -> APIRouter:
    api = APIRouter(prefix="/v1", tags=["Passwords"], route_class=route)

    @api.post(
        "/password-resets",
        status_code=202,
        response_model=Message,
        operation_id="requestReset",
        summary="Ask for a reset link",
        responses=problems(BODY, "rate_limited"),
    )
    async def request_reset(body: ResetRequest, client: Client) -> Message:
        """Answer the same for every address, in the same time."""
        await credentials.request_reset(email=body.email, client=client)
        return _LINK_SENT

    @api.post(
        "/password-resets/confirm",
        status_code=204,
        operation_id="resetPassword",
        summary="Set a new password with a mailed token, or with that of an initial password",
        responses=problems(BODY, "token_invalid", "rate_limited", "overloaded"),
    )
    async def reset_password(body: Reset, client: Client) -> None:
        """End every session of the account."""
        await credentials.reset(token=body.token, new_password=body.new_password, client=client)

    @api.post(
        "/users/me/password",
        status_code=204,
        operation_id="changePassword",
        summary="Change the own password",
        responses=problems(CALLER, BODY, "wrong_password", "overloaded"),
    )
    async def change_password(body: PasswordChange, caller: Writer, client: Client) -> None:
        """End every other session of the account."""
        await credentials.change_password(
            actor=caller,
            current_password=body.current_password,
            new_password=body.new_password,
            client=client,
        )

    return api
