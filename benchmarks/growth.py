"""What an operation costs with ten thousand accounts, and with ten million.

`python -m benchmarks.growth 10000 1000000 10000000`: a database for each size in one PostgreSQL,
each served in turn by an application of its own in this process. Cost is the CPU time of this
process, which answers, and of the PostgreSQL that answers it.

As many people are active at each size, and have been here before: their pages are in memory, as
those of active people are. What it costs to meet somebody for the first time stands beside it.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import plans, seed
from benchmarks.macro import facts
from benchmarks.plot import bars
from benchmarks.population import Population, opened
from gatepost.adapters.embedded import EmbeddedPostgres

SETTINGS = {
    "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL": "false",
    "GATEPOST_LIMITS__ENABLED": "false",
    "GATEPOST_PASSWORD__MEMORY_KIB": "8",
    "GATEPOST_PASSWORD__TIME_COST": "1",
    # Longer than a run.
    "GATEPOST_TOKENS__ACCESS_TTL": "12h",
    "LOG_LEVEL": "WARNING",
}
# How many come for the first time after those who are active, in each round.
NEW = 30
PERSONAL = ("me", "refresh", "log in", "search", "audit")
OPERATIONS = (*PERSONAL, "list", "newest of the trail")
Found = dict[str, dict[int, list[float]]]


async def compared(populations: Sequence[Population], rounds: int) -> Found:
    """Ask all sizes in turn in each round: what else the machine does meets all of them."""
    found: Found = {}
    for turn in range(-1, rounds):
        for operation in OPERATIONS:
            for people in random.sample(populations, len(populations)):
                spent = {operation: await people.cost(people.asks(operation, people.active))}
                if operation in PERSONAL:
                    asks = people.asks(operation, people.meet(NEW))
                    spent[f"{operation}, first time"] = await people.cost(asks)
                # The round before the first makes ready: statements, pages, connections.
                for name, cost in spent.items() if turn >= 0 else ():
                    found.setdefault(name, {}).setdefault(people.size, []).append(cost)
        print(f"round {turn + 1} of {rounds}", flush=True)
    return found


def judged(found: Found, sizes: Sequence[int]) -> dict[str, Any]:
    """Form ratios to the smallest size inside of each round."""
    return {
        name: {
            "microseconds": {size: spread(costs[size]) for size in sizes},
            "ratio": {
                size: spread([ours / least for ours, least in zip(*pair, strict=True)])
                for size in sizes[1:]
                for pair in [(costs[size], costs[sizes[0]])]
            },
            "ratio_of_least": {
                size: round(min(costs[size]) / min(costs[sizes[0]]), 3) for size in sizes[1:]
            },
        }
        for name, costs in found.items()
    }


def spread(values: Sequence[float]) -> list[float]:
    return [round(each, 3) for each in (min(values), statistics.median(values), max(values))]


async def measured(urls: dict[int, str], rounds: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        populations = [
            await stack.enter_async_context(opened(url, size)) for size, url in urls.items()
        ]
        sizes = {
            people.size: await people.watch.fetchval("SELECT pg_database_size(current_database())")
            for people in populations
        }
        found = await compared(populations, rounds)
    return {"machine": facts(), "bytes": sizes, "operations": judged(found, list(urls))}


def table(result: dict[str, Any]) -> str:
    sizes = list(result["bytes"])
    lines = [
        "| operation | "
        + " | ".join(f"{size:,}" for size in sizes)
        + " | ratio | ratio of the least |",
        "| --- |" + " --- |" * (len(sizes) + 2),
    ]
    for name, each in result["operations"].items():
        costs = " | ".join(f"{each['microseconds'][size][1]:,.0f} µs" for size in sizes)
        low, middle, high = each["ratio"][sizes[-1]]
        least = each["ratio_of_least"][sizes[-1]]
        lines.append(f"| {name} | {costs} | {middle:.2f} [{low:.2f}-{high:.2f}] | {least:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--into", type=Path, default=Path(".gatepost/bench"))
    parser.add_argument("--data", type=Path, help="keep the databases here, for the next run")
    parser.add_argument("--plans", type=Path, help="write the plans at the last size here")
    options = parser.parse_args()
    if len(options.sizes) < 2:
        parser.error("one size alone tells no growth")
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        os.environ |= SETTINGS | {"GATEPOST_DATA_DIR": str(data / "service")}
        with seed.cluster(data / "postgres") as server:
            urls = {size: filled(server, size) for size in options.sizes}
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                write(runner.run(measured(urls, options.rounds)), options.into)
            if options.plans:
                size = options.sizes[-1]
                options.plans.write_text(asyncio.run(plans.page(urls[size], size)))


def write(result: dict[str, Any], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    (into / "growth.json").write_text(json.dumps(result, indent=2) + "\n")
    first, *_, last = result["bytes"]
    title = f"CPU time with {last:,} accounts, in times of that with {first:,}"
    ratios = {name: each["ratio"][last] for name, each in result["operations"].items()}
    (into / "growth.svg").write_text(bars(title, ratios, ".2f"))
    print(table(result))


def filled(server: EmbeddedPostgres, size: int) -> str:
    began = time.monotonic()
    url = asyncio.run(seed.database(server, size))
    print(f"{size:,} accounts in {time.monotonic() - began:.0f} s", flush=True)
    return url


if __name__ == "__main__":
    main()
