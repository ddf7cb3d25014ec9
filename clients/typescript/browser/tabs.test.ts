// Two tabs of a real browser against a running service: GATEPOST, FRONTEND_PORT, LOGIN and
// PASSWORD are in the environment.
import assert from "node:assert/strict";
import type { Server } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { type Browser, type BrowserContext, chromium, type Page, type Route } from "playwright-core";
import { serve } from "./frontend.js";

const { GATEPOST = "", FRONTEND_PORT = "", LOGIN = "", PASSWORD = "", CHROMIUM = "" } = process.env;
const FRONTEND = `http://127.0.0.1:${FRONTEND_PORT}`;
const REFRESH = `${GATEPOST}/v1/sessions/refresh`;
const ME = `${GATEPOST}/v1/users/me`;
const ARGUMENTS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

let browser: Browser;
let frontend: Server;

before(async () => {
  frontend = await serve(Number(FRONTEND_PORT), GATEPOST);
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: ARGUMENTS.split(" "),
  });
});

after(async () => {
  await browser?.close();
  frontend?.close();
});

/** Two tabs, of which the second found the session of the first. */
async function twoTabs(): Promise<{ context: BrowserContext; tabs: [Page, Page] }> {
  const context = await browser.newContext();
  const first = await context.newPage();
  await first.goto(FRONTEND);
  await first.fill("[name=login]", LOGIN);
  await first.fill("[name=password]", PASSWORD);
  await first.click("form button");
  await first.getByText(`Notes of ${LOGIN}`).waitFor();
  const second = await context.newPage();
  await second.goto(FRONTEND);
  await second.getByText(`Notes of ${LOGIN}`).waitFor();
  // The first one has heard of the second one's token, too.
  await pause(100);
  return { context, tabs: [first, second] };
}

/** Open a client of the test's own in a tab, beside the page's. */
async function open(tab: Page): Promise<void> {
  await tab.evaluate(async (baseUrl) => {
    const name = "gatepost-client";
    const { createGatepost } = await import(name);
    const opened = createGatepost({ baseUrl });
    Object.assign(globalThis, { opened });
    await opened.session.restore();
  }, GATEPOST);
}

/** Ask who is signed in; returns the status of the answer. */
function ask(tab: Page): Promise<number> {
  return tab.evaluate(async () => {
    const { opened } = globalThis as unknown as { opened: any };
    return (await opened.api.GET("/v1/users/me")).response.status as number;
  });
}

/** Answer as if the token of each of these many calls had just expired, all at once. */
async function expire(context: BrowserContext, calls: number): Promise<void> {
  const waiting: Route[] = [];
  await context.route(
    ME,
    async (route) => {
      waiting.push(route);
      if (waiting.length < calls) return;
      await Promise.all(waiting.map((one) => one.fulfill(EXPIRED)));
    },
    { times: calls },
  );
}

const EXPIRED = {
  status: 401,
  headers: {
    "Access-Control-Allow-Origin": FRONTEND,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "WWW-Authenticate",
    "Content-Type": "application/problem+json",
    "WWW-Authenticate": 'Bearer error="invalid_token"',
  },
  body: JSON.stringify({ code: "access_token_invalid", status: 401, request_id: "x" }),
};

/** Read how often refresh tokens were turned: the service counts, whatever a browser says. */
async function refreshes(): Promise<Record<string, number>> {
  const metrics = await (await fetch(`${GATEPOST}/metrics`)).text();
  const lines = metrics.matchAll(/^gatepost_token_refreshes_total\{result="(\w+)"\} (\S+)$/gm);
  return Object.fromEntries([...lines].map(([, result, count]) => [result, Number(count)]));
}

/** Do something, and return how often tokens were turned meanwhile, where they were. */
async function during(work: () => Promise<void>): Promise<Record<string, number>> {
  const before = await refreshes();
  await work();
  const grown = Object.entries(await refreshes()).map(([result, count]) => [
    result,
    count - (before[result] ?? 0),
  ]);
  return Object.fromEntries(grown.filter(([, count]) => count));
}

/** Let the service answer, and the answer be lost: its cookie must not arrive either. */
async function lose(route: Route): Promise<void> {
  const headers = await route.request().allHeaders();
  const answer = await fetch(REFRESH, {
    method: "POST",
    headers: {
      Cookie: headers["cookie"] ?? "",
      Origin: FRONTEND,
      "X-Requested-With": "gatepost",
    },
  });
  assert.equal(answer.status, 200);
  await route.abort("connectionreset");
}

test("two tabs whose tokens expire at once make one refresh, and both go on", async () => {
  const { context, tabs } = await twoTabs();
  for (const tab of tabs) await open(tab);
  for (let round = 0; round < 5; round++) {
    const turned = await during(async () => {
      await expire(context, 2);
      assert.deepEqual(await Promise.all(tabs.map(ask)), [200, 200]);
    });
    assert.deepEqual(turned, { rotated: 1 });
    await pause(200);
  }
  for (const tab of tabs) assert.ok(await tab.getByText(`Notes of ${LOGIN}`).isVisible());
  await context.close();
});

test("a lost answer is asked for again with the same token, and nobody is signed out", async () => {
  const { context, tabs } = await twoTabs();
  for (const tab of tabs) await open(tab);
  await context.route(REFRESH, lose, { times: 1 });
  const lost = await during(async () => {
    await expire(context, 2);
    assert.deepEqual(await Promise.all(tabs.map(ask)), [200, 200]);
  });
  assert.deepEqual(lost, { rotated: 1, grace: 1 });
  const next = await during(async () => {
    await expire(context, 1);
    assert.equal(await ask(tabs[1]), 200);
  });
  assert.deepEqual(next, { rotated: 1 });
  await context.close();
});

test("a moment offline, in which an answer was lost, ends no session", async () => {
  const { context, tabs } = await twoTabs();
  await open(tabs[0]);
  await context.route(
    REFRESH,
    async (route) => {
      await context.setOffline(true);
      await lose(route);
    },
    { times: 1 },
  );
  const turned = await during(async () => {
    await expire(context, 1);
    const asked = ask(tabs[0]);
    await pause(2_000);
    assert.ok(!(await tabs[0].evaluate(() => navigator.onLine)));
    await context.setOffline(false);
    assert.equal(await asked, 200);
  });
  assert.deepEqual(turned, { rotated: 1, grace: 1 });
  for (const tab of tabs) {
    await tab.reload();
    await tab.getByText(`Notes of ${LOGIN}`).waitFor();
  }
  await context.close();
});

test("whoever signs out in one tab is signed out in the other", async () => {
  const { context, tabs } = await twoTabs();
  await tabs[0].click("#sign-out");
  await tabs[1].locator("form").waitFor();
  await tabs[1].reload();
  await tabs[1].locator("form").waitFor();
  assert.ok(!(await tabs[1].locator("main").isVisible()));
  await context.close();
});

test("a wrong password is told", async () => {
  const page = await browser.newPage();
  await page.goto(FRONTEND);
  await page.fill("[name=login]", LOGIN);
  await page.fill("[name=password]", "not the right one");
  await page.click("form button");
  await page.getByText("Login or password is wrong.").waitFor();
  await page.close();
});
