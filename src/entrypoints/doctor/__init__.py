"""`doctor`: dangerous settings, and what this host and the services around it say about them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from ...application.hash_costs import Speed
from ..dangers import Severity, dangers_in
from ..deployment import Deployment
from ..settings import Settings
from .database import look_at_database
from .findings import Finding, Status, failed, ok, worst
from .hashing import Machine, judge_hashing, measured
from .outside import look_from_outside
from .surroundings import look_at_exports, look_at_limits, look_at_mail

__all__ = ["Finding", "Status", "examine", "worst"]

# A look may wait for a few short timeouts of its own; beyond that nothing comes.
_PATIENCE = 15.0
Measure = Callable[[Settings, Machine], Awaitable[Speed | None]]


async def examine(
    settings: Settings,
    files: Mapping[str, Path],
    *,
    replicas: int = 1,
    started_here: bool = False,
    broken: str = "",
    measure: Measure = measured,
) -> list[Finding]:
    """Look at everything; what cannot be looked at is a finding, and no error.

    `files`: where secrets were read from. `replicas`: how many instances share the database.
    `started_here`: its server runs only for this look, so that no worker can be there.
    `broken`: why there is no database, where there should be one.
    """
    around = await asyncio.gather(
        _looked(
            "database",
            look_at_database(
                settings, replicas=replicas, started_here=started_here, broken=broken
            ),
        ),
        _looked("limits", look_at_limits(settings)),
        _looked("mail", look_at_mail(settings)),
        _looked("exports", look_at_exports(settings)),
        _looked("outside", look_from_outside(settings)),
    )
    findings = look_at_settings(Deployment(settings, files))
    for found in around:
        findings += found
    # Last and alone: other work would slow it, and it would slow timeouts.
    machine = Machine.read()
    return [*findings, *judge_hashing(settings, machine, await measure(settings, machine))]


def look_at_settings(deployment: Deployment) -> list[Finding]:
    """Turn the dangers of a deployment into findings, or say that there are none."""
    found = [
        Finding(
            "settings",
            Status.FAILED if danger.severity is Severity.DANGER else Status.WARNING,
            f"{danger.code}, {danger.setting}: {danger.reason}",
            danger.instead,
        )
        for danger in dangers_in(deployment)
    ]
    return found or [ok("settings", f"nothing dangerous for {deployment.settings.environment}")]


async def _looked(check: str, look: Awaitable[Iterable[Finding]]) -> list[Finding]:
    started = time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE):
            return list(await look)
    except Exception as error:
        # Never its text: it may show a URL with a password.
        says = f"{type(error).__name__} after {time.monotonic() - started:.1f} s"
        return [failed(check, says, "This should not happen: please report it.")]
