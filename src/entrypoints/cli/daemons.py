"""`serve`, `worker` and `run`: what stays for months.

The standard library parses for them: the one of operators' commands would stay, too, in every
process (ADR 29).
"""

import asyncio
import gc
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, HelpFormatter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..imports import go_without
from ..processes import leave_on_sigterm
from ..settings import load


def _whole_number(least: int, most: int, what: str) -> dict[str, Any]:
    def parse(text: str) -> int:
        # Some thousands of digits would be an error with all of them in it.
        if len(text) > len(str(most)) or not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"not a whole number from {least} to {most}")
        return int(text)

    return {"type": parse, "help": f"{what}, {least} to {most}."}


OPTIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "serve": {
        "--host": {"help": "Address to listen on."},
        "--port": _whole_number(1, 65535, "Port"),
        "--workers": _whole_number(1, 256, "Processes"),
        "--fd": {"type": int, "help": SUPPRESS},
        "--management-fd": {"type": int, "help": SUPPRESS},
    },
    "worker": {},
    "run": {},
}


class _Help(HelpFormatter):
    def add_usage(self, *given: Any, **named: Any) -> None:
        """Begin as the other commands' help does."""
        super().add_usage(*given, **{"prefix": "Usage: "} | named)


def start(name: str, arguments: Sequence[str]) -> None:
    """Be one of `PROCESSES`; exits with 2 where the arguments are none of its own."""
    process = PROCESSES[name]
    parser = ArgumentParser(
        f"gatepost {name}",
        description=process.__doc__,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    for option, about in OPTIONS[name].items():
        parser.add_argument(option, **about)
    options = vars(parser.parse_args(arguments))
    leave_on_sigterm()
    go_without()
    process(**options)


def serve(
    host: str | None,
    port: int | None,
    workers: int | None,
    fd: int | None,
    management_fd: int | None,
) -> None:
    """Serve HTTP."""
    # What start-up makes stays; the server sets it aside and collects again.
    gc.disable()
    from ..database import available_database
    from ..logging import configure_logging
    from ..server import serve_http

    settings = load(**_given(port=port, http=_given(host=host, workers=workers)))
    configure_logging(settings)
    with available_database(settings) as reachable:
        raise SystemExit(serve_http(reachable, fd, management_fd))


def _given(**options: Any) -> dict[str, Any]:
    """Keep the options that were given; all else comes from the settings."""
    return {name: value for name, value in options.items() if value not in (None, {})}


def worker() -> None:
    """Work the jobs: mail, events, exports, purging and the rotation of signing keys."""
    from ..database import available_database
    from ..logging import configure_logging
    from ..worker import work

    settings = load()
    configure_logging(settings)
    with available_database(settings) as reachable:
        asyncio.run(work(reachable))


def run() -> None:
    """Run everything in one tree: embedded database if none is given, server and worker."""
    from ..logging import configure_logging
    from ..run import run_all

    settings = load()
    configure_logging(settings)
    raise SystemExit(run_all(settings))


PROCESSES: Mapping[str, Callable[..., None]] = {"serve": serve, "worker": worker, "run": run}
