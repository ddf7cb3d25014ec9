-- What wrk asks, given by macro.py in the environment. Strings are built once where they can be:
-- the client must stay lighter than the server.
local path, body = os.getenv("BENCH_PATH"), os.getenv("BENCH_BODY")
local form = os.getenv("BENCH_FORM")
local bearer, unique = os.getenv("BENCH_BEARER"), os.getenv("BENCH_UNIQUE")
local tokens, first, last, sent, made = {}, 1, 0, 0, nil
local headers = {}

function init()
  for token in os.getenv("BENCH_REFRESH"):gmatch("%S+") do
    last = last + 1
    tokens[last] = token
  end
  if bearer ~= "" then headers["Authorization"] = "Bearer " .. bearer end
  if body ~= "" or last > 0 then headers["Content-Type"] = "application/json" end
  if last > 0 then
    -- Defined only where answers are read: it costs wrk as much as all else.
    response = function(_, _, content)
      local token = content:match('"refresh_token":"([^"]+)"')
      if token then
        last = last + 1
        tokens[last] = token
      end
    end
  end
  if form ~= "" then
    headers["Content-Type"], body = "application/x-www-form-urlencoded", form
  end
  made = wrk.format(body == "" and "GET" or "POST", path, headers, body ~= "" and body or nil)
end

function request()
  if #tokens > 0 or first > 1 then
    local token = tokens[first]
    tokens[first] = nil
    first = first + 1
    return wrk.format("POST", path, headers, '{"refresh_token":"' .. (token or "") .. '"}')
  end
  if unique == "" then return made end
  sent = sent + 1
  local name = unique .. "x" .. sent
  local fields = '{"username":"%s","email":"%s@example.com","password":"a quiet sea of numbers"}'
  return wrk.format("POST", path, headers, fields:format(name, name))
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\nRESULT {"requests":%d,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, latency:percentile(50), latency:percentile(99),
    e.status + e.connect + e.read + e.write + e.timeout))
end
