"""Delivery to a mail server (RFC 5321), on a few connections that are kept."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ssl import SSLContext, create_default_context

import structlog
from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPRecipientRefused, SMTPResponseException

from ...application.ports.delivery import Mail, Mailer, Undeliverable
from ...domain.errors import Unavailable
from .message import MessageBuilder
from .server import Security, SmtpServer

# Answers about our commands, our rights and their trouble say nothing about an address.
_NOT_OF_THE_ADDRESS = frozenset({500, 501, 502, 503, 504, 530, 534, 535, 538})
# RFC 3463 section 3.8: refused by policy. A relay that does not know us refuses every address so.
_POLICY = "5.7."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, in seconds.

    `mail` holds the wait for a connection, too: a worker that is told to stop ends within it and
    one reply more, as wait_for of Python 3.11 now and then loses a cancellation.
    `kept` is below what servers wait for the next command (RFC 5321 section 4.5.3.2: minutes).
    """

    reply: float = 10.0
    mail: float = 15.0
    kept: float = 30.0
    goodbye: float = 1.0


class SmtpMailer(Mailer):
    """Sends at most `connections` mails at once; `close` at the end.

    Certificates are verified against the system's authorities, or those of SSL_CERT_FILE.
    """

    def __init__(
        self,
        builder: MessageBuilder,
        server: SmtpServer,
        *,
        connections: int = 8,
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._builder = builder
        self._patience = patience or Patience()
        self._connections = _Connections(
            server, builder.sender_domain, connections, self._patience, monotonic
        )

    async def send(self, mail: Mail) -> None:
        """Raise Undeliverable when the server refuses the address for good, else Unavailable.

        A connection that is lost after the last byte of a mail leaves open whether it arrived;
        it is sent again, with the same Message-ID.
        """
        message = self._builder.build(mail).as_bytes()
        try:
            async with asyncio.timeout(self._patience.mail), self._connections.one() as client:
                await client.mail(self._builder.sender_address)
                await client.rcpt(mail.to)
                await client.data(message)
        except (SMTPException, OSError) as failed:
            raise _judged(failed, mail) from None

    async def check(self) -> None:
        """Say hello, and sign in where that is asked for; the connection is kept for the next."""
        try:
            async with asyncio.timeout(self._patience.mail), self._connections.one() as client:
                await client.noop()
        except (SMTPException, OSError):
            raise Unavailable("The mail server does not answer.") from None

    async def close(self) -> None:
        await self._connections.close()


class _Connections:
    """Lends connections out, one mail at a time on each, the last used first."""

    def __init__(
        self,
        server: SmtpServer,
        own_name: str,
        most: int,
        patience: Patience,
        monotonic: Callable[[], float],
    ) -> None:
        self._server = server
        self._own_name = own_name
        self._patience = patience
        self._monotonic = monotonic
        self._free = asyncio.Semaphore(most)
        self._idle: list[tuple[SMTP, float]] = []
        self._tls: SSLContext | None = None

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[SMTP]:
        async with self._free:
            client = await self._kept() or await self._connected()
            try:
                yield client
            except SMTPResponseException as refused:
                # The server is well and said no; whatever it still holds is reset before reuse.
                if not 400 <= refused.code < 600:
                    client.close()
                raise
            except BaseException:
                client.close()
                raise
            finally:
                if client.is_connected:
                    self._idle.append((client, self._monotonic()))

    async def _kept(self) -> SMTP | None:
        """Take an idle connection that still answers."""
        while self._idle:
            client, since = self._idle.pop()
            if self._monotonic() - since < self._patience.kept:
                try:
                    await client.rset()
                except (SMTPException, OSError):
                    client.close()
                except BaseException:
                    client.close()
                    raise
                else:
                    return client
            client.close()
        return None

    async def _connected(self) -> SMTP:
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            # Not the machine's name, whose look-up may take long and which is nobody's business.
            local_hostname=self._own_name,
            timeout=self._patience.reply,
            use_tls=server.security is Security.TLS,
            start_tls=server.security is Security.STARTTLS,
            tls_context=self._verifying(),
        )
        await client.connect()
        return client

    def _verifying(self) -> SSLContext | None:
        """Read the authorities once: there are hundreds."""
        if self._tls is None and self._server.security is not Security.NONE:
            self._tls = create_default_context()
        return self._tls

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for client, _ in idle:
            with contextlib.suppress(SMTPException, OSError):
                await client.quit(timeout=self._patience.goodbye)
            client.close()


def _judged(failed: Exception, mail: Mail) -> Exception:
    """Log what went wrong, by kind and number alone: texts of servers repeat addresses."""
    code = getattr(failed, "code", None)
    if isinstance(failed, SMTPRecipientRefused) and _is_final(failed):
        log.warning("mail refused for good", mail_id=str(mail.id), code=code)
        return Undeliverable("The mail server refuses the address for good.")
    cause = failed.__cause__ if isinstance(failed, SMTPException) else None
    error = type(cause or failed).__name__
    log.warning("mail not taken", mail_id=str(mail.id), error=error, code=code)
    return Unavailable("The mail server did not take the mail.")


def _is_final(refused: SMTPRecipientRefused) -> bool:
    if not 500 <= refused.code < 600 or refused.code in _NOT_OF_THE_ADDRESS:
        return False
    return not refused.message.startswith(_POLICY)
