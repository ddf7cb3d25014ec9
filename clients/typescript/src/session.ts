import { refusal, Refused, Unreachable } from "./problems.js";
import type { components } from "./schema.js";
import { type Access, Tabs } from "./tabs.js";

type Tokens = components["schemas"]["Tokens"];

/** Keeps the refresh token where the service does not set it as a cookie. */
export interface TokenStore {
  read(): Promise<string | null> | string | null;
  write(refreshToken: string | null): Promise<void> | void;
}

export interface Options {
  /** Where the service answers. */
  baseUrl: string;
  /**
   * `cookie`: an HttpOnly cookie that all tabs share and no script can read; for browsers, on a
   * page of the same site as the service. `body`: this client keeps it, in memory or in a `store`.
   */
  delivery?: "cookie" | "body";
  /** For `body`: shared by all tabs if it outlives one. */
  store?: TokenStore;
  /** Milliseconds that a call may take. */
  timeout?: number;
  fetch?: typeof globalThis.fetch;
}

export interface Login {
  login: string;
  password: string;
  deviceName?: string;
  signal?: AbortSignal;
}

/** The service answers the same token the same within 10 s of the first time. */
const GRACE = 9_000;
const ATTEMPT = 3_000;
const FIRST_PAUSE = 250;
/** An access token is renewed before it expires, by a tenth of its life. */
const LIFE_USED = 0.9;

/** Paths begin with a slash, and the service takes no empty part of one. */
export const withoutSlash = (url: string): string => url.replace(/\/+$/, "");

/** Somebody's session: an access token in memory, renewed in one place for all tabs. */
export class Session {
  #access: Access | null = null;
  /** Grows with every change, whichever tab caused it. */
  #version = 0;
  #renewing: Promise<Access | null> | undefined;
  #kept: string | null = null;
  #listeners = new Set<(sessionId: string | null) => void>();
  #tabs: Tabs | undefined;
  #send: typeof globalThis.fetch;
  #base: string;

  constructor(private readonly options: Options) {
    this.#base = withoutSlash(options.baseUrl);
    this.#send = options.fetch ?? ((...given) => globalThis.fetch(...given));
    if (this.#byCookie || options.store) {
      this.#tabs = new Tabs(`gatepost ${this.#base}`, (access) => this.#adopt(access));
    }
  }

  /** The id of the session, or null when nobody is signed in. */
  get id(): string | null {
    return this.#access?.sessionId ?? null;
  }

  /** Be told when somebody signs in or out, here or in another tab; returns how to stop. */
  onChange(listener: (sessionId: string | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Throws Refused: `invalid_credentials`, `email_not_verified`, `password_change_required`. */
  async signIn({ login, password, deviceName, signal }: Login): Promise<void> {
    const delivery = this.#byCookie ? ("cookie" as const) : ("body" as const);
    const body = { login, password, device_name: deviceName ?? null, delivery };
    await this.#alone(async () => {
      const answer = await this.#ask("POST", "/v1/sessions", body, signal ? { signal } : {});
      if (!answer.ok) throw await refusal(answer);
      await this.#take(await this.#tokens(answer));
    });
  }

  /** Take up the session that this browser or store has; false when there is none. */
  async restore(): Promise<boolean> {
    return (await this.#renew()) !== null;
  }

  /** End the session here, in the service and in every tab. */
  async signOut(): Promise<void> {
    // Without a cookie only an access token, be it expired, says which session is meant.
    if (!this.#byCookie && !this.#access) await this.#renew();
    // Or its answer would sign in again here.
    await this.#renewing?.catch(() => null);
    await this.#alone(async () => {
      const answer = await this.#ask("DELETE", "/v1/sessions/current");
      if (!answer.ok && answer.status !== 401) throw await refusal(answer);
      await this.#drop();
    });
  }

  /** Return a token that is good for a moment yet, or null when nobody is signed in. */
  async accessToken(): Promise<string | null> {
    const held = this.#access;
    if (!held) return null;
    if (Date.now() < held.renewAt) return held.token;
    return (await this.#renew())?.token ?? null;
  }

  /** Like `fetch`, with the access token; renewed once if the service finds it expired. */
  async fetch(request: Request): Promise<Response> {
    const again = request.clone();
    const token = await this.accessToken();
    const answer = await this.#bearing(request, token);
    if (!token || !isExpired(answer)) return answer;
    const renewed = this.#access?.token === token ? await this.#renew() : this.#access;
    return renewed ? this.#bearing(again, renewed.token) : answer;
  }

  /** Stop listening to other tabs. */
  close(): void {
    this.#tabs?.close();
  }

  get #byCookie(): boolean {
    return (this.options.delivery ?? "cookie") === "cookie";
  }

