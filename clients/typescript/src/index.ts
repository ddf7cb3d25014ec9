import createClient, { type Client } from "openapi-fetch";
import { isProblem, Refused, Unreachable } from "./problems.js";
import type { components, paths } from "./schema.js";
import { type Options, Session, withoutSlash } from "./session.js";

export { isProblem, type Problem, type ProblemCode, Refused, Unreachable } from "./problems.js";
export type { components, paths } from "./schema.js";
export { type Login, type Options, Session, type TokenStore } from "./session.js";

export type User = components["schemas"]["User"];

export interface Gatepost {
  session: Session;
  /** Every call of the contract, typed; each carries the session's access token. */
  api: Client<paths>;
}

export function createGatepost(options: Options): Gatepost {
  const session = new Session(options);
  const api = createClient<paths>({
    baseUrl: withoutSlash(options.baseUrl),
    fetch: (request) => session.fetch(request),
  });
  return { session, api };
}

/** Return what a call of `api` answered, or throw Refused. */
export async function done<T>(
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  if (!isProblem(error)) throw new Unreachable(`An answer with status ${response.status}.`);
  const wait = Number(response.headers.get("Retry-After") ?? Number.NaN);
  throw new Refused(error, Number.isFinite(wait) ? wait : null);
}
