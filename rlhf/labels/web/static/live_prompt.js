// A prompt of the annotator's own: sends it, waits for the models, and shows their responses.
import { RequestError, call, wait } from "./api.js";
import { byId } from "./elements.js";

// Waits until the models have responded, even while the server is unreachable.
async function waitForResponses() {
  for (;;) {
    await wait(500);
    let status;
    try {
      status = await call("/api/ask");
    } catch (error) {
      if (error instanceof RequestError && error.status < 500) throw error;
      continue;
    }
    if (status.state === "ready") return;
    if (status.state === "failed") throw new Error(status.error);
    // Prompts wait in the server's memory, which a restart clears.
    if (status.state === "none") throw new Error("The server was restarted and lost the prompt. Send it again.");
  }
}

// `onReady(isOpen)`: whether the annotator still waits at the dialog, or has gone back to ranking.
export function enableLivePrompt(onReady) {
  const button = byId("send-prompt");
  button?.addEventListener("click", async () => {
    button.disabled = true;
    byId("prompt-status").textContent = "The models are responding…";
    try {
      await call("/api/ask", { prompt: byId("prompt-text").value });
      await waitForResponses();
      byId("prompt-status").textContent = "";
      byId("prompt-text").value = "";
      const isOpen = byId("prompt-dialog").open;
      byId("prompt-dialog").close();
      await onReady(isOpen);
    } catch (error) {
      byId("prompt-status").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}
