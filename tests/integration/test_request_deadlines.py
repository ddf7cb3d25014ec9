"""How long requests may take, with short limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message, Scope

from gatepost.adapters.memory import memory_ports
from gatepost.application.outcomes import deciding
from gatepost.entrypoints.http.deadlines import Deadline
from tests.unit.entrypoints.http.service import OPTIONS, Service, assert_problem, open_service

SHORT = 0.05
LONGER = 4 * SHORT
ended: list[str] = []


@pytest.fixture(scope="module")
async def hasty() -> Service:
    options = replace(OPTIONS, body_seconds=3 * SHORT, work_seconds=SHORT)
    service = await open_service(options, ports=memory_ports())
    add_routes(service)
    return service


def add_routes(service: Service) -> None:  # noqa: C901
    async def hanging(request: Request) -> PlainTextResponse:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("rolled back")
        return PlainTextResponse("")

    async def stubborn(request: Request) -> PlainTextResponse:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return PlainTextResponse("done all the same")

    async def committing(request: Request) -> PlainTextResponse:
        with deciding():
            await asyncio.sleep(float(request.query_params["seconds"]))
        return PlainTextResponse("committed")

    async def streaming(request: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(4):
                await asyncio.sleep(SHORT)
                yield b"some"

        return StreamingResponse(body())

    async def reading(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    for endpoint in (hanging, stubborn, committing, streaming, reading):
        add = service.app.router.add_route
        add(f"/{endpoint.__name__}", endpoint, methods=["GET", "POST"])
        add(f"/oauth2/{endpoint.__name__}", endpoint)


async def test_work_that_takes_too_long_is_undone_and_says_when_to_come_back(
    hasty: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        ended.clear()
        answer = await hasty.http.get("/hanging")
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert ended == ["rolled back"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert [record.message for record in caplog.records] == ["gave up", "gave up"]


async def test_oauth_is_told_in_its_own_words(hasty: Service) -> None:
    answer = await hasty.http.get("/oauth2/hanging")
    assert answer.status_code == 503
    assert answer.json()["error"] == "temporarily_unavailable"


async def test_what_was_done_all_the_same_is_told(hasty: Service) -> None:
    assert (await hasty.http.get("/stubborn")).text == "done all the same"


async def test_a_commit_gets_a_moment_more_and_no_longer(hasty: Service) -> None:
    in_time = await hasty.http.get("/committing", params={"seconds": str(LONGER)})
    assert in_time.text == "committed"
    assert_problem(await hasty.http.get("/committing?seconds=60"), 503, "unavailable")


async def test_an_answer_that_has_begun_is_not_cut(hasty: Service) -> None:
    assert (await hasty.http.get("/streaming")).text == "some" * 4


async def test_others_may_still_cancel_a_request(hasty: Service) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT / 3):
            await hasty.http.get("/hanging")


async def posted(hasty: Service, path: str, *pieces: bytes, pause: float = 0) -> list[Message]:
    """Call the application with a body that comes in pieces, and never ends with the last one."""
    sent: list[Message] = []
    coming = iter(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pause)
        if (piece := next(coming, None)) is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": piece, "more_body": piece != b"."}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    scope.update(query_string=b"", client=None)
    await hasty.app(scope, receive, send)
    return sent


async def test_in_14_a_body_has_a_time_for_all_of_it(hasty: Service) -> None:
    for pieces in ((), (b"{",), (b" ",) * 60):
        start, body = await posted(hasty, "/v1/register", *pieces, pause=SHORT / 4)
        assert start["status"] == 408
        assert (b"connection", b"close") in start["headers"]
        assert b'"body_too_slow"' in body["body"]


async def test_waiting_for_the_body_is_not_work(hasty: Service) -> None:
    start, body = await posted(hasty, "/reading", b"a", b".", pause=0.8 * SHORT)
    assert (start["status"], body["body"]) == (200, b"a.")


async def test_whoever_begins_first_is_due_first_and_one_timer_serves_all() -> None:
    deadline, due = Deadline(SHORT), list[int]()
    first, second, third, fourth = (object() for _ in range(4))

    def stops_the_third() -> None:
        due.append(1)
        deadline.stop(third)

    deadline.start(second, lambda: due.append(9))
    deadline.start(first, stops_the_third)
    deadline.start(second, lambda: due.append(2))
    deadline.start(third, lambda: due.append(3))
    await asyncio.sleep(SHORT / 2)
    deadline.start(fourth, lambda: due.append(4))
    await asyncio.sleep(LONGER)
    assert due == [1, 2, 4]


async def test_who_begins_again_when_due_sets_no_further_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline, timers, due = Deadline(SHORT), list[float](), list[int]()
    first, second = object(), object()
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def noted(when: float, *arguments: Any, **named: Any) -> asyncio.TimerHandle:
        if arguments[0] == deadline._look:
            timers.append(when)
        return call_at(when, *arguments, **named)

    def again() -> None:
        due.append(1)
        if len(due) < 4:
            deadline.start(first, again)

    monkeypatch.setattr(loop, "call_at", noted)
    deadline.start(first, again)
    await asyncio.sleep(SHORT / 2)
    deadline.start(second, lambda: due.append(2))
    await asyncio.sleep(6 * SHORT)
    assert due == [1, 2, 1, 1]
    assert len(timers) == len(set(timers))


def test_a_loop_that_has_ended_takes_its_deadlines_with_it() -> None:
    deadline, due = Deadline(SHORT), list[str]()

    async def begin(name: str, wait: float) -> None:
        deadline.start(object(), lambda: due.append(name))
        await asyncio.sleep(wait)

    asyncio.run(begin("first", 0))
    asyncio.run(begin("second", LONGER))
    assert due == ["second"]
