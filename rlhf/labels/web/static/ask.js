// A prompt of the annotator's own: sent, waited for, and its answers shown when they are there.
import { Refusal, call } from "./api.js";

const at = (id) => document.getElementById(id);
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Waits until the models have answered, over a server that is away for a while too.
async function answered() {
  for (;;) {
    await wait(500);
    let said;
    try {
      said = await call("/api/ask");
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) throw error;
      continue;
    }
    if (said.state === "ready") return;
    if (said.state === "failed") throw new Error(said.error);
    // Prompts wait in the server's memory: one that was started anew knows nothing of them.
    if (said.state === "none") throw new Error("The server was started anew and lost the prompt; ask again.");
  }
}

// `onReady(isOpen)`: whether the person still waits at the dialog, or has gone on working.
export function enableAsk(onReady) {
  const button = at("send-question");
  button?.addEventListener("click", async () => {
    button.disabled = true;
    at("ask-state").textContent = "The models are answering…";
    try {
      await call("/api/ask", { prompt: at("question").value });
      await answered();
      at("ask-state").textContent = "";
      at("question").value = "";
      const isOpen = at("asking").open;
      at("asking").close();
      await onReady(isOpen);
    } catch (error) {
      at("ask-state").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}
