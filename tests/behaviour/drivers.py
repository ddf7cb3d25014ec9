"""Ways to reach Gatepost: calls in the same process, and HTTP wherever it is served."""

import asyncio
import email
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from email import policy
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from gatepost import Account as Entity
from gatepost import ClientContext, Gatepost, GatepostError, Principal, SignedIn
from gatepost.adapters.memory import MemoryPorts
from tests.behaviour.driver import ADMIN, PASSWORD, Account, Driver, OwnSession, Refused, Tokens

MAILS_WITHIN = 40.0
CLIENT = ClientContext(ip="192.0.2.7", user_agent="the behaviour suite")
MailedToken = Callable[[str, int], Awaitable[str]]


async def make_admin(gatepost: Gatepost) -> None:
    await gatepost.administration.create_administrator(
        actor=Principal.operator(),
        username=ADMIN,
        email=f"{ADMIN}@example.com",
        password=PASSWORD,
        client=CLIENT,
    )


def tokens_in_memory(gatepost: Gatepost, ports: MemoryPorts) -> MailedToken:
    """Do the queued jobs, then look at what the mailer sent."""

    async def find(address: str, number: int) -> str:
        while jobs := await ports.storage.drain():
            for job in jobs:
                await gatepost.jobs.run(job)
        links = [mail.link for mail in ports.mailer.sent_to(address) if mail.link]
        return links[number - 1].partition("#token=")[2]

    return find


def tokens_in_folder(folder: Path) -> MailedToken:
    """Wait until a worker has written the mail."""

    async def find(address: str, number: int) -> str:
        deadline = time.monotonic() + MAILS_WITHIN
        while time.monotonic() < deadline:
            found = list(_linked_tokens(folder, address))
            if len(found) >= number:
                return found[number - 1]
            await asyncio.sleep(0.05)
        raise AssertionError(f"no mail {number} to {address}")

    return find


def _linked_tokens(folder: Path, address: str) -> Iterator[str]:
    for file in sorted(folder.glob("*.eml")):
        mail = email.message_from_bytes(file.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))
        assert body is not None
        link = re.search(r"^http\S+#token=(\S+)\r?$", body.get_content(), re.MULTILINE)
        if mail["To"] == address and link:
            yield link[1]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except GatepostError as refused:
        raise Refused(refused.code) from refused


class InProcess(Driver):
    def __init__(self, gatepost: Gatepost, mailed: MailedToken) -> None:
        self._gatepost = gatepost
        self._mailed = mailed

    async def mailed_token(self, address: str, number: int = 1) -> str:
        return await self._mailed(address, number)

    async def register(self, *, username: str, email: str, password: str) -> None:
        with _told():
            await self._gatepost.accounts.register(
                username=username, email=email, password=password, client=CLIENT
            )

    async def verify_email(self, *, token: str, password: str) -> Account:
        verify = self._gatepost.accounts.verify_email
        with _told():
            return _account(await verify(token=token, password=password, client=CLIENT))

    async def log_in(self, *, login: str, password: str, device_name: str | None = None) -> Tokens:
        with _told():
            return _tokens(
                await self._gatepost.sessions.log_in(
                    login=login, password=password, device_name=device_name, client=CLIENT
                )
            )

    async def refresh(self, *, refresh_token: str) -> Tokens:
        refresh = self._gatepost.sessions.refresh
        with _told():
            return _tokens(await refresh(refresh_token=refresh_token, client=CLIENT))

    async def log_out(self, *, access_token: str) -> None:
        with _told():
            await self._gatepost.sessions.log_out(access_token=access_token, client=CLIENT)

    async def me(self, *, access_token: str) -> Account:
        with _told():
            caller = await self._caller(access_token)
            return _account(await self._gatepost.accounts.read(actor=caller))

    async def change_password(
        self, *, access_token: str, current_password: str, new_password: str
    ) -> None:
        with _told():
            await self._gatepost.credentials.change_password(
                actor=await self._caller(access_token),
                current_password=current_password,
                new_password=new_password,
                client=CLIENT,
            )

    async def request_reset(self, *, email: str) -> None:
        with _told():
            await self._gatepost.credentials.request_reset(email=email, client=CLIENT)

    async def reset_password(self, *, token: str, new_password: str) -> None:
        with _told():
            await self._gatepost.credentials.reset(
                token=token, new_password=new_password, client=CLIENT
            )

    async def list_sessions(self, *, access_token: str) -> Sequence[OwnSession]:
        with _told():
            caller = await self._caller(access_token)
            found = await self._gatepost.sessions.list_own(actor=caller)
        return [
            OwnSession(
                id=each.id,
                device_name=each.device_name,
                is_current=each.id == caller.session_id,
            )
            for each in found
        ]

    async def end_session(self, *, access_token: str, session_id: UUID) -> None:
        with _told():
            caller = await self._caller(access_token)
            await self._gatepost.sessions.end(actor=caller, session_id=session_id, client=CLIENT)

    async def end_other_sessions(self, *, access_token: str) -> None:
        with _told():
            caller = await self._caller(access_token)
            await self._gatepost.sessions.end_others(actor=caller, client=CLIENT)

    async def list_accounts(self, *, access_token: str) -> Sequence[Account]:
        with _told():
            caller = await self._caller(access_token)
            page = await self._gatepost.administration.list_accounts(actor=caller)
        return [_account(each) for each in page.items]

    async def _caller(self, access_token: str) -> Principal:
        return await self._gatepost.sessions.authenticate(access_token=access_token)


