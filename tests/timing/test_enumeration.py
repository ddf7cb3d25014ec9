"""Known and unknown addresses cannot be told apart with a stopwatch (`make test-timing`).

Pairs of requests are interleaved, and the two samples compared by the area under the ROC curve:
the chance that a request about a known address takes longer than one about an unknown one. A half
means nothing can be learnt; absolute times of the machine do not matter.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count

import httpx2
import pytest

from tests.service import PASSWORD, Service, register, running, signed_in

PAIRS = 60
LEAST, MOST = 0.35, 0.65

Call = Callable[[int], httpx2.Response]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("timing") / "service"
    with running(folder, GATEPOST_PASSWORD__MEMORY_KIB="19456") as started:
        yield started


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, timeout=30) as opened:
        signed_in(opened, service, "known")
        yield opened


def auc(known: list[float], unknown: list[float]) -> float:
    wins = sum((k > u) + (k == u) / 2 for k in known for u in unknown)
    return wins / (len(known) * len(unknown))


def compare(known: Call, unknown: Call) -> float:
    """Time both calls in turn, each first in every other pair; the answers must be equal."""
    samples: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(PAIRS + 5):
        order = [("known", known), ("unknown", unknown)]
        answers = []
        for name, call in order if number % 2 else reversed(order):
            started = time.perf_counter()
            answer = call(number)
            samples[name].append(time.perf_counter() - started)
            answers.append((answer.status_code, answer.text.partition('"request_id"')[0]))
        assert answers[0] == answers[1]
    return auc(samples["known"][5:], samples["unknown"][5:])


def test_en_01_signing_in(client: httpx2.Client) -> None:
    def attempt(login: str) -> httpx2.Response:
        return client.post("/v1/sessions", json={"login": login, "password": "not the one"})

    by_address = compare(
        lambda n: attempt("known@example.com"), lambda n: attempt(f"unknown{n}@example.com")
    )
    by_name = compare(lambda n: attempt("known"), lambda n: attempt(f"unknown{n}"))
    print(f"sign in: AUC {by_address:.2f} by address, {by_name:.2f} by username")  # noqa: T201
    assert LEAST <= by_address <= MOST
    assert LEAST <= by_name <= MOST


# In one to three quarters of the time that ours takes.
FASTER = {
    "pbkdf2": f"pbkdf2:sha256:20000$salt${'ab' * 32}",
    "bcrypt": "$2b$07$" + "a" * 53,
    "scrypt": f"scrypt:4096:8:1$salt${'ab' * 64}",
}


def test_en_01_signing_in_where_the_hash_is_from_elsewhere(
    client: httpx2.Client, service: Service
) -> None:
    rows = [
        {"username": name, "email": f"{name}@example.com", "password_hash": encoded}
        for name, encoded in FASTER.items()
    ]
    subprocess.run(
        [sys.executable, "-m", "gatepost", "users", "import", "-"],
        env=os.environ | {"GATEPOST_DATA_DIR": str(service.folder)},
        input="\n".join(map(json.dumps, rows)),
        text=True,
        check=True,
    )

    def attempt(login: str) -> httpx2.Response:
        return client.post("/v1/sessions", json={"login": login, "password": "not the one"})

    for name in FASTER:
        found = compare(
            lambda n, name=name: attempt(name),  # type: ignore[misc]
            lambda n: attempt(f"unknown{n}"),
        )
        print(f"sign in, {name} hash: AUC {found:.2f}")  # noqa: T201
        assert LEAST <= found <= MOST


def test_en_05_registering(client: httpx2.Client) -> None:
    names = count()

    def attempt(email: str) -> httpx2.Response:
        body = {"username": f"timed{next(names)}", "email": email, "password": PASSWORD}
        return client.post("/v1/register", json=body)

    found = compare(
        lambda n: attempt("known@example.com"), lambda n: attempt(f"free{n}@example.com")
    )
    print(f"register: AUC {found:.2f}")  # noqa: T201
    assert LEAST <= found <= MOST


@pytest.mark.parametrize(
    "path", ["/v1/password-resets", "/v1/email-verifications"], ids=["en_03_reset", "en_08_resend"]
)
def test_asking_for_a_mail(client: httpx2.Client, path: str) -> None:
    assert register(client, "pending").status_code == 202
    known = "known" if path.endswith("resets") else "pending"
    found = compare(
        lambda n: client.post(path, json={"email": f"{known}@example.com"}),
        lambda n: client.post(path, json={"email": f"nobody{n}@example.com"}),
    )
    print(f"{path}: AUC {found:.2f}")  # noqa: T201
    assert LEAST <= found <= MOST
