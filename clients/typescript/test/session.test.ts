import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { createGatepost, done, type Options, type Problem, Refused, Unreachable } from "gatepost-client";

const BASE = "http://gatepost.test";

type Answer = Response | (() => Response | Promise<Response>);

/** A service that gives the answers it was told, and remembers what it was asked. */
class Service {
  asked: { call: string; bearer: string | null; body: Record<string, unknown> }[] = [];
  answers = new Map<string, Answer[]>();

  on(call: string, ...answers: Answer[]): void {
    this.answers.set(call, answers);
  }

  fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = input as Request;
    const text = await request.clone().text();
    const call = `${request.method} ${new URL(request.url).pathname}`;
    const bearer = request.headers.get("Authorization");
    this.asked.push({ call, bearer, body: text ? JSON.parse(text) : {} });
    const answer = this.answers.get(call)?.shift();
    assert.ok(answer, `no answer for ${call}`);
    init?.signal?.throwIfAborted();
    const given = typeof answer === "function" ? answer() : answer;
    return Promise.race([given, aborted(init?.signal)]);
  };

  count(call: string): number {
    return this.asked.filter((one) => one.call === call).length;
  }
}

function aborted(signal?: AbortSignal | null): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason as Error));
  });
}

function tokens(number: number): Response {
  return Response.json({
    access_token: `access-${number}`,
    token_type: "Bearer",
    expires_in: 900,
    refresh_token: `refresh-${number}`,
    refresh_expires_in: 2_592_000,
    scope: "account:read account:write",
    session_id: "0190",
  });
}

function problem(status: number, code: string, more: object = {}, headers = {}): Response {
  const body = { type: "x", title: code, status, detail: "", instance: "/", request_id: "r" };
  return Response.json({ ...body, code, ...more }, { status, headers });
}

const expired = () =>
  problem(401, "access_token_invalid", {}, { "WWW-Authenticate": 'Bearer error="invalid_token"' });
const user = () => Response.json({ username: "ada" });
const lost = () => {
  throw new TypeError("fetch failed");
};
const REFRESH = "POST /v1/sessions/refresh";
const ME = "GET /v1/users/me";

async function signedIn(options: Partial<Options> = {}) {
  const service = new Service();
  const { session, api } = createGatepost({
    baseUrl: BASE,
    delivery: "body",
    fetch: service.fetch,
    ...options,
  });
  service.on("POST /v1/sessions", tokens(1));
  await session.signIn({ login: "ada", password: "secret" });
  return { service, session, api };
}

test("who signed in is known by the access token", async () => {
  const { service, session, api } = await signedIn();
  service.on(ME, user());
  assert.equal((await done(api.GET("/v1/users/me"))).username, "ada");
  assert.equal(service.asked.at(-1)?.bearer, "Bearer access-1");
  assert.equal(session.id, "0190");
});

test("calls without a session carry no token and refresh nothing", async () => {
  const service = new Service();
  const { api } = createGatepost({ baseUrl: BASE, delivery: "body", fetch: service.fetch });
  service.on(ME, problem(401, "unauthenticated"));
  await assert.rejects(done(api.GET("/v1/users/me")), Refused);
  assert.deepEqual(service.asked, [{ call: ME, bearer: null, body: {} }]);
});

test("an address with a slash at the end is the same address", async () => {
  const { service, api } = await signedIn({ baseUrl: `${BASE}/` });
  service.on(ME, user());
  await done(api.GET("/v1/users/me"));
  assert.deepEqual(service.asked.map((one) => one.call), ["POST /v1/sessions", ME]);
});

test("however many calls find the token expired, one refreshes", async () => {
  const { service, api } = await signedIn();
  service.on(ME, ...Array.from({ length: 5 }, expired), ...Array.from({ length: 5 }, user));
  service.on(REFRESH, tokens(2));
  await Promise.all(Array.from({ length: 5 }, () => done(api.GET("/v1/users/me"))));
  assert.equal(service.count(REFRESH), 1);
  assert.deepEqual(service.asked.slice(-5).map((one) => one.bearer), Array(5).fill("Bearer access-2"));
});

test("a call with a body is sent again whole", async () => {
  const { service, api } = await signedIn();
  const changed = "PATCH /v1/users/me";
  service.on(changed, expired(), user());
  service.on(REFRESH, tokens(2));
  await done(api.PATCH("/v1/users/me", { body: { bio: "Sails." } }));
  assert.deepEqual(service.asked.at(-1), {
    call: changed,
    bearer: "Bearer access-2",
    body: { bio: "Sails." },
  });
});

test("a 401 that is not about the token is not tried again", async () => {
  const { service, api } = await signedIn();
  service.on("POST /v1/sessions", problem(401, "invalid_credentials"));
  const body = { login: "ada", password: "wrong" };
  await assert.rejects(done(api.POST("/v1/sessions", { body })), Refused);
  assert.equal(service.count(REFRESH), 0);
});

test("a token near its end is renewed before it is used", async () => {
  const { service, api } = await signedIn();
  service.on(REFRESH, tokens(2));
  service.on(ME, user());
  mock.timers.enable({ apis: ["Date"], now: Date.now() + 880_000 });
  try {
    await done(api.GET("/v1/users/me"));
  } finally {
    mock.timers.reset();
  }
  assert.equal(service.asked.at(-1)?.bearer, "Bearer access-2");
});

