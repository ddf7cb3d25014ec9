"""Gatepost as a gRPC service, over the same use cases as its HTTP API.

`identity.proto` is the contract. Policy, limits and audit are in the use cases, so each method
only hands over what it was given; `refusals.py` tells what is raised. It takes the settings of
Gatepost, and its database beside a `make run`, which mails what is queued here:

    make run
    python -m examples.grpc_identity.service     # in another terminal, from the same folder
"""

import asyncio
import os
import signal
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import grpc

from gatepost import (
    Account,
    ClientContext,
    Gatepost,
    Principal,
    Settings,
    SignedIn,
    available_database,
    load_settings,
    open_gatepost,
)
from gatepost.domain.errors import FieldError, ValidationFailed
from gatepost.domain.roles import roles_held
from gatepost.verifier import bearer_token

from .refusals import Refusals

messages, services = grpc.protos_and_services("examples/grpc_identity/identity.proto")
NOTHING = messages.Nothing()


class Identity(services.IdentityServicer):  # type: ignore[misc,name-defined]
    """One method a use case."""

    def __init__(self, gatepost: Gatepost) -> None:
        self._gatepost = gatepost

    async def Register(self, form: Any, context: Any) -> Any:
        await self._gatepost.accounts.register(
            username=form.username,
            email=form.email,
            password=form.password,
            bio=_given(form, "bio"),
            locale=_given(form, "locale"),
            client=_client(context),
        )
        return NOTHING

    async def VerifyEmail(self, form: Any, context: Any) -> Any:
        account = await self._gatepost.accounts.verify_email(
            token=form.token, password=form.password, client=_client(context)
        )
        return _account(account)

    async def RequestReset(self, form: Any, context: Any) -> Any:
        request_reset = self._gatepost.credentials.request_reset
        await request_reset(email=form.email, client=_client(context))
        return NOTHING

    async def ResetPassword(self, form: Any, context: Any) -> Any:
        await self._gatepost.credentials.reset(
            token=form.token, new_password=form.new_password, client=_client(context)
        )
        return NOTHING

    async def LogIn(self, form: Any, context: Any) -> Any:
        signed_in = await self._gatepost.sessions.log_in(
            login=form.login,
            password=form.password,
            device_name=_line(form, "device_name"),
            client=_client(context),
        )
        return _tokens(signed_in)

    async def Refresh(self, form: Any, context: Any) -> Any:
        refresh = self._gatepost.sessions.refresh
        return _tokens(await refresh(refresh_token=form.refresh_token, client=_client(context)))

    async def LogOut(self, _: Any, context: Any) -> Any:
        log_out = self._gatepost.sessions.log_out
        await log_out(access_token=_token(context), client=_client(context))
        return NOTHING

    async def Me(self, _: Any, context: Any) -> Any:
        return _account(await self._gatepost.accounts.read(actor=await self._caller(context)))

    async def ChangePassword(self, form: Any, context: Any) -> Any:
        await self._gatepost.credentials.change_password(
            actor=await self._caller(context),
            current_password=form.current_password,
            new_password=form.new_password,
            client=_client(context),
        )
        return NOTHING

    async def ListSessions(self, _: Any, context: Any) -> Any:
        actor = await self._caller(context)
        found = await self._gatepost.sessions.list_own(actor=actor)
        items = [
            messages.Session(
                id=str(each.id),
                device_name=each.device_name,
                current=each.id == actor.session_id,
            )
            for each in found
        ]
        return messages.SessionList(items=items)

    async def EndSession(self, form: Any, context: Any) -> Any:
        await self._gatepost.sessions.end(
            actor=await self._caller(context),
            session_id=_uuid(form.id),
            client=_client(context),
        )
        return NOTHING

    async def EndOtherSessions(self, _: Any, context: Any) -> Any:
        end_others = self._gatepost.sessions.end_others
        await end_others(actor=await self._caller(context), client=_client(context))
        return NOTHING

    async def ListAccounts(self, form: Any, context: Any) -> Any:
        page = await self._gatepost.administration.list_accounts(
            actor=await self._caller(context),
            limit=min(form.limit or 50, 200),
            cursor=_given(form, "cursor"),
        )
        items = [_account(account) for account in page.items]
        return messages.AccountPage(items=items, next_cursor=page.next_cursor)

    async def _caller(self, context: Any) -> Principal:
        return await self._gatepost.sessions.authenticate(access_token=_token(context))


def _token(context: Any) -> str:
    sent = (pair for pair in context.invocation_metadata() if pair[0] == "authorization")
    return bearer_token([str(value) for _, value in sent])


def _client(context: Any) -> ClientContext:
    """Say where a call comes from; the limits by address need it. `ipv6:%5B::1%5D:4711`"""
    family, _, address = unquote(context.peer()).partition(":")
    host = urlsplit(f"//{address}").hostname if family in ("ipv4", "ipv6") else None
    return ClientContext(ip=host, user_agent="grpc")


def _given(form: Any, name: str) -> Any:
    return getattr(form, name) if form.HasField(name) else None


def _line(form: Any, name: str) -> str | None:
    """Read a text that is shown in lists and mails, where a line break could mislead."""
    text: str | None = _given(form, name)
    if text is not None and not (len(text) <= 100 and text.isprintable()):
        raise ValidationFailed(FieldError(name, "invalid_text", "At most 100, on one line."))
    return text or None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValidationFailed(FieldError("id", "invalid_id", "A UUID.")) from None


def _account(account: Account) -> Any:
    return messages.Account(
        id=str(account.id),
        username=account.username.value,
        email=account.email.value,
        email_verified=account.email_verified,
        roles=roles_held(account.roles),
    )


def _tokens(signed_in: SignedIn) -> Any:
    return messages.Tokens(
        access_token=signed_in.access_token,
        expires_in=int(signed_in.expires_in.total_seconds()),
        refresh_token=signed_in.refresh_token,
        refresh_expires_in=int(signed_in.refresh_expires_in.total_seconds()),
        scope=signed_in.scope,
        session_id=str(signed_in.session_id),
    )


def make_server(gatepost: Gatepost) -> Any:
    server = grpc.aio.server(
        interceptors=[Refusals()], options=[("grpc.max_receive_message_length", 64 * 1024)]
    )
    services.add_IdentityServicer_to_server(Identity(gatepost), server)
    return server


async def serve(settings: Settings) -> None:
    # Tokens travel in clear here: beyond loopback, serve with `add_secure_port`.
    address = os.environ.get("GRPC_ADDRESS", "127.0.0.1:50051")
    async with open_gatepost(settings) as gatepost:
        server = make_server(gatepost)
        port = server.add_insecure_port(address)
        await server.start()
        print(f"Identity is served on {address.rpartition(':')[0]}:{port}", flush=True)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
        await server.stop(grace=10)


if __name__ == "__main__":
    with available_database(load_settings()) as reachable:
        asyncio.run(serve(reachable))
