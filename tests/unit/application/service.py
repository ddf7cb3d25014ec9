"""A service in memory, and the hands that use it."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta

from gatepost import Policies, assemble
from gatepost.adapters.memory import (
    MemoryCallers,
    MemoryStorage,
    MemoryUnitOfWork,
    PlainPasswordHasher,
    memory_ports,
)
from gatepost.application.ports.delivery import JobName, Mail
from gatepost.application.ports.security import SealPurpose
from gatepost.application.ports.storage import Transaction, UnitOfWork
from gatepost.application.tokens import SignedIn
from gatepost.domain.accounts import Account, Username
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.audit import AuditEntry, AuditType, ClientContext
from gatepost.domain.errors import Overloaded
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.roles import Principal
from gatepost.testing.builders import a_job

CLIENT = ClientContext(ip="192.0.2.7", user_agent="Firefox", request_id="request-1")
PASSWORD = "tin harp over seven hills"
OTHER_PASSWORD = "nine copper kettles sing"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
UNLIMITED = LimitPolicy(enabled=False)


class Hasher(PlainPasswordHasher):
    """Lets something else happen while a password is hashed: that is where races are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.is_full = False
        self.is_flooded = False

    def demand_room(self) -> None:
        if self.is_flooded:
            raise Overloaded
        super().demand_room()

    def place(self) -> AbstractContextManager[None]:
        self.demand_room()
        return super().place()

    async def hash(self, password: str) -> str:
        if self.is_full:
            raise Overloaded
        await self._let_others_in()
        return await super().hash(password)

    async def verify(self, password: str, encoded: str | None) -> bool:
        right = await super().verify(password, encoded)
        await self._let_others_in()
        return right

    async def _let_others_in(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            await meanwhile()


class CountingUnitOfWork(UnitOfWork):
    def __init__(self, inner: UnitOfWork) -> None:
        self.inner = inner
        self.opened = 0

    def __call__(self) -> AbstractAsyncContextManager[Transaction]:
        self.opened += 1
        return self.inner()


class CountingCallers(MemoryCallers):
    def __init__(self, storage: MemoryStorage) -> None:
        super().__init__(storage)
        self.asked = 0

    async def by_username(self, username: Username) -> Account | None:
        self.asked += 1
        return await super().by_username(username)

    async def by_email(
        self, email: EmailAddress, now: datetime
    ) -> tuple[Account | None, Account | None]:
        self.asked += 1
        return await super().by_email(email, now)


class Service:
    """Ada's and her neighbours' view of Gatepost."""

    def __init__(self, policies: Policies | None = None, limits: LimitPolicy = UNLIMITED) -> None:
        made = memory_ports()
        self.storage = made.storage
        self.clock = made.now
        self.mailer = made.mailer
        self.hasher = Hasher()
        self.uow = CountingUnitOfWork(MemoryUnitOfWork(self.storage))
        self.callers = CountingCallers(self.storage)
        self.ports = replace(made, hasher=self.hasher, uow=self.uow, callers=self.callers)
        self.gatepost = assemble(self.ports, replace(policies or Policies(), limits=limits))

    async def register(
        self,
        username: str = "ada",
        email: str = "ada@example.com",
        password: str = PASSWORD,
        bio: str | None = None,
    ) -> Account | None:
        return await self.gatepost.accounts.register(
            username=username, email=email, password=password, bio=bio, client=CLIENT
        )

    async def verify(self, email: str = "ada@example.com", password: str = PASSWORD) -> Account:
        token = self.mailed_token(email)
        return await self.gatepost.accounts.verify_email(
            token=token, password=password, client=CLIENT
        )

    async def has(
        self,
        username: str = "ada",
        email: str = "ada@example.com",
        password: str = PASSWORD,
        bio: str | None = None,
    ) -> Account:
        """Register somebody and prove the address."""
        await self.register(username, email, password, bio)
        await self.work()
        return await self.verify(email, password)

    async def log_in(
        self,
        login: str = "ada",
        password: str = PASSWORD,
        device_name: str | None = None,
        device: str | None = None,
    ) -> SignedIn:
        return await self.gatepost.sessions.log_in(
            login=login, password=password, device_name=device_name, device=device, client=CLIENT
        )

    async def refresh(self, refresh_token: str) -> SignedIn:
        return await self.gatepost.sessions.refresh(refresh_token=refresh_token, client=CLIENT)

    async def caller(self, signed_in: SignedIn) -> Principal:
        return await self.gatepost.sessions.authenticate(access_token=signed_in.access_token)

    async def resend(self, email: str = "ada@example.com") -> None:
        await self.gatepost.accounts.request_verification(email=email, client=CLIENT)

    async def forget(self, email: str = "ada@example.com") -> None:
        await self.gatepost.credentials.request_reset(email=email, client=CLIENT)

    async def reset(self, token: str, new_password: str = OTHER_PASSWORD) -> None:
        await self.gatepost.credentials.reset(
            token=token, new_password=new_password, client=CLIENT
        )

    async def change_password(
        self, actor: Principal, current: str = PASSWORD, new: str = OTHER_PASSWORD
    ) -> None:
        await self.gatepost.credentials.change_password(
            actor=actor, current_password=current, new_password=new, client=CLIENT
        )

    async def work(self) -> None:
        """Do every queued job, and those they queue."""
        while jobs := await self.storage.drain():
            for job in jobs:
                await self.gatepost.jobs.run(job)

    async def purge(self) -> None:
        await self.gatepost.jobs.run(a_job(name=JobName.PURGE))

    async def rotate_keys(self) -> None:
        """Do what workers do every few minutes, and let this process take notice."""
        await self.gatepost.jobs.run(a_job(name=JobName.ROTATE_KEYS))
        await self.install_keys()

    async def install_keys(self) -> None:
        await self.gatepost.keys.load()

    def mails_to(self, email: str = "ada@example.com") -> list[str]:
        return [mail.template.value for mail in self.mailer.sent_to(email)]

    def last_mail(self, email: str = "ada@example.com") -> Mail:
        return self.mailer.sent_to(email)[-1]

    def mailed_token(self, email: str = "ada@example.com") -> str:
        links = [mail.link for mail in self.mailer.sent_to(email) if mail.link]
        return links[-1].partition("#token=")[2]

    def account(self, username: str = "ada") -> Account:
        rows = self.storage.committed.accounts.values()
        return next(row for row in rows if row.username.key == username)

    def put(self, account: Account) -> None:
        """Store an account as it is, past every use case."""
        self.storage.committed.accounts[account.id] = account

    def remove(self, account: Account) -> None:
        self.storage.committed.remove_account(account.id)

    def audited(self, type_: AuditType) -> list[AuditEntry]:
        return [entry for entry in self.storage.audit_entries if entry.type is type_]

    def last_entry(self) -> AuditEntry:
        return self.storage.audit_entries[-1]

    def queued_payloads(self) -> list[Mapping[str, str]]:
        return [job.payload for job in self.storage.queued]

    def opened_payloads(self) -> list[str]:
        sealed = [bytes.fromhex(payload["sealed"]) for payload in self.queued_payloads()]
        return [self.ports.cipher.open(SealPurpose.JOB, one).decode() for one in sealed]

    async def cost_of(self, call: Awaitable[object]) -> tuple[int, int, int]:
        """Count hashes, transactions and reads without one, and queued jobs.

        Whatever the call raises is dropped.
        """
        before = self._spent()
        try:
            await call
        except Exception as refusal:
            self.refusal: Exception | None = refusal
        else:
            self.refusal = None
        spent = zip(self._spent(), before, strict=True)
        hashes, transactions, jobs = (new - old for new, old in spent)
        return hashes, transactions, jobs

    def _spent(self) -> tuple[int, int, int]:
        accesses = self.uow.opened + self.callers.asked
        return self.hasher.work, accesses, len(self.storage.queued)
