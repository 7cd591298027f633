// Questions of an annotator to the researcher, and their answers.
import { call } from "./api.js";
import { ofProject } from "./base.js";
import { byId, make } from "./elements.js";

const READ = ofProject("rlhf-label-answers"); // number of answers that this browser has shown

function showQuestions(questions) {
  byId("question-list").replaceChildren(...questions.map((one) => {
    const answer = make("div", { className: "text", dir: "auto" });
    answer.innerHTML = one.answer ?? "<p>Not answered yet.</p>"; // sanitized by the server
    return make("article", {}, [make("p", { className: "question-text", dir: "auto", textContent: one.text }), answer]);
  }));
}

// Shows how many answers are new in this browser; with `opened` none is any longer.
async function loadQuestions(opened = false) {
  const { questions } = await call("/api/questions");
  showQuestions(questions);
  const answers = questions.filter((one) => one.answer !== null).length;
  if (opened) localStorage.setItem(READ, String(answers));
  const fresh = Math.max(0, answers - Number(localStorage.getItem(READ) ?? 0));
  byId("open-questions").classList.toggle("fresh", fresh > 0);
  byId("new-answers").textContent = fresh ? ` (${fresh} new)` : "";
}

// `claimOf` returns the claim of the item on the screen, or null.
export function enableQuestions(claimOf) {
  const dialog = byId("questions");
  byId("open-questions").addEventListener("click", () => {
    dialog.showModal();
    loadQuestions(true).catch((error) => { byId("question-status").textContent = error.message; });
  });
  byId("send-question").addEventListener("click", async () => {
    try {
      await call("/api/questions", { text: byId("question-text").value, claim: claimOf() });
      byId("question-text").value = "";
      byId("question-status").textContent = "Sent. The answer appears here.";
      await loadQuestions(true);
    } catch (error) {
      byId("question-status").textContent = error.message;
    }
  });
  setInterval(() => { if (document.visibilityState === "visible") loadQuestions().catch(() => undefined); }, 120_000);
  loadQuestions().catch(() => undefined);
}
