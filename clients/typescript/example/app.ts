import { createGatepost, done, Refused, Unreachable } from "gatepost-client";

function element<T extends Element>(selector: string): T {
  const found = document.querySelector<T>(selector);
  if (!found) throw new Error(`There is no ${selector}.`);
  return found;
}

const baseUrl = element<HTMLMetaElement>("meta[name=gatepost]").content;
const { session, api } = createGatepost({ baseUrl });
const form = element<HTMLFormElement>("form");
const main = element<HTMLElement>("main");

async function show(sessionId: string | null): Promise<void> {
  form.hidden = sessionId !== null;
  main.hidden = sessionId === null;
  if (sessionId === null) return;
  const user = await done(api.GET("/v1/users/me"));
  element("h1").textContent = `Notes of ${user.username}`;
}

function explain(problem: unknown): string {
  if (problem instanceof Unreachable) return "The service does not answer. Try again.";
  if (!(problem instanceof Refused)) throw problem;
  switch (problem.problem.code) {
    case "invalid_credentials":
      return "Login or password is wrong.";
    case "email_not_verified":
      return "Follow the link in our mail first.";
    case "rate_limited":
      return `Wait ${problem.retryAfter ?? 60} seconds.`;
    default:
      return problem.problem.title;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = new FormData(form);
  try {
    await session.signIn({
      login: String(given.get("login")),
      password: String(given.get("password")),
    });
    form.reset();
    element("[role=alert]").textContent = "";
  } catch (problem) {
    element("[role=alert]").textContent = explain(problem);
  }
});
element("#sign-out").addEventListener("click", () => session.signOut());

// Signing in or out in one tab shows in all of them.
session.onChange(show);
if (!(await session.restore())) await show(null);