def _account(account: Entity) -> Account:
    return Account(
        id=account.id,
        username=account.username.value,
        email=account.email.value,
        email_verified=account.email_verified,
        roles=frozenset({"user", *account.roles}),
    )


def _tokens(signed_in: SignedIn) -> Tokens:
    return Tokens(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        session_id=signed_in.session_id,
        scopes=frozenset(signed_in.scope.split()),
    )


class OverHttp(Driver):
    """The contract as a client sees it; the client's base URL says where it is served."""

    def __init__(self, http: httpx2.AsyncClient, mailed: MailedToken) -> None:
        self._http = http
        self._mailed = mailed

    async def mailed_token(self, address: str, number: int = 1) -> str:
        return await self._mailed(address, number)

    async def register(self, *, username: str, email: str, password: str) -> None:
        body = {"username": username, "email": email, "password": password}
        await self._ask("POST", "/v1/register", body)

    async def verify_email(self, *, token: str, password: str) -> Account:
        body = {"token": token, "password": password}
        return _told_account(await self._ask("POST", "/v1/email-verifications/confirm", body))

    async def log_in(self, *, login: str, password: str, device_name: str | None = None) -> Tokens:
        body = {"login": login, "password": password, "device_name": device_name}
        return _told_tokens(await self._ask("POST", "/v1/sessions", body))

    async def refresh(self, *, refresh_token: str) -> Tokens:
        body = {"refresh_token": refresh_token}
        return _told_tokens(await self._ask("POST", "/v1/sessions/refresh", body))

    async def log_out(self, *, access_token: str) -> None:
        await self._ask("DELETE", "/v1/sessions/current", token=access_token)

    async def me(self, *, access_token: str) -> Account:
        return _told_account(await self._ask("GET", "/v1/users/me", token=access_token))

    async def change_password(
        self, *, access_token: str, current_password: str, new_password: str
    ) -> None:
        body = {"current_password": current_password, "new_password": new_password}
        await self._ask("POST", "/v1/users/me/password", body, token=access_token)

    async def request_reset(self, *, email: str) -> None:
        await self._ask("POST", "/v1/password-resets", {"email": email})

    async def reset_password(self, *, token: str, new_password: str) -> None:
        body = {"token": token, "new_password": new_password}
        await self._ask("POST", "/v1/password-resets/confirm", body)

    async def list_sessions(self, *, access_token: str) -> Sequence[OwnSession]:
        found = await self._ask("GET", "/v1/sessions", token=access_token)
        return [
            OwnSession(
                id=UUID(each["id"]),
                device_name=each["device_name"],
                is_current=each["current"],
            )
            for each in found["items"]
        ]

    async def end_session(self, *, access_token: str, session_id: UUID) -> None:
        await self._ask("DELETE", f"/v1/sessions/{session_id}", token=access_token)

    async def end_other_sessions(self, *, access_token: str) -> None:
        await self._ask("DELETE", "/v1/sessions", token=access_token)

    async def list_accounts(self, *, access_token: str) -> Sequence[Account]:
        found = await self._ask("GET", "/v1/users", token=access_token)
        return [_told_account(each) for each in found["items"]]

    async def _ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self._http.request(method, path, json=body, headers=headers)
        if answer.status_code >= 400:
            raise Refused(answer.json()["code"])
        return answer.json() if answer.content else None


def _told_account(told: dict[str, Any]) -> Account:
    return Account(
        id=UUID(told["id"]),
        username=told["username"],
        email=told["email"],
        email_verified=told["email_verified"],
        roles=frozenset(told["roles"]),
    )


def _told_tokens(told: dict[str, Any]) -> Tokens:
    return Tokens(
        access_token=told["access_token"],
        refresh_token=told["refresh_token"],
        session_id=UUID(told["session_id"]),
        scopes=frozenset(told["scope"].split()),
    )
