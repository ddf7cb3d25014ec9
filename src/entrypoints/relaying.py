"""The engine that jobs are handed to, as the settings choose it."""

import asyncio

from ..adapters.postgres.relay import BEGUN_WITHIN, Message, relay
from .settings import PREFIX, Settings, SettingsError

_NAME = f"{PREFIX}JOBS__RELAY_URL"


def broker_url(settings: Settings) -> str:
    """Return the broker's URL; raises SettingsError where there is none."""
    if settings.jobs.relay_url is None:
        raise SettingsError([f"{_NAME}: needed here"])
    return settings.jobs.relay_url.get_secret_value()


async def relay_jobs(settings: Settings, stop: asyncio.Event) -> None:
    """Hand jobs to Celery, whose package is an extra, until `stop` is set.

    Raises SettingsError, and Unavailable without database or broker.
    """
    try:
        from ..adapters.celery import CeleryPublisher
    except ImportError:
        raise SettingsError([f"{_NAME}: needs the extra gatepost[celery]"]) from None
    publisher = CeleryPublisher(broker_url(settings))

    async def publish(message: Message) -> None:
        await publisher.publish(
            row=message.row,
            relay=message.relay,
            name=message.name.value,
            job_id=message.job_id,
            priority=message.name.priority,
            seconds=BEGUN_WITHIN.total_seconds(),
        )

    try:
        await relay(settings.direct_url, publish, stop)
    finally:
        publisher.close()
