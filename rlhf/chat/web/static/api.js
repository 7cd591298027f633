// What the page asks of its own server, and of nobody else.
const KEY = "rlhf-token";
if (location.hash.length > 1) {
  // The token stands behind the #, which no browser sends; it leaves the address bar at once.
  sessionStorage.setItem(KEY, decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
}

function send(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const method = body === undefined ? "GET" : "POST";
  return fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
}

async function refusal(answer) {
  const content = await answer.json().catch(() => ({}));
  return new Error(content.error?.message ?? `the server answered ${answer.status}`);
}

export async function call(path, body) {
  let answer;
  try {
    answer = await send(path, body);
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}

// What each event of a streamed answer adds to its thought and text, and at its end why it ended.
export async function* stream(path, body, signal) {
  let answer;
  try {
    answer = await send(path, { ...body, stream: true }, signal);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is it still running?");
  }
  if (!answer.ok) throw await refusal(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let finished = false;
  for (;;) {
    const { value, done } = await reader.read();
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
      for (const choice of event.choices) {
        const { reasoning_content: thought = "", content: text = "" } = choice.delta;
        yield { thought, text, finish: choice.finish_reason };
      }
    }
  }
  if (!finished) throw new Error("the answer broke off: the connection was lost");
}
