import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import Iterator

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type

from gatepost.adapters.argon2 import Argon2PasswordHasher
from gatepost.domain.errors import Overloaded
from gatepost.testing.contracts.security import PASSWORD
from gatepost.testing.contracts.security import PasswordHasherContract as TestHasher

__all__ = ["TestHasher"]


def a_hasher(
    *, memory_kib: int = 64, time_cost: int = 1, concurrency: int = 1, queue: int = 100
) -> Argon2PasswordHasher:
    return Argon2PasswordHasher(
        memory_kib=memory_kib, time_cost=time_cost, concurrency=concurrency, queue=queue
    )


@pytest.fixture
def hasher() -> Iterator[Argon2PasswordHasher]:
    made = a_hasher()
    yield made
    made.close()


@pytest.fixture
def foreign() -> str:
    return (
        "pbkdf2_sha256$20000$OL9JodeLVVogJYJp5xN1Lb$0fgyX0x0GQABCiyAG1eI15JFejL6g9S1s81q9goSa3o="
    )


@pytest.fixture
def narrow() -> Iterator[Argon2PasswordHasher]:
    """One hash at a time, and room for one more to wait."""
    made = a_hasher(concurrency=1, queue=1)
    yield made
    made.close()


@pytest.fixture
def slow() -> Iterator[Argon2PasswordHasher]:
    made = a_hasher(memory_kib=16384, time_cost=2)
    yield made
    made.close()


class HeldPassword(str):
    """Keeps the thread that hashes it until the gate opens."""

    def __init__(self, _: str) -> None:
        self.gate, self.reached = threading.Event(), threading.Event()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        self.reached.set()
        self.gate.wait(10)
        return super().encode(encoding, errors)


async def test_pw_13_the_defaults_are_argon2id_with_at_least_what_owasp_asks() -> None:
    hasher = Argon2PasswordHasher()
    parameters = extract_parameters(await hasher.hash(PASSWORD))
    hasher.close()
    assert parameters.type is Type.ID
    assert parameters.memory_cost >= 19456
    assert parameters.time_cost >= 2
    assert parameters.parallelism == 1
    assert parameters.salt_len >= 16


async def test_pw_13_salts_are_unique(hasher: Argon2PasswordHasher) -> None:
    hashes = {await hasher.hash(PASSWORD) for _ in range(50)}
    assert len({encoded.split("$")[4] for encoded in hashes}) == 50


async def test_pw_13_a_raised_work_factor_asks_for_a_rehash(hasher: Argon2PasswordHasher) -> None:
    raised = a_hasher(time_cost=2)
    old = await hasher.hash(PASSWORD)
    assert await raised.verify(PASSWORD, old)
    assert raised.needs_rehash(old)
    assert not raised.needs_rehash(await raised.hash(PASSWORD))
    raised.close()


async def test_a_full_queue_refuses_at_once(narrow: Argon2PasswordHasher) -> None:
    password = HeldPassword(PASSWORD)
    callers = [asyncio.create_task(narrow.hash(password)) for _ in range(2)]
    await asyncio.to_thread(password.reached.wait)
    assert (narrow.running, narrow.waiting) == (1, 1)
    for refused in (
        narrow.hash(PASSWORD),
        narrow.verify(PASSWORD, "x"),
        narrow.verify(PASSWORD, None),
    ):
        with pytest.raises(Overloaded):
            await refused
    with pytest.raises(Overloaded), narrow.place():
        pass
    with pytest.raises(Overloaded):
        narrow.demand_room()
    password.gate.set()
    await asyncio.gather(*callers)
    assert (narrow.running, narrow.waiting) == (0, 0)
    with narrow.place():
        assert await narrow.hash(PASSWORD)


async def test_a_queue_that_moves_slowly_is_full_before_its_places_are_taken(
    hasher: Argon2PasswordHasher,
) -> None:
    async def held(seconds: float) -> None:
        password = HeldPassword(PASSWORD)
        asyncio.get_running_loop().call_later(seconds, password.gate.set)
        await hasher.hash(password)

    await held(0.3)
    running = asyncio.create_task(held(0.1))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(70)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        hasher.demand_room()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    await running
    refused = sum(isinstance(one, Overloaded) for one in told)
    assert 0 < refused < len(waiting)
    for _ in range(20):
        await hasher.hash(PASSWORD)
    hasher.demand_room()


async def test_a_held_place_is_kept_for_every_hash_of_its_task(
    narrow: Argon2PasswordHasher,
) -> None:
    with narrow.place(), narrow.place():
        # Others find the queue full before the first hash, and between two of them.
        other = contextvars.Context()
        for _ in range(2):
            with pytest.raises(Overloaded):
                await asyncio.create_task(narrow.hash(PASSWORD), context=other)
            assert await narrow.hash(PASSWORD)
    assert await narrow.hash(PASSWORD)


