// Requests of the page to its own server.
import { newId } from "/static/tree.js";

const KEY = "rlhf-token";
const BROWSER = "rlhf-browser";
const AWAY = "the server does not respond; check that it is still running";
const LOST = "the connection was lost before the response ended";
if (location.hash.length > 1) {
  // The token comes after the #, which browsers do not send; remove it from the address bar.
  sessionStorage.setItem(KEY, decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
}
// On a page of several people it tells their conversations apart.
if (!localStorage.getItem(BROWSER)) localStorage.setItem(BROWSER, newId() + newId());

function send(path, body, { method = body === undefined ? "GET" : "POST", signal } = {}) {
  const headers = { "Content-Type": "application/json", "X-Browser-Key": localStorage.getItem(BROWSER) };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
}

async function httpError(response) {
  const content = await response.json().catch(() => ({}));
  return new Error(content.error?.message ?? `the server returned status ${response.status}`);
}

export async function call(path, body, options) {
  let response;
  try {
    response = await send(path, body, options);
  } catch {
    throw new Error(AWAY);
  }
  if (!response.ok) throw await httpError(response);
  return response.json();
}

// The next piece of a stream. A connection that ends in its middle has another message in each browser.
const read = (reader) => reader.read().catch((error) => { throw error.name === "AbortError" ? error : new Error(LOST); });

// Yields the events of a stream; throws if one is an error, or if the connection is lost before the end.
export async function* events(path, body, signal) {
  let response;
  try {
    response = await send(path, body, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(AWAY);
  }
  if (!response.ok) throw await httpError(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let finished = false;
  for (;;) {
    const { value, done } = await read(reader);
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      if (line === "data: [DONE]") {
        finished = true;
        continue;
      }
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
  if (!finished) throw new Error(LOST);
}

// Yields what each chunk of a chat completion adds to thought and text, and at the end the finish reason.
export async function* stream(path, body, signal) {
  for await (const event of events(path, { ...body, stream: true }, signal)) {
    for (const choice of event.choices) {
      const { reasoning_content: thought = "", content: text = "" } = choice.delta;
      yield { thought, text, finish: choice.finish_reason };
    }
  }
}
