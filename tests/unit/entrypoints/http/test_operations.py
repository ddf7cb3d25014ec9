import asyncio
from dataclasses import replace

from gatepost import assemble
from gatepost.adapters.memory import MemoryMailer
from gatepost.adapters.prometheus import PrometheusMetrics
from gatepost.application.ports.storage import HealthCheck
from gatepost.domain.errors import Unavailable
from gatepost.entrypoints.http.app import create_app, create_management_app
from gatepost.entrypoints.http.operations import Probe
from gatepost.entrypoints.http.options import HttpOptions
from tests.unit.entrypoints.http.service import (
    FRONTEND,
    OPTIONS,
    Service,
    assert_problem,
    client_of,
    open_service,
    policies_for,
    ports_for,
)


class Database(HealthCheck):
    def __init__(self, *, up: bool = True, hangs: bool = False) -> None:
        self.up = up
        self.hangs = hangs
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(60)
        if not self.up:
            raise Unavailable


async def service_over(database: Database, options: HttpOptions = OPTIONS) -> Service:
    return await open_service(options, ports=replace(ports_for(), database=database))


async def test_health_tells_version_and_checks() -> None:
    service = await service_over(Database())
    answer = await service.http.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["version"]) == ("healthy", "9.9")
    assert body["checks"]["database"]["status"] == "healthy"
    assert list(body["checks"]) == ["database", "rate_limiter", "mail", "jobs"]
    for check in body["checks"].values():
        assert check["status"] == "healthy"
        assert check["latency_ms"] >= 0


class BrokenMailer(MemoryMailer):
    async def check(self) -> None:
        raise OSError("disk")


async def test_only_the_database_makes_it_unhealthy() -> None:
    ports = ports_for()
    ports.backlog.oldest_seconds = 301
    down = Database(up=False)
    service = await open_service(ports=replace(ports, mailer=BrokenMailer(), limiter_check=down))
    answer = await service.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    states = {name: check["status"] for name, check in answer.json()["checks"].items()}
    assert states == {
        "database": "healthy",
        "rate_limiter": "unhealthy",
        "mail": "unhealthy",
        "jobs": "unhealthy",
    }


async def test_checks_that_hang_are_given_up_and_told() -> None:
    ports = replace(ports_for(), database=Database(), limiter_check=Database(hangs=True))
    service = await open_service(replace(OPTIONS, check_seconds=0.02), ports=ports)
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await service.http.get("/health")
    assert answer.status_code == 200
    assert answer.json()["checks"]["rate_limiter"]["status"] == "unhealthy"
    assert loop.time() - started < 3


async def test_metrics_and_checks_move_to_the_management_port() -> None:
    async def render() -> bytes:
        return b"up 1\n"

    limiter = Database(hangs=True)
    gatepost = assemble(replace(ports_for(), limiter_check=limiter), policies_for())
    options = replace(OPTIONS, metrics=render, check_seconds=0.02)
    public = client_of(create_app(gatepost, replace(options, metrics=None, health_checks=False)))
    assert_problem(await public.get("/metrics"), 404, "not_found")
    health = await public.get("/health")
    assert health.json() == {"status": "healthy", "version": "9.9"}
    assert limiter.asked == 0, "nobody waits for what nobody is shown"
    own = client_of(create_management_app(gatepost, options))
    answer = await own.get("/metrics")
    assert (answer.status_code, answer.text) == (200, "up 1\n")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "checks" in (await own.get("/health")).json()
    for path in ("/livez", "/readyz"):
        assert (await own.get(path)).status_code == 200
    assert_problem(await own.get("/v1/users/me"), 404, "not_found")


async def test_requests_are_told_apart_by_template_method_and_status() -> None:
    metrics = PrometheusMetrics("9.9")
    service = await open_service(replace(OPTIONS, requests=metrics.requests))
    await service.http.get("/problems/not_found")
    await service.http.get("/problems/username_taken")
    await service.http.get("/nowhere/ada@example.com")
    await service.http.post("/livez")
    assert metrics.requests.in_flight == 0
    seen = metrics.requests._observers
    assert set(seen) == {
        ("GET", "/problems/{code}", 200),
        ("GET", "none", 404),
        ("POST", "/livez", 405),
    }
    assert b"ada@" not in metrics.render(None)


