"""Rate limits: the generic cell rate algorithm, delays that grow, and what counts as one caller.

A key's whole state is the moment at which its budget is full again (`tat`, the theoretical
arrival time of ITU-T I.371) and, where delays grow, how often the budget ran out lately. Times
are whole microseconds, so that every store comes to the same result.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from .accounts import Username
from .addresses import EmailAddress
from .dataclasses import dataclass
from .errors import ValidationFailed

_RATE = re.compile(r"([1-9]\d{0,6})/([1-9]\d{0,4})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_PERIOD = timedelta(days=366)
_SECOND = 1_000_000
# A stranger who guesses can hold up the owner for this long after his last guess, and no longer.
LONGEST_DELAY = timedelta(minutes=15)
# After this long without a try delays start anew. Sooner would be a faster way to guess: a new
# burst each time comes to fewer tries a day than one every 15 minutes.
MEMORY = timedelta(hours=3)
# Doubling stops here; by then every delay has met its longest, and no store overflows.
MOST_STRIKES = 20
_MAX_TYPED = 320


class Rule(StrEnum):
    """What is limited. All but `DEVICE` are settings of that name."""

    REGISTER = "register"
    LOGIN = "login"
    LOGIN_ADDRESS = "login_address"
    REFRESH = "refresh"
    MAIL = "mail"
    MAIL_ADDRESS = "mail_address"
    PUBLIC = "public"
    USER = "user"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a period, all of them at once if need be."""

    count: int
    period: timedelta

    def __post_init__(self) -> None:
        if self.count < 1 or not timedelta(0) < self.period <= _LONGEST_PERIOD:
            raise ValueError("a limit of at least 1, in a period of at most 366 days")

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read `10/1h`; raises ValueError."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("a limit such as 10/1h")
        return cls(int(match[1]), timedelta(seconds=int(match[2]) * _UNITS[match[3]]))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a store must know of a rule, in microseconds.

    One hit is earned back every `interval`, `burst` are there at most. With a `longest` the hit
    that takes the last one costs twice as much each time, up to that.
    """

    burst: int
    interval: int
    longest: int = 0

    @classmethod
    def of(cls, rate: Rate, longest: timedelta = timedelta(0)) -> "Budget":
        # Rounded down: rounded up, the last of 3 in a second would be refused.
        interval = max(1, _microseconds(rate.period) // rate.count)
        limit = _microseconds(longest)
        return cls(rate.count, min(interval, limit) if limit else interval, limit)

    @property
    def full(self) -> int:
        """The debt at which nothing is left."""
        return self.burst * self.interval

    @property
    def grows(self) -> bool:
        return self.longest > self.interval

    @property
    def highest_debt(self) -> int:
        """More than this is no debt, but a clock that was set back."""
        return self.full + (self.longest - self.interval if self.grows else 0)

    @property
    def memory(self) -> int:
        return _microseconds(MEMORY) if self.grows else 0

    def coarser(self, size: int) -> "Budget":
        """Count `size` hits as one, for stores that are asked about them together."""
        return Budget(self.burst // size, self.interval * size, self.longest)

    def delay(self, strikes: int) -> int:
        return min(self.interval << (strikes - 1), self.longest)


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of a key; the default is that of one never seen."""

    tat: int = 0
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one hit; `debt`, the time until the budget is full, is that after it."""

    allowed: bool
    budget: Budget
    debt: int
    strikes: int = 0

    @property
    def remaining(self) -> int:
        return max(0, (self.budget.full - self.debt) // self.budget.interval)

    @property
    def wait(self) -> int:
        """The time until the next hit is allowed."""
        return max(0, self.debt + self.budget.interval - self.budget.full)

    @property
    def retry_after(self) -> int:
        """Whole seconds until the next hit is allowed, rounded up."""
        return _seconds(self.wait)

    @property
    def reset(self) -> int:
        """Whole seconds until the budget is full, rounded up."""
        return _seconds(self.debt)

    @property
    def struck(self) -> bool:
        """Whether this hit took the last of a budget whose delays grow."""
        budget = self.budget
        return self.allowed and budget.grows and self.debt > budget.full - budget.interval

    @property
    def cost(self) -> int:
        """What giving back takes off the debt."""
        if not self.allowed:
            return 0
        return self.budget.delay(self.strikes) if self.struck else self.budget.interval


def look(budget: Budget, state: State | None, now: int) -> Decision:
    """Tell how it stands, as before a hit."""
    state = state or State()
    debt = min(max(state.tat - now, 0), budget.highest_debt)
    strikes = state.strikes if now < state.tat + budget.memory else 0
    return Decision(debt + budget.interval <= budget.full, budget, debt, strikes)


def spend(budget: Budget, state: State | None, now: int) -> tuple[State, Decision]:
    """Hit once; a refused hit changes nothing, so that trying does not prolong the wait."""
    before = look(budget, state, now)
    if not before.allowed:
        return state or State(), before
    strikes, cost = before.strikes, budget.interval
    if budget.grows and before.debt + 2 * budget.interval > budget.full:
        strikes = min(strikes + 1, MOST_STRIKES)
        cost = budget.delay(strikes)
    debt = before.debt + cost
    return State(now + debt, strikes), Decision(True, budget, debt, strikes)


def give_back(state: State, decision: Decision) -> State:
    """Undo one allowed hit; others may have come in between."""
    return State(state.tat - decision.cost, max(0, state.strikes - decision.struck))


def is_forgettable(state: State, now: int) -> bool:
    """Tell whether a key stands as if it had never been seen."""
    return state.tat + (_microseconds(MEMORY) if state.strikes else 0) <= now


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _seconds(microseconds: int) -> int:
    return -(-microseconds // _SECOND)


def _defaults() -> Mapping[Rule, Rate]:
    return {
        Rule.REGISTER: Rate(10, timedelta(hours=1)),
        Rule.LOGIN: Rate(10, timedelta(minutes=5)),
        Rule.LOGIN_ADDRESS: Rate(30, timedelta(minutes=1)),
        Rule.REFRESH: Rate(60, timedelta(minutes=1)),
        Rule.MAIL: Rate(3, timedelta(minutes=15)),
        Rule.MAIL_ADDRESS: Rate(20, timedelta(hours=1)),
        Rule.PUBLIC: Rate(120, timedelta(minutes=1)),
        Rule.USER: Rate(600, timedelta(minutes=1)),
        # Ten failures in the life of the cookie; the next login by password brings a new one.
        Rule.DEVICE: Rate(10, timedelta(days=365)),
    }


# Guesses, mails and slow hashes: rather none than any number while nobody counts.
_CLOSED = frozenset({Rule.REGISTER, Rule.LOGIN, Rule.LOGIN_ADDRESS, Rule.MAIL, Rule.DEVICE})


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    """The rates, and which rules refuse (`closed`) or let pass while the store is down."""

    enabled: bool = True
    rates: Mapping[Rule, Rate] = field(default_factory=_defaults)
    closed: frozenset[Rule] = _CLOSED

    def budget(self, rule: Rule) -> Budget:
        rate = self.rates.get(rule) or _defaults()[rule]
        return Budget.of(rate, LONGEST_DELAY if rule is Rule.LOGIN else timedelta(0))


def address_key(ip: str | None) -> str:
    """Name the network that counts as one client: an IPv4 address, an IPv6 /64 (RFC 6177).

    Where the server knows no address, all share one budget.
    """
    if ip is None:
        return "unknown"
    address = ip_address(ip.partition("%")[0])
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def login_key(login: str) -> str:
    """Name what was typed in one spelling, as it is looked up; an account behind it or not."""
    try:
        return EmailAddress.parse(login).key if "@" in login else Username.parse(login).key
    except ValidationFailed:
        # It opens nothing, and is counted all the same: refusals must not tell the two apart.
        return unicodedata.normalize("NFKC", login[:_MAX_TYPED]).casefold().strip()
