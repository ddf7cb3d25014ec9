/** What tabs tell each other; it stays in memory, and within the origin. */
export interface Access {
  token: string;
  sessionId: string;
  /** Milliseconds since 1970. */
  renewAt: number;
}

/** A holder of the lock tells the others before he lets go; messages may arrive a little later. */
const HEARD_WITHIN = 300;

/** Lets one tab of an origin refresh at a time, and tells the others what it got. */
export class Tabs {
  #channel: BroadcastChannel | undefined;
  #hear = new Set<() => void>();

  constructor(
    private readonly name: string,
    told: (access: Access | null) => void,
  ) {
    if (typeof BroadcastChannel === "undefined") return;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = (message: MessageEvent<Access | null>) => {
      told(message.data);
      for (const wake of this.#hear) wake();
    };
    // Node would wait for it; browsers have no such method.
    (this.#channel as { unref?: () => void }).unref?.();
  }

  /** Do something while no other tab does; `after` tells whether another one just did. */
  async alone<T>(work: (after: boolean) => Promise<T>): Promise<T> {
    const locks = globalThis.navigator?.locks;
    if (!locks) return work(false);
    const atOnce = await locks.request(this.name, { ifAvailable: true }, async (lock) =>
      lock ? { done: await work(false) } : null,
    );
    if (atOnce) return atOnce.done;
    return locks.request(this.name, () => work(true));
  }

  tell(access: Access | null): void {
    this.#channel?.postMessage(access);
  }

  /** Wait for the next message, but not for long: the other tab may have failed. */
  heard(): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#hear.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, HEARD_WITHIN);
      this.#hear.add(wake);
    });
  }

  close(): void {
    this.#channel?.close();
  }
}