async def test_re_17_live_never_asks_the_database_and_ready_does() -> None:
    database = Database(up=False)
    service = await service_over(database)
    assert (await service.http.get("/livez")).status_code == 200
    assert database.asked == 0
    assert_problem(await service.http.get("/readyz"), 503, "unavailable")
    answer = await service.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.headers["retry-after"] == "1"
    assert database.asked == 1


async def test_re_17_a_database_that_hangs_is_given_up_after_a_second() -> None:
    assert OPTIONS.check_seconds == 1
    service = await service_over(Database(hangs=True), replace(OPTIONS, check_seconds=0.02))
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert_problem(await service.http.get("/readyz"), 503, "unavailable")
    assert loop.time() - started < 10


async def test_probes_at_once_ask_once_and_results_last_a_second() -> None:
    database, time = Database(), 0.0
    probe = Probe(database, monotonic=lambda: time)
    await asyncio.gather(*(probe() for _ in range(20)))
    assert database.asked == 1
    time, database.up = 0.9, False
    assert (await probe()).status == "healthy"
    time = 1.1
    assert (await probe()).status == "unhealthy"


async def test_a_draining_process_is_not_ready_but_live() -> None:
    draining = False
    service = await open_service(replace(OPTIONS, draining=lambda: draining))
    assert (await service.http.get("/readyz")).status_code == 200
    draining = True
    assert_problem(await service.http.get("/readyz"), 503, "unavailable")
    assert (await service.http.get("/livez")).status_code == 200


async def test_jw_16_keys_are_public_cacheable_and_revalidated(shared: Service) -> None:
    answer = await shared.http.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["access-control-allow-origin"] == "*"
    (key,) = answer.json()["keys"]
    assert {"kid", "alg", "use"} <= set(key)
    assert not {"d", "k", "p", "q"} & set(key)
    etag = answer.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await shared.http.get("/.well-known/jwks.json", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    stale = await shared.http.get("/.well-known/jwks.json", headers={"If-None-Match": '"no"'})
    assert stale.status_code == 200


async def test_change_password_leads_to_the_frontend(shared: Service) -> None:
    answer = await shared.http.get("/.well-known/change-password")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{FRONTEND}/change-password"


async def test_every_problem_has_its_page(shared: Service) -> None:
    answer = await shared.http.get("/problems/username_taken")
    assert answer.status_code == 200
    assert "409 Conflict" in answer.text
    assert "This username is taken." in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert_problem(await shared.http.get("/problems/nonesuch"), 404, "not_found")


async def test_documentation_serves_its_own_assets(shared: Service) -> None:
    for path in ("/docs", "/redoc"):
        answer = await shared.http.get(path)
        assert answer.status_code == 200
        assert "http" not in answer.text.replace("<!doctype html>", "")
        assert "script-src 'self';" in answer.headers["content-security-policy"]
    for name in ("start.js", "assets/swagger-ui-bundle.js", "assets/redoc.standalone.js"):
        answer = await shared.http.get(f"/docs/{name}")
        assert answer.status_code == 200
        assert "javascript" in answer.headers["content-type"]
    assert (await shared.http.get("/openapi.json")).json()["info"]["title"] == "Gatepost"
    assert_problem(await shared.http.get("/docs/assets/nope.js"), 404, "not_found")
    assert_problem(await shared.http.get("/docs/assets/..%2Fcore.py"), 404, "not_found")


async def test_documentation_is_off_unless_asked_for() -> None:
    service = await open_service(replace(OPTIONS, docs=False))
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/start.js", "/docs/assets/favicon.png"):
        assert_problem(await service.http.get(path), 404, "not_found")


async def test_own_pages_are_there_only_without_another_frontend(service: Service) -> None:
    assert_problem(await service.http.get("/verify-email"), 404, "not_found")
    alone = await open_service(replace(OPTIONS, frontend_url=OPTIONS.public_url))
    assert (await client_of(alone.serve).get("/verify-email")).status_code == 200
