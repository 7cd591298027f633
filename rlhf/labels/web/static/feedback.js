// Dialogs after a label: feedback of the qualification round, and a reward model's ranks.
import { make } from "./elements.js";
import { letter } from "./form.js";

// `feedback`: see feedback_view in item_view.py; ranks are in the order shown.
export function showFeedback(feedback) {
  const dialog = document.getElementById("feedback");
  const ranks = (values) => values.map((rank, index) => `${letter(index)} ${rank}`).join(", ");
  const right = feedback.correct === feedback.pairs;
  const explanation = make("div", { className: "text" });
  explanation.innerHTML = feedback.explanation; // sanitized by the server
  const percent = `${Math.round(100 * feedback.share)}% of the comparisons so far are right`;
  const verdict = feedback.passed ? "You passed the qualification round. Your next item is a real one."
    : feedback.failed ? "You did not reach the pass mark, and there is no further round."
      : feedback.complete ? "You did not reach the pass mark. Read the guideline again; another round follows."
        : `Item ${feedback.done} of ${feedback.items} of the qualification round.`;
  dialog.querySelector(".content").replaceChildren(
    make("h2", { textContent: right ? "Right" : `${feedback.correct} of ${feedback.pairs} comparisons right` }),
    make("p", { textContent: `Your ranks: ${ranks(feedback.ranks)}. Expected: ${ranks(feedback.known)}.` }),
    explanation,
    make("p", { textContent: `${verdict} ${percent}.` }),
  );
  dialog.showModal();
}

// `look`: ranks and excerpts in the order shown; `change` takes the label back.
export function showSecondLook(look, change) {
  const dialog = document.getElementById("second-look");
  const cell = (tag, text) => make(tag, { textContent: text });
  const rows = look.excerpts.map((text, index) => make("tr", {}, [
    make("th", { scope: "row", textContent: letter(index) }),
    make("td", { dir: "auto", textContent: text }),
    cell("td", String(look.ranks[index])), cell("td", String(look.model_ranks[index])),
  ]));
  dialog.querySelector("table").replaceChildren(
    make("thead", {}, [make("tr", {}, ["", "response", "your rank", "model's rank"].map((text) => cell("th", text)))]),
    make("tbody", {}, rows),
  );
  dialog.returnValue = "";
  dialog.onclose = () => { if (dialog.returnValue === "change") change(); };
  dialog.showModal();
}
