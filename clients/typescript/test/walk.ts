// Walks the whole contract with a client that another maker's generator made from openapi.json:
// what does not type-check here would not in anybody's frontend either.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "../src/schema.js";

type Tokens = components["schemas"]["Tokens"];
type Problem = components["schemas"]["Problem"];

const [base = "", mails = "", administrator = ""] = process.argv.slice(2);
const password = "a quiet sea of numbers";
const api = createClient<paths>({ baseUrl: base });

function bearing(tokens: Tokens): { Authorization: string } {
  return { Authorization: `Bearer ${tokens.access_token}` };
}

function done<T>(answer: { data?: T; error?: unknown; response: Response }, status: number): T {
  assert.equal(answer.response.status, status, JSON.stringify(answer.error ?? null));
  return answer.data as T;
}

function refused(answer: { error?: unknown; response: Response }, status: number, code: string) {
  assert.equal(answer.response.status, status);
  assert.equal((answer.error as Problem).code, code);
}

const seen = new Set<string>();

async function mailedToken(address: string, page: string): Promise<string> {
  for (let attempt = 0; attempt < 400; attempt++) {
    const texts = (existsSync(mails) ? readdirSync(mails) : [])
      .filter((name) => name.endsWith(".eml"))
      .sort()
      .reverse()
      .map((name) => readFileSync(`${mails}/${name}`, "utf8"));
    for (const text of texts.filter((text) => text.includes(`To: ${address}`))) {
      const link = new RegExp(`/${page}#token=([A-Za-z0-9_-]+)`).exec(text);
      if (link?.[1] && !seen.has(link[1])) {
        seen.add(link[1]);
        return link[1];
      }
    }
    await pause(50);
  }
  throw new Error(`no mail for ${address} with a link to ${page}`);
}

async function signIn(login: string, secret = password): Promise<Tokens> {
  return done(await api.POST("/v1/sessions", { body: { login, password: secret } }), 201);
}

async function ownAccount(): Promise<void> {
  const email = "walker@example.com";
  done(await api.POST("/v1/register", { body: { username: "walker", email, password } }), 202);
  done(await api.POST("/v1/email-verifications", { body: { email: "nobody@example.com" } }), 202);
  const token = await mailedToken(email, "verify-email");
  const user = done(
    await api.POST("/v1/email-verifications/confirm", { body: { token, password } }),
    200,
  );
  assert.equal(user.email_verified, true);
  refused(
    await api.POST("/v1/email-verifications/confirm", { body: { token, password } }),
    400,
    "token_invalid",
  );

  const tokens = await signIn("walker");
  const headers = bearing(tokens);
  assert.equal(done(await api.GET("/v1/users/me", { headers }), 200).username, "walker");
  const changed = await api.PATCH("/v1/users/me", { headers, body: { bio: "Walks." } });
  assert.equal(done(changed, 200).bio, "Walks.");
  const other = await signIn(email);
  assert.equal(done(await api.GET("/v1/sessions", { headers }), 200).items.length, 2);
  const params = { path: { id: other.session_id } };
  done(await api.DELETE("/v1/sessions/{id}", { headers, params }), 204);
  done(await api.DELETE("/v1/sessions", { headers }), 204);

  const body = { refresh_token: tokens.refresh_token };
  const first = done(await api.POST("/v1/sessions/refresh", { body }), 200);
  const again = done(await api.POST("/v1/sessions/refresh", { body }), 200);
  assert.equal(first.refresh_token, again.refresh_token);

  const secret = "a louder sea of numbers";
  done(
    await api.POST("/v1/users/me/password", {
      headers,
      body: { current_password: password, new_password: secret },
    }),
    204,
  );
  done(await api.POST("/v1/password-resets", { body: { email } }), 202);
  const reset = await mailedToken(email, "reset-password");
  done(
    await api.POST("/v1/password-resets/confirm", { body: { token: reset, new_password: password } }),
    204,
  );
  refused(await api.GET("/v1/users/me", { headers }), 401, "access_token_invalid");
}

async function addressAndEnd(): Promise<void> {
  const tokens = await signIn("walker");
  const headers = bearing(tokens);
  const new_email = "walker@example.org";
  done(await api.POST("/v1/users/me/email", { headers, body: { new_email, password } }), 202);
  const token = await mailedToken(new_email, "confirm-email");
  const moved = done(
    await api.POST("/v1/email-verifications/confirm", { body: { token, password } }),
    200,
  );
  assert.equal(moved.email, new_email);
  const undo = await mailedToken("walker@example.com", "undo-email");
  done(await api.POST("/v1/email-changes/undo", { body: { token: undo } }), 204);
  const reset = await mailedToken("walker@example.com", "reset-password");
  done(
    await api.POST("/v1/password-resets/confirm", { body: { token: reset, new_password: password } }),
    204,
  );
  const back = await signIn("walker@example.com");
  const answer = await api.POST("/v1/users/me/deletion", {
    headers: bearing(back),
    body: { password },
  });
  done(answer, 204);
  refused(
    await api.POST("/v1/sessions", { body: { login: "walker", password } }),
    401,
    "invalid_credentials",
  );
}

