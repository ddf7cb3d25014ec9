import type { ProblemStatus } from "./problem_status.js";
import type { components } from "./schema.js";

type Shape = components["schemas"]["Problem"];
type Plain = Omit<Shape, "code" | "status" | "errors" | "password_change_token">;

/** What some codes carry besides. */
interface More {
  validation_failed: { errors: components["schemas"]["ProblemFault"][] };
  password_change_required: { password_change_token: string };
}

type Of<Code extends keyof ProblemStatus> = Plain & {
  code: Code;
  status: ProblemStatus[Code];
} & (Code extends keyof More ? More[Code] : unknown);

export type ProblemCode = keyof ProblemStatus;

/**
 * A refusal (RFC 9457), told apart by `code`. A service newer than this client may know more
 * codes: keep a default branch.
 */
export type Problem = { [Code in ProblemCode]: Of<Code> }[ProblemCode];

export function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "code" in value && "request_id" in value;
}

/** The service refused. */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(
    readonly problem: Problem,
    /** Seconds to wait, where the service says so. */
    readonly retryAfter: number | null = null,
  ) {
    super(`${problem.code}: ${problem.title}`);
  }
}

/** No answer came, or none that Gatepost gives; what was asked for may have happened. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

/** Turn an answer that is no success into an error. */
export async function refusal(answer: Response): Promise<Refused | Unreachable> {
  const body: unknown = await answer.json().catch(() => null);
  if (!isProblem(body)) return new Unreachable(`An answer with status ${answer.status}.`);
  const wait = Number(answer.headers.get("Retry-After") ?? Number.NaN);
  return new Refused(body, Number.isFinite(wait) ? wait : null);
}
