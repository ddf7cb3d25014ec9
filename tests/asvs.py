"""What OWASP ASVS 5.0 asks of accounts, sessions and tokens, and the security cases that show it.

Ids are those of the standard, chapters 6, 7, 9 and 10; the words are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.security_cases import Case, cases


@dataclass(frozen=True, slots=True)
class Requirement:
    """One or several of the standard; `level` 1 is for everybody, 3 is the highest."""

    id: str
    level: str
    about: str
    shown_by: tuple[str, ...] = ()
    # Where no test can show it: what is so, and where it is written.
    note: str = ""

    def cases(self) -> Iterator[Case]:
        known = {case.id: case for case in cases()}
        return (known[id_] for id_ in self.shown_by)


_LIMITS = "[how guessing is stopped](../security.md#guessing)"
_LIFETIMES = "[settings](settings.md): idle and absolute lifetimes"
_NO_BREACH_LIST = "common passwords and the person's own names; no set of breached ones"

PASSWORDS = (
    Requirement(
        "6.1.1",
        "1",
        "It is written down how guessing and malicious lock-out are met",
        ("RL-01", "RL-04"),
        _LIMITS,
    ),
    Requirement("6.2.1", "1", "At least 8 characters; 15 are recommended", ("PW-01",)),
    Requirement(
        "6.2.2, 6.2.3", "1", "A password can be changed, with the present one", ("PW-12",)
    ),
    Requirement(
        "6.2.4", "1", "New passwords are checked against the most common ones", ("PW-05",)
    ),
    Requirement(
        "6.2.12", "2", "New passwords are checked against breached ones", note=_NO_BREACH_LIST
    ),
    Requirement("6.2.5", "1", "No kinds of characters are demanded", ("PW-04",)),
    Requirement("6.2.8", "1", "A password is verified as it was received", ("PW-02", "PW-08")),
    Requirement("6.2.9", "2", "At least 64 characters are taken", ("PW-02",)),
    Requirement("6.2.10", "2", "Passwords do not expire", note="there is no such setting"),
    Requirement("6.2.11", "2", "Words of the service are refused as passwords", ("PW-05",)),
)
AUTHENTICATION = (
    Requirement(
        "6.3.2", "1", "There are no default accounts", note="the first is made by command"
    ),
    Requirement(
        "6.3.4", "2", "There is no undocumented way in", ("OA-36",), "[API](api.md) lists all"
    ),
    Requirement(
        "6.3.7", "3", "People are told of changes of password and address", ("EM-09", "RS-12")
    ),
    Requirement("6.3.5", "3", "People are told of suspicious sign-ins", note="not built"),
    Requirement(
        "6.3.8", "3", "Nothing tells who has an account", ("EN-01", "EN-03", "EN-05", "EN-08")
    ),
    Requirement("6.4.1", "1", "First secrets are random, short-lived and used once", ("EM-07",)),
    Requirement("6.4.3", "2", "Recovery does not get around a second factor", ("RS-06",)),
    Requirement("6.4.6", "3", "Administrators start a reset and choose no password", ("PW-15",)),
    Requirement("6.5.1", "2", "Codes are good once", ("MF-02", "MF-06")),
    Requirement(
        "6.6.2, 6.6.3", "2", "A code belongs to its request; guessing is limited", ("RL-05",)
    ),
    Requirement("6.7.2", "3", "Challenges of passkeys are random and unique", ("MF-15",)),
    Requirement("6.8.1", "2", "An external identity is issuer and subject", note="not built"),
)
SESSIONS = (
    Requirement("7.1.1", "2", "Lifetimes of sessions are written down", note=_LIFETIMES),
    Requirement("7.2.3", "1", "Reference tokens are random, 128 bits at least", ("SE-19",)),
    Requirement("7.2.4", "1", "Each sign-in makes a new session", ("SE-15",)),
    Requirement("7.4.1", "1", "What was ended is of no use", ("SE-08",)),
    Requirement(
        "7.4.2", "1", "Suspending or deleting ends all sessions", ("SE-13", "AZ-07", "AZ-11")
    ),
    Requirement("7.4.3", "2", "After a change all other sessions end", ("PW-12", "RS-04")),
    Requirement(
        "7.4.5",
        "2",
        "Administrators end one person's sessions, or everybody's",
        note="`gatepost sessions revoke`, `--all`",
    ),
    Requirement("7.5.1", "2", "Changes of address ask for the password again", ("EM-09", "MF-08")),
    Requirement("7.5.2", "2", "People see and end their sessions", ("SE-09",)),
)
TOKENS = (
    Requirement(
        "9.1.1, 9.1.2",
        "1",
        "Signatures are checked, by listed algorithms",
        ("JW-01", "JW-02", "JW-04"),
    ),
    Requirement("9.1.3", "1", "Keys come from configured places alone", ("JW-12",)),
    Requirement("9.2.1", "1", "Tokens hold only in their time", ("JW-07",)),
    Requirement("9.2.2, 9.2.3", "2", "Kind and audience are checked", ("SE-11", "JW-09", "JW-10")),
    Requirement("9.2.4", "2", "A key for several audiences names one in each", ("JW-20",)),
)
OAUTH = (
    Requirement("10.4.1", "1", "Redirect addresses are compared exactly", ("OA-01",)),
    Requirement("10.4.2", "1", "A code is good once", ("OA-06",)),
    Requirement("10.4.3", "1", "Codes live for minutes at most", ("OA-07",)),
    Requirement(
        "10.4.4",
        "1",
        "Clients use their own grants; none is implicit",
        ("OA-36",),
        "the password grant is off in production unless it is switched on",
    ),
    Requirement("10.4.5", "1", "A used refresh token that comes back ends all", ("SE-02",)),
    Requirement("10.4.6", "2", "PKCE is demanded, by S256", ("OA-04",)),
    Requirement("10.4.8", "2", "Refresh tokens end at a time", ("SE-01",), _LIFETIMES),
    Requirement("10.4.9", "2", "People revoke their tokens", ("SE-09", "OA-16")),
    Requirement("10.4.10", "2", "Confidential clients authenticate", ("OA-10",)),
    Requirement(
        "10.4.13 to 10.4.16",
        "3",
        "Pushed requests, bound tokens, strong clients",
        ("OA-26", "OA-28", "OA-33"),
    ),
    Requirement("10.6.2", "2", "Nobody is signed out by a stranger's page", ("OA-24",)),
    Requirement("10.7.1 to 10.7.3", "2", "Consent is asked for and can be taken back", ("OA-35",)),
)
CHAPTERS = {
    "Passwords": PASSWORDS,
    "Authentication": AUTHENTICATION,
    "Sessions": SESSIONS,
    "Self-contained tokens": TOKENS,
    "OAuth and OpenID Connect": OAUTH,
}
