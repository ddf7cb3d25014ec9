"""Gatepost over gRPC, as a client of `examples/grpc_identity` reaches it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import grpc

from .driver import Account, Driver, OwnSession, Refused, Tokens

messages, services = grpc.protos_and_services("examples/grpc_identity/identity.proto")


class OverGrpc(Driver):
    """The channel says where it is served; `mailed` waits for the n-th token to an address."""

    def __init__(self, channel: Any, mailed: Callable[[str, int], Awaitable[str]]) -> None:
        self._stub = services.IdentityStub(channel)
        self._mailed = mailed

    async def mailed_token(self, address: str, number: int = 1) -> str:
        return await self._mailed(address, number)

    async def register(self, *, username: str, email: str, password: str) -> None:
        form = messages.Registration(username=username, email=email, password=password)
        await self._ask("Register", form)

    async def verify_email(self, *, token: str, password: str) -> Account:
        form = messages.Verification(token=token, password=password)
        return _account(await self._ask("VerifyEmail", form))

    async def log_in(self, *, login: str, password: str, device_name: str | None = None) -> Tokens:
        form = messages.Login(login=login, password=password, device_name=device_name)
        return _tokens(await self._ask("LogIn", form))

    async def refresh(self, *, refresh_token: str) -> Tokens:
        form = messages.RefreshRequest(refresh_token=refresh_token)
        return _tokens(await self._ask("Refresh", form))

    async def log_out(self, *, access_token: str) -> None:
        await self._ask("LogOut", messages.Nothing(), access_token)

    async def me(self, *, access_token: str) -> Account:
        return _account(await self._ask("Me", messages.Nothing(), access_token))

    async def change_password(
        self, *, access_token: str, current_password: str, new_password: str
    ) -> None:
        form = messages.PasswordChange(
            current_password=current_password, new_password=new_password
        )
        await self._ask("ChangePassword", form, access_token)

    async def request_reset(self, *, email: str) -> None:
        await self._ask("RequestReset", messages.ResetRequest(email=email))

    async def reset_password(self, *, token: str, new_password: str) -> None:
        form = messages.Reset(token=token, new_password=new_password)
        await self._ask("ResetPassword", form)

    async def list_sessions(self, *, access_token: str) -> Sequence[OwnSession]:
        found = await self._ask("ListSessions", messages.Nothing(), access_token)
        return [
            OwnSession(
                id=UUID(each.id),
                device_name=each.device_name if each.HasField("device_name") else None,
                is_current=each.current,
            )
            for each in found.items
        ]

    async def end_session(self, *, access_token: str, session_id: UUID) -> None:
        await self._ask("EndSession", messages.SessionId(id=str(session_id)), access_token)

    async def end_other_sessions(self, *, access_token: str) -> None:
        await self._ask("EndOtherSessions", messages.Nothing(), access_token)

    async def list_accounts(self, *, access_token: str) -> Sequence[Account]:
        found = await self._ask("ListAccounts", messages.AccountQuery(), access_token)
        return [_account(each) for each in found.items]

    async def _ask(self, method: str, form: Any, access_token: str | None = None) -> Any:
        metadata = (("authorization", f"Bearer {access_token}"),) if access_token else ()
        try:
            return await getattr(self._stub, method)(form, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as failed:
            code = dict(failed.trailing_metadata() or ()).get("gatepost-code")
            if code is None:
                raise
            raise Refused(str(code)) from failed


def _account(told: Any) -> Account:
    return Account(
        id=UUID(told.id),
        username=told.username,
        email=told.email,
        email_verified=told.email_verified,
        roles=frozenset(told.roles),
    )


def _tokens(told: Any) -> Tokens:
    return Tokens(
        access_token=told.access_token,
        refresh_token=told.refresh_token,
        session_id=UUID(told.session_id),
        scopes=frozenset(told.scope.split()),
    )