test("a lost answer is asked for again with the same refresh token", async () => {
  const { service, session } = await signedIn();
  service.on(REFRESH, lost, problem(503, "unavailable"), tokens(2));
  assert.equal(await session.restore(), true);
  const sent = service.asked.filter((one) => one.call === REFRESH);
  assert.deepEqual(sent.map((one) => one.body["refresh_token"]), Array(3).fill("refresh-1"));
  service.on(REFRESH, tokens(3));
  await session.restore();
  assert.equal(service.asked.at(-1)?.body["refresh_token"], "refresh-2");
});

test("without a way to the service the session is kept, and the wait ends in the grace", async () => {
  const { service, session } = await signedIn();
  service.on(REFRESH, ...Array(40).fill(lost));
  const began = Date.now();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: began });
  try {
    let failed: unknown;
    const trying = session.restore().catch((error: unknown) => (failed = error));
    while (!failed) {
      mock.timers.tick(50);
      await turn();
    }
    await trying;
    assert.ok(failed instanceof Unreachable);
    assert.ok(Date.now() - began < 10_000);
  } finally {
    mock.timers.reset();
  }
  assert.ok(service.count(REFRESH) > 3);
  assert.equal(session.id, "0190");
});

test("a session that ended elsewhere is over here, and listeners are told", async () => {
  const { service, session, api } = await signedIn();
  const told: (string | null)[] = [];
  session.onChange((id) => told.push(id));
  service.on(ME, expired());
  service.on(REFRESH, problem(400, "invalid_grant"));
  await assert.rejects(done(api.GET("/v1/users/me")), Refused);
  assert.deepEqual(told, [null]);
  assert.equal(await session.restore(), false);
  assert.equal(service.count(REFRESH), 1);
});

test("too many refreshes are refused and end nothing", async () => {
  const { service, session } = await signedIn();
  service.on(REFRESH, problem(429, "rate_limited", {}, { "Retry-After": "7" }));
  await assert.rejects(session.restore(), (error: Refused) => error.retryAfter === 7);
  assert.equal(session.id, "0190");
});

test("a store keeps the refresh token, and signing out empties it", async () => {
  const kept: (string | null)[] = [null];
  const store = { read: () => kept.at(-1) ?? null, write: (token: string | null) => void kept.push(token) };
  const { service, session } = await signedIn({ store });
  service.on(REFRESH, tokens(2));
  await session.restore();
  service.on("DELETE /v1/sessions/current", new Response(null, { status: 204 }));
  await session.signOut();
  assert.equal(service.asked.at(-1)?.bearer, "Bearer access-2");
  assert.deepEqual(kept, [null, "refresh-1", "refresh-2", null]);
  assert.equal(session.id, null);
  session.close();
});

test("who signs out while a refresh is under way stays signed out", async () => {
  const { service, session } = await signedIn();
  service.on(REFRESH, async () => (await turn(), tokens(2)));
  service.on("DELETE /v1/sessions/current", new Response(null, { status: 204 }));
  await Promise.all([session.restore(), session.signOut()]);
  assert.equal(session.id, null);
});

test("by cookie no token is in the body, and without a cookie nobody is signed in", async () => {
  const { service, session } = await signedIn({ delivery: "cookie" });
  assert.equal(service.asked[0]?.body["delivery"], "cookie");
  service.on(REFRESH, problem(400, "invalid_grant"));
  assert.equal(await session.restore(), false);
  assert.deepEqual(service.asked.at(-1)?.body, {});
  session.close();
});

test("who aborts gets the own reason; who waits too long is told that no answer came", async () => {
  const { service, api } = await signedIn({ timeout: 20 });
  const late = () => new Promise<Response>((resolve) => setTimeout(() => resolve(user()), 500));
  service.on(ME, late, late);
  const stop = new AbortController();
  const call = api.GET("/v1/users/me", { signal: stop.signal });
  stop.abort(new Error("the page was left"));
  await assert.rejects(call, /the page was left/);
  await assert.rejects(api.GET("/v1/users/me"), Unreachable);
});

test("a refusal is told apart by its code, and the types know what comes with it", async () => {
  const { service, session } = await signedIn();
  const fault = { pointer: "/login", code: "missing", message: "Missing." };
  service.on("POST /v1/sessions", problem(422, "validation_failed", { errors: [fault] }));
  const refused = await session.signIn({ login: "", password: "" }).catch((error: Refused) => error);
  assert.ok(refused instanceof Refused);
  const told: Problem = refused.problem;
  assert.ok(told.code === "validation_failed");
  const status: 422 = told.status;
  assert.equal(status, 422);
  assert.deepEqual(told.errors, [fault]);
  // @ts-expect-error: only password_change_required has one.
  assert.equal(told.password_change_token, undefined);
});

test("an answer that is no problem is no refusal", async () => {
  const { service, session } = await signedIn();
  service.on("POST /v1/sessions", new Response("<h1>Bad gateway</h1>", { status: 502 }));
  await assert.rejects(session.signIn({ login: "ada", password: "x" }), Unreachable);
});
