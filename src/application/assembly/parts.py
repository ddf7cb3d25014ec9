"""What several use cases are made of."""

from collections.abc import Sequence
from dataclasses import replace

from ...domain.dataclasses import dataclass
from ..audit import Auditor
from ..devices import Devices
from ..events import Outbox, Subscriber
from ..guesses import Guesses
from ..limits import CountedEvents, Limits
from ..mail import Postbox
from ..paging import Cursors
from ..policies import Policies
from ..ports import Ports
from ..ports.storage import UnitOfWork
from ..reauthentication import Reauthenticate
from ..tokens import Authenticate, Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Ports and policies, and what is made of them once for all use cases."""

    ports: Ports
    policies: Policies
    subscribers: Sequence[Subscriber]
    auditor: Auditor
    postbox: Postbox
    cursors: Cursors
    guesses: Guesses
    reauthenticate: Reauthenticate
    issuer: Issuer
    authenticate: Authenticate
    is_joined: bool = False

    @classmethod
    def of(cls, p: Ports, policies: Policies, subscribers: Sequence[Subscriber]) -> "Parts":
        outbox = Outbox(p.cipher, has_subscribers=bool(subscribers))
        auditor = Auditor(p.uow, p.secrets, p.now, p.metrics, outbox)
        events = CountedEvents(p.limit_events, p.metrics)
        limits = Limits(p.limiter, p.limiter_keys, policies.limits, p.now, events)
        guesses = Guesses(limits, Devices(p.cipher, p.secrets, p.now))
        return cls(
            ports=p,
            policies=policies,
            subscribers=subscribers,
            auditor=auditor,
            postbox=Postbox(p.secrets, p.cipher),
            cursors=Cursors(p.cipher),
            guesses=guesses,
            reauthenticate=Reauthenticate(guesses, p.hasher, auditor),
            issuer=Issuer(p.access_tokens, p.secrets, policies.tokens, p.metrics),
            authenticate=Authenticate(limits, p.access_tokens, p.callers, p.now),
        )

    @property
    def limits(self) -> Limits:
        return self.guesses.limits

    def within(self, uow: UnitOfWork) -> "Parts":
        """Put changes into transactions of another unit of work.

        The auditor keeps its own for refusals, which must be remembered whatever becomes of
        those transactions.
        """
        return replace(self, ports=replace(self.ports, uow=uow), is_joined=True)