  async #alone<T>(work: (after: boolean) => Promise<T>): Promise<T> {
    return this.#tabs ? this.#tabs.alone(work) : work(false);
  }

  /** Renew the access token; however many ask, in however many tabs, one refresh is made. */
  #renew(): Promise<Access | null> {
    this.#renewing ??= this.#renewAlone().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renewAlone(): Promise<Access | null> {
    const version = this.#version;
    return this.#alone(async (after) => {
      if (after && this.#version === version) await this.#tabs?.heard();
      if (this.#version !== version) return this.#access;
      const tokens = await this.#exchange();
      return tokens ? this.#take(tokens) : this.#drop();
    });
  }

  /**
   * Exchange the refresh token. A lost answer is asked for again with the same one: the service
   * gives the same successor, but only for seconds, as later it could not be told from theft.
   */
  async #exchange(): Promise<Tokens | null> {
    const token = this.#byCookie ? null : await this.#read();
    if (!this.#byCookie && token === null) return null;
    const body = token === null ? undefined : { refresh_token: token };
    const until = Date.now() + GRACE;
    for (let pause = FIRST_PAUSE; ; pause *= 2) {
      try {
        return await this.#exchangeOnce(body, Math.min(ATTEMPT, until - Date.now()));
      } catch (lost) {
        if (!(lost instanceof Unreachable) || Date.now() + pause >= until) throw lost;
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #exchangeOnce(body: unknown, timeout: number): Promise<Tokens | null> {
    const answer = await this.#ask("POST", "/v1/sessions/refresh", body, { timeout });
    if (answer.ok) return this.#tokens(answer);
    // Whether it happened is in doubt.
    if (answer.status >= 500) throw new Unreachable(`An answer with status ${answer.status}.`);
    const refused = await refusal(answer);
    const code = refused instanceof Refused ? refused.problem.code : null;
    if (code === "invalid_grant") return null;
    throw refused;
  }

  async #tokens(answer: Response): Promise<Tokens> {
    try {
      return (await answer.json()) as Tokens;
    } catch (cause) {
      throw new Unreachable("The answer broke off.", { cause });
    }
  }

  async #take(tokens: Tokens): Promise<Access> {
    if (!this.#byCookie) await this.#write(tokens.refresh_token);
    const access = {
      token: tokens.access_token,
      sessionId: tokens.session_id,
      renewAt: Date.now() + tokens.expires_in * 1_000 * LIFE_USED,
    };
    this.#adopt(access);
    this.#tabs?.tell(access);
    return access;
  }

  async #drop(): Promise<null> {
    if (!this.#byCookie) await this.#write(null);
    this.#adopt(null);
    this.#tabs?.tell(null);
    return null;
  }

  #adopt(access: Access | null): void {
    const before = this.id;
    this.#access = access;
    this.#version += 1;
    if (this.id !== before) for (const listener of this.#listeners) listener(this.id);
  }

  #read(): Promise<string | null> | string | null {
    return this.options.store ? this.options.store.read() : this.#kept;
  }

  #write(refreshToken: string | null): Promise<void> | void {
    if (this.options.store) return this.options.store.write(refreshToken);
    this.#kept = refreshToken;
  }

  /** Call what sets, reads or clears the cookie. */
  async #ask(
    method: string,
    path: string,
    body?: unknown,
    { signal, timeout }: { signal?: AbortSignal; timeout?: number } = {},
  ): Promise<Response> {
    const headers = new Headers({ "X-Requested-With": "gatepost" });
    if (body !== undefined) headers.set("Content-Type", "application/json");
    if (method === "DELETE" && this.#access) {
      headers.set("Authorization", `Bearer ${this.#access.token}`);
    }
    const request = new Request(this.#base + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
      credentials: this.#byCookie ? "include" : "omit",
      cache: "no-store",
    });
    return this.#timed(request, timeout);
  }

  async #bearing(request: Request, token: string | null): Promise<Response> {
    if (token) request.headers.set("Authorization", `Bearer ${token}`);
    return this.#timed(new Request(request, { credentials: "omit" }));
  }

  /** Send, with a time limit that holds for the body of the answer as well. */
  async #timed(request: Request, timeout = this.options.timeout ?? 15_000): Promise<Response> {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), timeout);
    // Node would wait for it; browsers return a number.
    (timer as { unref?: () => void }).unref?.();
    request.signal.addEventListener("abort", () => stop.abort(request.signal.reason));
    try {
      request.signal.throwIfAborted();
      return await this.#send(request, { signal: stop.signal });
    } catch (cause) {
      // The caller's own abort is his to handle as such.
      if (request.signal.aborted) throw request.signal.reason;
      throw new Unreachable("No answer.", { cause });
    }
  }
}

/** RFC 6750 section 3.1. A 401 without it is about something else: a wrong password, say. */
function isExpired(answer: Response): boolean {
  const challenge = answer.headers.get("WWW-Authenticate") ?? "";
  return answer.status === 401 && challenge.includes('error="invalid_token"');
}
