// Requests with retries: a click is sent until the server has acknowledged it.
import { base, ofProject } from "./base.js";

const csrf = document.querySelector("meta[name=csrf]").content;
const PENDING = ofProject("rlhf-label-pending");
const AT_UNLOAD = ["/api/draft", "/api/heartbeat"]; // sent while the page unloads
const AWAY = "the server does not respond; try again in a moment";
const MAX_KEEPALIVE = 15_000; // characters, 60 kB at most: browsers reject larger keepalive bodies

export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function call(path, body) {
  const response = await fetch(base + path, {
    method: body === undefined ? "GET" : "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
    keepalive: AT_UNLOAD.includes(path) && JSON.stringify(body).length < MAX_KEEPALIVE,
  }).catch(() => { throw new Error(AWAY); });
  if (response.status === 401) location.assign(`${base}/login`);
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    const detail = content.detail;
    throw new RequestError(response.status, typeof detail === "string" ? detail : `status ${response.status}`);
  }
  return content;
}

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The key identifies the click: however often it is sent, the server counts it once.
export async function deliver(path, body, onRetry) {
  const request = { key: crypto.getRandomValues(new Uint32Array(4)).join("-"), ...body };
  sessionStorage.setItem(PENDING, JSON.stringify([path, request]));
  try {
    return await sendUntilAcknowledged(path, request, onRetry);
  } catch (error) {
    // The session ended, or another window started a new one: a reloaded page sends the click again.
    if (error.status === 403) location.reload();
    if (error.status === 401 || error.status === 403) return new Promise(() => undefined);
    sessionStorage.removeItem(PENDING);
    throw error;
  }
}

async function sendUntilAcknowledged(path, request, onRetry) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 5000)) {
    try {
      const content = await call(path, request);
      sessionStorage.removeItem(PENDING);
      return content;
    } catch (error) {
      if (error instanceof RequestError && error.status < 500) throw error;
      onRetry();
      await wait(pause);
    }
  }
}

// Sends the click that a reload interrupted. Returns the server's error message, or "".
export async function deliverPending(onRetry) {
  const pending = sessionStorage.getItem(PENDING);
  if (pending === null) return "";
  const [path, request] = JSON.parse(pending);
  try {
    await sendUntilAcknowledged(path, request, onRetry);
    return "";
  } catch (error) {
    if (error.status !== 401) sessionStorage.removeItem(PENDING);
    return error.message;
  }
}
