"""Delivery for development: into a folder, or to the console."""

import asyncio
import os
import secrets
import sys
from datetime import datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TextIO

from ...application.ports.delivery import Mail, Mailer
from ...domain.errors import Unavailable
from .message import MessageBuilder


class FileMailer(Mailer):
    """Writes each mail once, to `<time>-<id>.eml`; a file that is there is complete.

    Files and a folder made here belong to the owner alone: links in mails open accounts.
    """

    def __init__(self, builder: MessageBuilder, folder: Path) -> None:
        self._builder = builder
        self._folder = folder

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._write, mail)

    async def check(self) -> None:
        if not await asyncio.to_thread(self._is_writable):
            raise Unavailable("Mails cannot be written.")

    def _is_writable(self) -> bool:
        folder = self._folder
        while not folder.exists():
            # Made with the first mail.
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)

    def _write(self, mail: Mail) -> None:
        # The time is that of the attempt: a second one would make a second file.
        if any(written.is_file() for written in self._folder.glob(f"*-{mail.id}.eml")):
            return
        message = self._builder.build(mail)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{_sent_at(message):%Y%m%dT%H%M%SZ}-{mail.id}.eml"
        draft = self._folder / f".{path.name}.{secrets.token_hex(4)}"
        try:
            _write_private(draft, message.as_bytes())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


class ConsoleMailer(Mailer):
    """Shows the text of each mail on standard output, or in another stream."""

    def __init__(self, builder: MessageBuilder, stream: TextIO | None = None) -> None:
        self._builder = builder
        self._stream = stream

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._show, mail)

    def _show(self, mail: Mail) -> None:
        message = self._builder.build(mail)
        text = message.get_body(("plain",))
        body = text.get_content() if text else ""
        stream = self._stream or sys.stdout
        stream.write(f"To: {message['To']}\nSubject: {message['Subject']}\n\n{body}\n")
        stream.flush()


def _sent_at(message: EmailMessage) -> datetime:
    return parsedate_to_datetime(message["Date"])


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
