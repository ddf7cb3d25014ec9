"""The command line: a thin shell over the same use cases as HTTP."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TextIO

from ...adapters.embedded import EmbeddedPostgresError
from ...application.ports.security import SigningKeysInvalid
from ...domain.errors import GatepostError, ValidationFailed
from ..settings import SettingsError
from . import daemons


def command(arguments: Sequence[str]) -> Callable[[], None]:
    """Choose what is asked for: when called, it exits with 0 done, 1 failed, 2 wrong usage."""
    if arguments and arguments[0] in daemons.PROCESSES:
        return partial(_run, partial(daemons.start, arguments[0], arguments[1:]))
    from .commands import command_line

    return partial(_run, command_line())


def _run(chosen: Callable[[], None]) -> None:
    with _fail_as(sys.stderr):
        chosen()


@contextmanager
def _fail_as(stream: TextIO) -> Iterator[None]:
    """Turn refusals into one line with the error's code, and exit code 1."""
    try:
        yield
    except ValidationFailed as refused:
        faults = "; ".join(f"{e.field}: {e.code}, {e.message}" for e in refused.errors)
        _fail(stream, refused.code, faults)
    except GatepostError as refused:
        _fail(stream, refused.code, refused.detail)
    except SettingsError as refused:
        for problem in refused.problems:
            print(f"gatepost: settings_invalid: {problem}", file=stream)
        raise SystemExit(1) from None
    except SigningKeysInvalid as refused:
        _fail(stream, "settings_invalid", f"GATEPOST_SECRETS__KEYS: {refused}")
    except EmbeddedPostgresError as refused:
        _fail(stream, "embedded_database", str(refused))


def _fail(stream: TextIO, code: str, detail: str) -> None:
    print(f"gatepost: {code}: {detail}", file=stream)
    raise SystemExit(1) from None
