"""Keep what is mailed as files, and list them over HTTP; for trying things out, nothing else."""

import signal
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

FOLDER = Path("/var/lib/mail")


class Folder:
    """One .eml a mail, complete and then renamed into place."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        made = FOLDER / f".{uuid4()}"
        made.write_bytes(envelope.original_content or b"")
        made.rename(FOLDER / f"{time.time_ns()}.eml")
        return "250 kept"


class Listing(SimpleHTTPRequestHandler):
    """Shown as text: a mail may hold anything, and must not run as a page."""

    def guess_type(self, path: object) -> str:
        return "text/plain; charset=utf-8"

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    listing = ThreadingHTTPServer(("0.0.0.0", 8025), partial(Listing, directory=FOLDER))  # noqa: S104
    threading.Thread(target=listing.serve_forever, daemon=True).start()
    controller = Controller(Folder(), hostname="0.0.0.0", port=1025)  # noqa: S104
    controller.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


main()
