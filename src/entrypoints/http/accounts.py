"""Routes of an account: registration, proof of the address, the caller's own account."""

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...application.accounts import UNSET, Accounts
from ...application.idempotency import Idempotency
from ...domain.accounts import Account
from .idempotency import Repeatable, once
from .language import preferred_locale
from .openapi import BODY, CALLER, KEYED, problems
from .principal import Client, HashingClient, Reader, Writer
from .schemas import Form, Message, Secret, Text, User, json_answer

_ADA = {"username": "ada", "email": "ada@example.com"}
_REGISTERED = Message(message="Registration successful")
_CHANGE_ASKED = Message(message="If the new address is free, a link is on its way to it.")
_LINK_SENT = Message(message="If this address waits for its proof, a new link is on its way.")


class Registration(Form):
    username: Text = Field(examples=[_ADA["username"]])
    email: Text = Field(examples=[_ADA["email"]])
    password: Secret = Field(examples=["correct horse battery staple"])
    bio: str | None = Field(default=None, examples=["Counts things."])
    locale: Text | None = Field(default=None, examples=["en-GB"])


class VerificationRequest(Form):
    email: Text = Field(examples=[_ADA["email"]])


class Verification(Form):
    token: Text = Field(repr=False)
    password: Secret


class Undo(Form):
    token: Text = Field(repr=False)


class EmailChange(Form):
    new_email: Text = Field(examples=["ada@example.org"])
    password: Secret


class Deletion(Form):
    password: Secret


class AccountChange(Form):
    username: Text = Field(default_factory=str, examples=["ada.l"])
    bio: str | None = Field(default=None, description="`null` empties it.")
    locale: Text = Field(default_factory=str, examples=["en-GB"])


def registration_router(
    accounts: Accounts, idempotency: Idempotency, route: type[APIRoute]
) -> APIRouter:
    """Make the routes that anybody may call."""
    api = APIRouter(prefix="/v1", tags=["Accounts"], route_class=route)
    _add_registration(api, accounts, idempotency)
    _add_proofs(api, accounts)
    return api


def _add_registration(api: APIRouter, accounts: Accounts, idempotency: Idempotency) -> None:
    @api.post(
        "/register",
        status_code=202,
        response_model=Message,
        operation_id="registerAccount",
        summary="Register an account",
        responses={
            201: {"model": User, "description": "Where addresses need no proof."},
            **problems(
                BODY,
                KEYED,
                "registration_closed",
                "username_taken",
                "email_taken",
                "rate_limited",
                "overloaded",
            ),
        },
    )
    async def register(
        body: Registration,
        client: HashingClient,
        keyed: Repeatable,
        request: Request,
    ) -> Response:
        """Answer the same whether or not the address is known; a mail with a link follows."""
        account = await accounts.register(
            username=body.username,
            email=body.email,
            password=body.password,
            bio=body.bio,
            locale=_preferred_locale(request) if body.locale is None else body.locale,
            client=client,
            once=once(idempotency, keyed, _registered),
        )
        return _registered(account)


def _preferred_locale(request: Request) -> str | None:
    return preferred_locale(request.headers.get("accept-language"))


def _registered(account: Account | None) -> Response:
    return json_answer(User.of(account), 201) if account else json_answer(_REGISTERED, 202)


def _add_proofs(api: APIRouter, accounts: Accounts) -> None:
    @api.post(
        "/email-verifications",
        status_code=202,
        response_model=Message,
        operation_id="requestVerification",
        summary="Ask for a fresh verification link",
        responses=problems(BODY, "rate_limited"),
    )
    async def request_verification(body: VerificationRequest, client: Client) -> Message:
        """Answer the same for every address."""
        await accounts.request_verification(email=body.email, client=client)
        return _LINK_SENT

    @api.post(
        "/email-verifications/confirm",
        response_model=User,
        operation_id="confirmEmail",
        summary="Prove an address with the mailed token and the password",
        responses=problems(
            BODY, "token_invalid", "wrong_password", "email_taken", "rate_limited", "overloaded"
        ),
    )
    async def confirm_email(body: Verification, client: Client) -> Response:
        """Spend the token; a wrong password leaves it good. A change of address happens here."""
        return json_answer(
            User.of(
                await accounts.verify_email(
                    token=body.token, password=body.password, client=client
                )
            )
        )

    @api.post(
        "/email-changes/undo",
        status_code=204,
        operation_id="undoEmailChange",
        summary="Cancel a change of address, or take it back",
        responses=problems(BODY, "token_invalid", "email_taken", "rate_limited"),
    )
    async def undo_email_change(body: Undo, client: Client) -> None:
        """End every session and void the password; a reset link goes to the old address.

        Where another account owns the old address by now, this one is suspended instead.
        """
        await accounts.undo_email_change(token=body.token, client=client)


def own_account_router(accounts: Accounts, route: type[APIRoute]) -> APIRouter:
    """Make the routes of the caller's own account."""
    api = APIRouter(prefix="/v1/users/me", tags=["Own account"], route_class=route)

    @api.get(
        "",
        response_model=User,
        operation_id="readOwnAccount",
        summary="Read the own account",
        responses=problems(CALLER),
    )
    async def read_own_account(caller: Reader) -> Response:
        return json_answer(User.of(await accounts.read(actor=caller)))

    @api.patch(
        "",
        response_model=User,
        operation_id="changeOwnAccount",
        summary="Change the own username, bio or locale",
        responses=problems(CALLER, BODY, "username_taken"),
    )
    async def change_own_account(body: AccountChange, caller: Writer, client: Client) -> Response:
        """Leave out what shall stay as it is."""
        given = body.model_fields_set
        account = await accounts.change(
            actor=caller,
            username=body.username if "username" in given else UNSET,
            bio=body.bio if "bio" in given else UNSET,
            locale=body.locale if "locale" in given else UNSET,
            client=client,
        )
        return json_answer(User.of(account))

    @api.post(
        "/email",
        status_code=202,
        response_model=Message,
        operation_id="requestEmailChange",
        summary="Ask to change the own e-mail address",
        responses=problems(CALLER, BODY, "wrong_password", "overloaded"),
    )
    async def request_email_change(body: EmailChange, caller: Writer, client: Client) -> Message:
        """Mail a link to the new address and a notice to the old; until then nothing changes."""
        await accounts.request_email_change(
            actor=caller, new_email=body.new_email, password=body.password, client=client
        )
        return _CHANGE_ASKED

    @api.post(
        "/deletion",
        status_code=204,
        operation_id="deleteOwnAccount",
        summary="Delete the own account",
        responses=problems(CALLER, BODY, "wrong_password", "last_admin", "overloaded"),
    )
    async def delete_own_account(body: Deletion, caller: Writer, client: Client) -> None:
        """Erase at once what is stored about the caller; the username stays taken for a while."""
        await accounts.delete(actor=caller, password=body.password, client=client)

    return api
