"""The sender of webhooks, whose packages are an extra: made when it is needed first."""

from functools import cached_property

from ..application.ports.webhooks import Message, WebhookSender
from ..domain.errors import Unavailable
from ..domain.networks import Destinations
from ..domain.webhooks import Outcome
from .settings import Settings


class LateWebhooks(WebhookSender):
    """Raises Unavailable, which a worker tries again, as long as the extra is not installed."""

    def __init__(self, settings: Settings) -> None:
        self.destinations = Destinations(
            networks=settings.webhooks.networks, loopback=not settings.is_production
        )

    async def check(self, url: str) -> None:
        await self._sender.check(url)

    async def send(self, message: Message) -> Outcome:
        return await self._sender.send(message)

    @cached_property
    def _sender(self) -> WebhookSender:
        try:
            from ..adapters.webhooks import HttpWebhooks
        except ImportError:
            raise Unavailable("Webhooks need the extra gatepost[webhooks].") from None
        return HttpWebhooks(self.destinations)
