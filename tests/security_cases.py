"""The security cases this service is held to, and the tests that bear their ids.

A test bears an id by its name: `test_en_05_...` is one of EN-05, `test_jw_09_jw_10_...` of both.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
_NAME = re.compile(r"test_((?:[a-z]{2}_\d{2}_)+)")


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    about: str
    feature: str


# Features that do not exist yet; a case of one of them needs no test.
NOT_BUILT = {
    "authorization endpoint": "codes, PKCE and consent are not built",
    "device flow": "not built",
    "DPoP": "not built",
    "MFA": "not built",
    "OpenID Connect": "ID tokens and RP logout are not built",
    "PAR": "not built",
    "passkeys": "not built",
}

_PASSWORDS = (
    Case(
        "PW-01", "A password below the configured length is refused by field and rule", "passwords"
    ),
    Case(
        "PW-02", "Long passwords of every printable character work, and only exactly", "passwords"
    ),
    Case("PW-04", "No mixture of kinds of characters is demanded", "passwords"),
    Case("PW-05", "Common passwords are refused, with that as the reason", "passwords"),
    Case("PW-08", "Spaces at either end belong to the password", "passwords"),
    Case("PW-10", "A huge password costs nothing: refused before it is hashed", "passwords"),
    Case(
        "PW-12", "A change asks for the present password and ends the other sessions", "passwords"
    ),
    Case("PW-13", "Stored as salted Argon2id; weaker hashes are renewed at sign-in", "passwords"),
    Case("PW-15", "No administrator can choose a password that lasts", "administration"),
)
_ENUMERATION = (
    Case("EN-01", "Sign-in does not tell unknown logins from wrong passwords", "sign-in"),
    Case("EN-03", "Asking for a reset link does not tell who has an account", "recovery"),
    Case("EN-05", "Registration does not tell whether an address is known", "registration"),
    Case("EN-08", "Asking for a new verification link does not tell either", "registration"),
    Case("EN-10", "Passkey options do not tell which accounts have passkeys", "passkeys"),
)
_LIMITS = (
    Case("RL-01", "Guessing at one account is stopped after ten tries", "rate limits"),
    Case("RL-04", "A stranger cannot keep the owner out", "rate limits"),
    Case("RL-05", "A sign-in that waits for its code dies after five wrong ones", "MFA"),
    Case("RL-07", "One address gets only so many mails, and nobody can tell", "rate limits"),
    Case("RL-09", "All replicas count together", "rate limits"),
    Case("RL-10", "Every refusal says when to come back", "rate limits"),
    Case("RL-12", "An IPv6 network of a household counts as one client", "rate limits"),
    Case("RL-13", "A flood of registrations is stopped before it hashes", "rate limits"),
)
_ADDRESSES = (
    Case("EM-01", "Spellings of one address make one account", "registration"),
    Case("EM-03", "Control characters in names and addresses get nowhere", "registration"),
    Case("EM-05", "An unproven address is told only to who knows the password", "sign-in"),
    Case("EM-07", "A verification link works once, for a while, and unaltered", "registration"),
    Case("EM-08", "A link dies with a newer one and with a change of address", "registration"),
    Case("EM-09", "A new address counts once it is proven; the old one is told", "e-mail change"),
    Case("EM-12", "Opening a mailed link changes nothing by itself", "registration"),
)
_RECOVERY = (
    Case("RS-01", "A reset link works once", "recovery"),
    Case("RS-02", "A reset link expires within the hour", "recovery"),
    Case("RS-04", "A reset ends every session", "recovery"),
    Case("RS-06", "A reset does not get around the second factor", "MFA"),
    Case("RS-07", "No header of a request gets into a mailed link", "recovery"),
    Case("RS-11", "Answers and pages of a reset are neither stored nor referred to", "recovery"),
    Case("RS-12", "The owner is told of a reset", "recovery"),
)
_SESSIONS = (
    Case("SE-01", "A refresh token is exchanged once; in the grace for the same one", "sessions"),
    Case("SE-02", "A used refresh token that comes back ends its session", "sessions"),
    Case("SE-08", "Signing out works at once and everywhere", "sessions"),
    Case("SE-09", "People see and end their own sessions and no others", "sessions"),
    Case("SE-11", "Neither kind of token serves as the other", "sessions"),
    Case("SE-13", "A suspended account can neither refresh nor sign in", "sessions"),
    Case("SE-14", "A role that was taken away is gone from the next token", "sessions"),
    Case("SE-15", "Every sign-in makes a session of its own", "sessions"),
    Case("SE-16", "The refresh cookie is locked down", "sessions"),
    Case("SE-17", "Pages of strangers cannot use the cookie", "sessions"),
    Case("SE-18", "A token in the address is none", "sessions"),
    Case("SE-19", "Refresh tokens are unique and unpredictable", "sessions"),
    Case("SE-20", "A refresh token is no use to another client", "OAuth tokens"),
    Case("SE-21", "No sign-in with the old password survives its change", "sessions"),
)
_ACCESS_TOKENS = (
    Case("JW-01", "Unsigned tokens are refused", "access tokens"),
    Case("JW-02", "A public key is never taken for a shared secret", "access tokens"),
    Case("JW-04", "Altered and foreign signatures are refused", "access tokens"),
    Case("JW-07", "Tokens outside their time are refused", "access tokens"),
    Case("JW-08", "Claims of a wrong kind are refused", "access tokens"),
    Case("JW-09", "Tokens of others, or for others, are refused", "access tokens"),
    Case("JW-10", "Issuer and audience are compared whole", "access tokens"),
    Case("JW-12", "A header that demands what we do not know is refused", "access tokens"),
    Case("JW-16", "Only public members of keys are published, for caches too", "access tokens"),
    Case(
        "JW-17",
        "A new key is known before it signs, an old one until its last token ends",
        "key rotation",
    ),
    Case("JW-18", "Rotation under load fails no verification", "key rotation"),
    Case("JW-20", "The claims are those of an RFC 9068 token", "access tokens"),
)
_SECOND_FACTORS = (
    Case("MF-01", "TOTP follows its RFC and is on only once a code was shown", "MFA"),
    Case("MF-02", "A code works once", "MFA"),
    Case("MF-04", "The password alone opens nothing but the second step", "MFA"),
    Case("MF-06", "A backup code works once", "MFA"),
    Case("MF-08", "Turning it off asks who you are again", "MFA"),
    Case("MF-11", "The secret is shown once, and enrolling anew asks again", "MFA"),
    Case("MF-13", "A half-done sign-in ends soon and serves once", "MFA"),
    Case("MF-14", "Tokens tell truly how somebody signed in", "MFA"),
    Case("MF-17", "A mailed code is no second factor", "MFA"),
    Case("MF-18", "A stolen session cannot add a factor", "MFA"),
    Case("MF-15", "Passkeys register and sign in in a browser", "passkeys"),
)
_OAUTH = (
    Case(
        "OA-01", "A redirect address must be the registered one, exactly", "authorization endpoint"
    ),
    Case("OA-03", "An unknown client is never redirected", "authorization endpoint"),
    Case("OA-04", "Codes need PKCE with S256", "authorization endpoint"),
    Case("OA-06", "A code used again ends what it gave", "authorization endpoint"),
    Case("OA-07", "A code is short-lived and bound to its request", "authorization endpoint"),
    Case("OA-08", "Answers carry state and issuer", "authorization endpoint"),
    Case("OA-10", "A wrong client secret is refused with a challenge", "OAuth tokens"),
    Case("OA-12", "Nobody gets a scope beyond what was granted", "OAuth tokens"),
    Case(
        "OA-14", "Introspection asks who is asking, and tells nothing of rubbish", "OAuth tokens"
    ),
    Case("OA-16", "Revocation ends the session of the token and no other", "OAuth tokens"),
    Case("OA-17", "A revocation that was not done is never confirmed", "OAuth tokens"),
    Case("OA-18", "Token answers are JSON and never cached", "OAuth tokens"),
    Case("OA-20", "The metadata is true and offers nothing obsolete", "OAuth tokens"),
    Case("OA-22", "nonce, max_age and prompt=none are honoured", "OpenID Connect"),
    Case("OA-23", "A fresh sign-in that was asked for really happens", "OpenID Connect"),
    Case("OA-24", "Signing out returns to registered addresses only", "OpenID Connect"),
    Case("OA-26", "A pushed request serves its client, once and soon", "PAR"),
    Case("OA-28", "A bound token is no use without its proof", "DPoP"),
    Case("OA-30", "Device codes cannot be hurried or used twice", "device flow"),
    Case("OA-33", "A client assertion counts once and for us alone", "authorization endpoint"),
    Case("OA-35", "Consent cannot be forged or stretched", "authorization endpoint"),
    Case(
        "OA-36", "The implicit grant is nowhere, the password grant where it is on", "OAuth tokens"
    ),
    Case("OA-37", "Clients of others work unchanged", "authorization endpoint"),
    Case("OA-38", "Clients are told of a sign-out", "OpenID Connect"),
)
_AUTHORISATION = (
    Case("AZ-01", "What needs a scope is closed to nobody and to members", "authorisation"),
    Case("AZ-03", "Nobody makes himself more than he is by registering", "registration"),
    Case("AZ-05", "The last administrator stays, and nobody promotes himself", "administration"),
    Case("AZ-06", "Nobody grants what he lacks, or rules over who has more", "administration"),
    Case("AZ-07", "A deleted person leaves nothing personal behind", "account deletion"),
    Case("AZ-09", "Every change leaves who, whom, when and from where, and no secret", "audit"),
    Case("AZ-11", "A suspended administrator's token opens nothing", "administration"),
)
_INPUT = (
    Case("IN-01", "NUL, lone surrogates and broken UTF-8 are refused everywhere", "input"),
    Case("IN-03", "A body over the limit is refused early", "input"),
    Case("IN-05", "Numbers and nesting beyond reason are refused", "input"),
    Case("IN-07", "Wrong types, methods and paths get their problem", "input"),
    Case("IN-09", "Fuzzing by the description finds no failure", "input"),
    Case("IN-10", "Nor does long, stateful fuzzing", "input"),
    Case("IN-11", "Every answer carries the safe headers and no banner", "input"),
    Case("IN-14", "Half-open connections block nobody", "input"),
    Case("IN-16", "No parameter reaches SQL", "input"),
    Case("IN-17", "A body of very many keys costs nothing", "input"),
    Case("IN-18", "After a failure the connection works or is closed", "input"),
    Case("IN-20", "No log holds a secret", "input"),
    Case("IN-24", "Ids that are none are refused", "input"),
    Case(
        "IN-25",
        "A repeated request is answered again; another under its key is not",
        "idempotency",
    ),
)
_MAIL = (
    Case("OB-01", "A mail server that is down delays mail and nothing else", "SMTP"),
    Case("OB-02", "Refused mail is tried again, then set aside and counted", "SMTP"),
    Case("OB-04", "Several workers send each mail once", "jobs"),
    Case("OB-06", "What is rolled back mails nobody", "mail"),
    Case("OB-07", "Names cannot inject markup or headers", "mail"),
    Case("OB-08", "A mail whose link has expired is not sent", "mail"),
)
_RELIABILITY = (
    Case("RE-01", "A killed service has lost nothing that it confirmed", "reliability"),
    Case("RE-03", "It survives a database that stops, and comes back with it", "reliability"),
    Case("RE-05", "A slow network to the database slows, and breaks nothing", "reliability"),
    Case("RE-08", "A clock that jumps lets nobody in and throws nobody out", "reliability"),
    Case("RE-09", "Stopping under load loses no accepted request", "reliability"),
    Case("RE-11", "Overload is refused quickly and the rest goes on", "reliability"),
    Case("RE-13", "A million accounts slow nobody down", "reliability"),
    Case("RE-14", "Migration while serving fails nobody", "reliability"),
    Case("RE-16", "A pool that is used up is said, soon", "reliability"),
    Case("RE-17", "Live asks nobody; ready asks the database, briefly", "reliability"),
    Case("RE-18", "A start without a database ends clearly", "reliability"),
    Case("RE-20", "Bad secrets and settings stop the start by name", "reliability"),
    Case("RE-22", "Too few file handles break nothing for good", "reliability"),
    Case("RE-23", "A database that takes no more connections is survived", "reliability"),
    Case("RE-24", "Operators see in during overload", "reliability"),
)
CHAPTERS: Mapping[str, tuple[Case, ...]] = {
    "Passwords": _PASSWORDS,
    "Enumeration": _ENUMERATION,
    "Rate limits": _LIMITS,
    "Addresses": _ADDRESSES,
    "Recovery": _RECOVERY,
    "Sessions": _SESSIONS,
    "Access tokens": _ACCESS_TOKENS,
    "Second factors": _SECOND_FACTORS,
    "OAuth and OpenID Connect": _OAUTH,
    "Authorisation": _AUTHORISATION,
    "Input": _INPUT,
    "Mail": _MAIL,
    "Reliability": _RELIABILITY,
}


def cases() -> Iterator[Case]:
    for chapter in CHAPTERS.values():
        yield from chapter


def excuse_of(case: Case) -> str | None:
    """Say why a case has no test, if it may be without one."""
    return NOT_BUILT.get(case.feature)


def proofs() -> dict[str, list[str]]:
    """Find the tests of each id, as pytest names them."""
    found: dict[str, list[str]] = {}
    contracts = TESTS.parent / "src" / "testing"
    for path in sorted([*contracts.rglob("*.py"), *TESTS.rglob("*.py")]):
        place = path.relative_to(TESTS.parent).as_posix()
        for name in _test_names(ast.parse(path.read_text(encoding="utf-8"))):
            for id_ in _ids_of(name):
                found.setdefault(id_, []).append(f"{place}::{name}")
    return found


def _test_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            methods = (
                m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)
            )
            yield from (f"{node.name}::{method.name}" for method in methods)


def _ids_of(name: str) -> Iterator[str]:
    if ids := _NAME.match(name.rpartition("::")[2]):
        for id_ in re.findall(r"([a-z]{2})_(\d{2})_", ids[1]):
            yield "-".join(id_).upper()