async function administration(): Promise<void> {
  const headers = bearing(await signIn(administrator));
  const scopes = ["users:read" as const];
  const name = { path: { name: "support" } };
  done(await api.PUT("/v1/roles/{name}", { headers, params: name, body: { scopes } }), 201);
  assert.ok(done(await api.GET("/v1/roles", { headers }), 200).items.length >= 3);
  const made = await api.POST("/v1/users", {
    headers,
    body: { username: "helper", email: "helper@example.com", roles: ["support"] },
  });
  const user = done(made, 201);
  assert.equal(made.response.headers.get("Location")?.endsWith(`/v1/users/${user.id}`), true);
  const params = { path: { id: user.id } };
  const read = await api.GET("/v1/users/{id}", { headers, params });
  const etag = read.response.headers.get("ETag") ?? "";
  const body = { bio: "Helps." };
  const change = await api.PATCH("/v1/users/{id}", {
    headers,
    params: { ...params, header: { "If-Match": etag } },
    body,
  });
  assert.equal(done(change, 200).bio, "Helps.");
  refused(
    await api.PATCH("/v1/users/{id}", {
      headers,
      params: { ...params, header: { "If-Match": etag } },
      body,
    }),
    412,
    "version_conflict",
  );
  const found = await api.GET("/v1/users", { headers, params: { query: { q: "help", limit: 1 } } });
  assert.equal(done(found, 200).items[0]?.id, user.id);
  done(await api.POST("/v1/users/{id}/suspend", { headers, params }), 200);
  done(await api.POST("/v1/users/{id}/reactivate", { headers, params }), 200);
  done(await api.POST("/v1/users/{id}/password-reset", { headers, params }), 202);
  done(await api.PUT("/v1/users/{id}/roles", { headers, params, body: { roles: [] } }), 200);
  done(await api.GET("/v1/users/{id}/sessions", { headers, params }), 200);
  done(await api.DELETE("/v1/users/{id}/sessions", { headers, params }), 204);
  done(await api.DELETE("/v1/roles/{name}", { headers, params: name }), 204);
  const last = await api.GET("/v1/users/{id}", { headers, params });
  const header = { "If-Match": last.response.headers.get("ETag") ?? "" };
  done(await api.DELETE("/v1/users/{id}", { headers, params: { ...params, header } }), 204);
  const events = await api.GET("/v1/audit-events", { headers, params: { query: { limit: 5 } } });
  const page = done(events, 200);
  assert.equal(page.items.length, 5);
  assert.ok(page.next_cursor);
}

async function machines(): Promise<void> {
  const headers = bearing(await signIn(administrator));
  const scopes = ["users:read" as const, "tokens:introspect" as const];
  const client = done(
    await api.POST("/v1/clients", { headers, body: { name: "reports", scopes } }),
    201,
  );
  const params = { path: { id: client.id } };
  const secret = done(
    await api.POST("/v1/clients/{id}/secrets", { headers, params, body: {} }),
    201,
  );
  const basic = Buffer.from(`${client.id}:${secret.client_secret}`).toString("base64");
  const answer = await fetch(`${base}/oauth2/token`, {
    method: "POST",
    headers: { Authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: "client_credentials", scope: "users:read" }),
  });
  assert.equal(answer.status, 200);
  const machine = (await answer.json()) as { access_token: string };
  const own = { Authorization: `Bearer ${machine.access_token}` };
  done(await api.GET("/v1/users", { headers: own }), 200);
  const introspected = await fetch(`${base}/oauth2/introspect`, {
    method: "POST",
    headers: { Authorization: `Basic ${basic}` },
    body: new URLSearchParams({ token: machine.access_token }),
  });
  assert.equal(((await introspected.json()) as { active: boolean }).active, true);
  const read = await api.GET("/v1/clients/{id}", { headers, params });
  const header = { "If-Match": read.response.headers.get("ETag") ?? "" };
  done(await api.DELETE("/v1/clients/{id}", { headers, params: { ...params, header } }), 204);
  refused(await api.GET("/v1/users", { headers: own }), 401, "access_token_invalid");
}

for (const step of [ownAccount, addressAndEnd, administration, machines]) {
  await step();
  console.log(`walked: ${step.name}`);
}
