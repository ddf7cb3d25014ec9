"""Logins at a fixed rate, whatever is answered: `python -m tests.faults.flood`.

A process of its own, so that what others measure is not the time of this one.
"""

import asyncio
import json
import sys
import time

from tests.faults.load import Answer, Tally, Wire
from tests.service import PASSWORD


class Flood:
    """Open loop: the next request does not wait for the last."""

    def __init__(self, port: int, login: str) -> None:
        self.tally = Tally()
        self._body = {"login": login, "password": PASSWORD}
        self._port = port
        self._idle: list[Wire] = []

    async def pour(self, rate: float, seconds: float) -> None:
        began, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while (now := time.monotonic() - began) < seconds:
                while sent < now * rate:
                    group.create_task(self._log_in())
                    sent += 1
                await asyncio.sleep(0.005)

    async def trickle(self, at_once: int, seconds: float) -> None:
        """Closed loop, for finding out how many there can be."""
        until = time.monotonic() + seconds

        async def again() -> None:
            while time.monotonic() < until:
                await self._log_in()

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(again())

    async def _log_in(self) -> None:
        wire = self._idle.pop() if self._idle else Wire(self._port)
        started = time.perf_counter()
        outcome: Answer | Exception
        try:
            outcome = await wire.ask("POST", "/v1/sessions", self._body)
        except (OSError, EOFError) as broken:
            outcome = broken
        accepted = isinstance(outcome, Answer) and outcome.status == 201
        self.tally.note("accepted" if accepted else "refused", started, outcome, 201)
        self._idle.append(wire)

    def told(self) -> str:
        """Say what was seen, for the process that started this one."""
        tally = self.tally
        return json.dumps(
            {
                "requests": tally.requests,
                "accepted": len(tally.seconds["accepted"]),
                "refused": tally.refused,
                "wrong": tally.wrong,
                "slowest": tally.slowest,
                "refused_p50": tally.quantile(0.5, "refused"),
                "refused_p99": tally.quantile(0.99, "refused"),
                "cpu_seconds": time.process_time(),
            }
        )

    def close(self) -> None:
        for wire in self._idle:
            wire.close()


async def main(how: str, port: str, login: str, amount: str, seconds: str) -> None:
    flood = Flood(int(port), login)
    if how == "pour":
        await flood.pour(float(amount), float(seconds))
    else:
        await flood.trickle(int(amount), float(seconds))
    print(flood.told())  # noqa: T201
    flood.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