async def test_two_hashes_at_once_leave_one_held_place_as_it_was(
    narrow: Argon2PasswordHasher,
) -> None:
    with narrow.place():
        await asyncio.gather(narrow.hash(PASSWORD), narrow.hash(PASSWORD))
    with narrow.place(), narrow.place():
        assert await narrow.hash(PASSWORD)


async def test_a_place_that_was_given_up_is_not_given_to_a_task_begun_in_it(
    narrow: Argon2PasswordHasher,
) -> None:
    with narrow.place():
        late = asyncio.create_task(narrow.hash(PASSWORD))
    await late
    with narrow.place(), narrow.place(), pytest.raises(Overloaded), narrow.place():
        pass


async def test_a_caller_who_leaves_frees_no_place_before_his_thread_is_done(
    narrow: Argon2PasswordHasher,
) -> None:
    password = HeldPassword(PASSWORD)
    caller = asyncio.create_task(narrow.hash(password))
    await asyncio.to_thread(password.reached.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert narrow.running == 1
    password.gate.set()
    await narrow.hash(PASSWORD)
    assert narrow.running == 0


async def test_a_caller_who_leaves_the_queue_costs_no_hash(narrow: Argon2PasswordHasher) -> None:
    running, waiting = HeldPassword(PASSWORD), HeldPassword(PASSWORD)
    first = asyncio.create_task(narrow.hash(running))
    await asyncio.to_thread(running.reached.wait)
    second = asyncio.create_task(narrow.hash(waiting))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (narrow.running, narrow.waiting) == (1, 0)
    running.gate.set()
    await first
    await narrow.hash(PASSWORD)
    assert not waiting.reached.is_set()


async def test_a_failed_hash_frees_its_place(hasher: Argon2PasswordHasher) -> None:
    for encoded in ["broken", "$argon2id$v=19$m=9999999999,t=1,p=1$AAAAAAAAAAA$AAAA"] * 60:
        assert not await hasher.verify(PASSWORD, encoded)
    assert hasher.running == 0


async def test_a_hash_from_elsewhere_that_looks_like_ours_is_still_to_be_renewed(
    hasher: Argon2PasswordHasher,
) -> None:
    elsewhere = a_hasher(memory_kib=1024)
    bare = await elsewhere.hash(PASSWORD)
    elsewhere.close()
    adopted = hasher.adopt(bare).encoded
    assert adopted == f"argon2{bare}"
    assert hasher.needs_rehash(adopted)
    assert await hasher.verify(PASSWORD, adopted)


async def test_a_hash_that_its_library_does_not_take_matches_nothing(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch, foreign: str
) -> None:
    def refusing(self: object, secret: bytes) -> bool:
        raise ValueError

    monkeypatch.setattr("gatepost.adapters.foreign_hashes.kinds.Pbkdf2Hash.matches", refusing)
    assert await hasher.verify(PASSWORD, foreign) is False


def test_slower_hashes_than_ours_are_told_apart(slow: Argon2PasswordHasher) -> None:
    for memory, is_slower in ((1024, False), (65536, True)):
        encoded = f"$argon2id$v=19$m={memory},t=9,p=1${'A' * 22}${'A' * 43}"
        assert slow.adopt(encoded).is_slower is is_slower


def test_a_hash_that_is_slower_once_both_spellings_are_tried_counts_as_slower(
    slow: Argon2PasswordHasher,
) -> None:
    for memory, is_slower in ((8000, False), (9000, True)):
        encoded = f"$argon2id$v=19$m={memory},t=2,p=1${'A' * 22}${'A' * 43}"
        assert slow.adopt(encoded).is_slower is is_slower


def test_a_dearer_hash_of_another_installation_is_slower(slow: Argon2PasswordHasher) -> None:
    for memory, is_slower in ((16384, False), (32768, True)):
        encoded = f"gatepost$argon2id$v=19$m={memory},t=2,p=1${'A' * 22}${'A' * 43}"
        assert slow.adopt(encoded).is_slower is is_slower


async def test_the_loop_goes_on_while_a_hash_is_made(slow: Argon2PasswordHasher) -> None:
    caller = asyncio.create_task(slow.hash(PASSWORD))
    turns = 0
    while not caller.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 3


async def test_text_that_no_encoding_holds_is_no_accident(hasher: Argon2PasswordHasher) -> None:
    assert not await hasher.verify("\ud800", await hasher.hash(PASSWORD))


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to the process elsewhere")
async def test_only_hash_threads_step_back(hasher: Argon2PasswordHasher) -> None:
    await hasher.hash(PASSWORD)
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    threads = [one for one in threading.enumerate() if one.name.startswith("argon2")]
    levels = {os.getpriority(os.PRIO_PROCESS, one.native_id or 0) for one in threads}
    assert levels == {min(19, ours + 10)}


async def test_a_closed_hasher_refuses_and_keeps_count() -> None:
    hasher = a_hasher()
    hasher.close()
    with pytest.raises(RuntimeError):
        await hasher.hash(PASSWORD)
    assert hasher.running == 0
