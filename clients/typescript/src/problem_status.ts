// Made from openapi.json by `npm run generate`.

/** Every problem code of the contract, with its HTTP status. */
export interface ProblemStatus {
  access_token_invalid: 401;
  body_too_large: 413;
  body_too_slow: 408;
  email_not_verified: 403;
  email_taken: 409;
  idempotency_key_in_use: 409;
  idempotency_key_reused: 422;
  insufficient_scope: 403;
  internal_error: 500;
  invalid_credentials: 401;
  invalid_grant: 400;
  last_admin: 409;
  malformed_request: 400;
  not_found: 404;
  origin_not_allowed: 403;
  overloaded: 503;
  password_change_required: 403;
  permission_denied: 403;
  precondition_required: 428;
  rate_limited: 429;
  registration_closed: 403;
  role_built_in: 409;
  role_in_use: 409;
  token_invalid: 400;
  unauthenticated: 401;
  unavailable: 503;
  unsupported_media_type: 415;
  username_taken: 409;
  validation_failed: 422;
  version_conflict: 412;
  wrong_password: 403;
}
