// Requests to the server this page came from. Addresses are relative, so that a proxy may put
// the server under a path of its own.

const LIMIT_MS = 20_000; // for everything but questions, which have a budget of their own
const MAX_EVENT = 4 * 2 ** 20; // characters of one server-sent event: an answer with its masks

export class ApiError extends Error {
  constructor(status, code, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

let whenUnauthorised = () => {};

export function onUnauthorised(heard) {
  whenUnauthorised = heard;
}

export async function call(method, path, body = undefined, { signal } = {}) {
  const limits = [AbortSignal.timeout(LIMIT_MS)];
  if (signal) limits.push(signal);
  const response = await send(method, path, body, AbortSignal.any(limits));
  if (response.status === 204) return null;
  return response.json();
}

// The events of a streamed answer: [name, data] as they come.
export async function* stream(path, body, signal) {
  const response = await send("POST", path, body, signal, "text/event-stream");
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) {
    yield ["answer", await response.json()];
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      held = (held + value).replaceAll("\r\n", "\n");
      const parts = held.split("\n\n");
      held = parts.pop();
      if (held.length > MAX_EVENT) throw new ApiError(0, "too_large", "the answer is too large");
      for (const part of parts) {
        const event = parsed(part);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // it may be closed already: nothing is lost
  }
}

function parsed(part) {
  let name = "message";
  const data = [];
  for (const line of part.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  if (!data.length) return null; // a comment that keeps the connection awake
  const text = data.join("\n");
  try {
    return [name, JSON.parse(text)];
  } catch {
    return [name, text];
  }
}

async function send(method, path, body, signal, accept = "application/json") {
  const headers = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error.name === "TimeoutError") {
      throw new ApiError(0, "timeout", "the server did not answer in time");
    }
    throw new ApiError(0, "unreachable", "the server cannot be reached");
  }
  if (response.ok) return response;
  const error = await refusal(response);
  if (response.status === 401) whenUnauthorised();
  throw error;
}

async function refusal(response) {
  const after = Number(response.headers.get("retry-after"));
  let code = `http_${response.status}`;
  let message = `the server answered ${response.status}`;
  try {
    const { error } = await response.json();
    code = String(error?.code ?? code);
    message = String(error?.message ?? message);
  } catch {
    // no JSON: a proxy's page; the status says enough
  }
  return new ApiError(response.status, code, message, Number.isFinite(after) && after > 0 ? after : null);
}

// Lists come as {name: [...]}; a bare list is read as well.
export function listOf(answer, name) {
  const list = Array.isArray(answer) ? answer : answer?.[name];
  return Array.isArray(list) ? list : [];
}

export const streamPath = (id, rest = "") => `api/streams/${encodeURIComponent(id)}${rest}`;
