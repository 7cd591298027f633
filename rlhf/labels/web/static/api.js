// Requests that are not given up: a click that was made is sent until the server has it.
const csrf = document.querySelector("meta[name=csrf]").content;
const PENDING = "rlhf-label-pending";
const KEPT_ALIVE = 15_000; // characters, 60 kB at most: browsers refuse larger ones

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function call(path, body) {
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
    keepalive: path === "/api/draft" && JSON.stringify(body).length < KEPT_ALIVE,
  });
  if (answer.status === 401) location.assign("/login");
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const detail = content.detail;
    throw new Refusal(answer.status, typeof detail === "string" ? detail : `status ${answer.status}`);
  }
  return content;
}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// The key names the click: however often it is sent, the server counts it once.
export async function deliver(path, body, onWait) {
  const sent = { key: crypto.getRandomValues(new Uint32Array(4)).join("-"), ...body };
  sessionStorage.setItem(PENDING, JSON.stringify([path, sent]));
  try {
    return await insist(path, sent, onWait);
  } catch (error) {
    // The session ended, or was begun anew in another window: a fresh page sends the click again.
    if (error.status === 403) location.reload();
    if (error.status === 401 || error.status === 403) return new Promise(() => undefined);
    sessionStorage.removeItem(PENDING);
    throw error;
  }
}

async function insist(path, sent, onWait) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 5000)) {
    try {
      const content = await call(path, sent);
      sessionStorage.removeItem(PENDING);
      return content;
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) throw error;
      onWait();
      await wait(pause);
    }
  }
}

// What a reload interrupted goes first. The words of a refusal; "" where there was none.
export async function deliverLeftover(onWait) {
  const left = sessionStorage.getItem(PENDING);
  if (left === null) return "";
  const [path, body] = JSON.parse(left);
  try {
    await insist(path, body, onWait);
    return "";
  } catch (error) {
    if (error.status !== 401) sessionStorage.removeItem(PENDING);
    return error.message;
  }
}
