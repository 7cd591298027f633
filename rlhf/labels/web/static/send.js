// What is sent to the server: labels, skips, undos, and the time of work.
import { RequestError, call, deliver } from "./api.js";
import * as criteria from "./criteria.js";
import * as draft from "./draft.js";
import { byId } from "./elements.js";
import { showFeedback, showSecondLook } from "./feedback.js";
import { hasText, isOrderShown, letter, unranked } from "./form.js";
import { guidelineVersion } from "./guideline.js";
import { select, showItem } from "./item.js";
import { endRetry, onRetry, page, showStatus } from "./state.js";
import * as timer from "./timer.js";

const LATE = "While you were away the item was given to another annotator, or a program sent your label of it. Your ranking is stored, but does not count.";
let busy = false;
export const isBusy = () => busy;

export const undo = () => sendAction("/api/undo", {});

async function sendAction(path, body) {
  if (busy) return;
  busy = true;
  byId("submit").disabled = true;
  try {
    if (path === "/api/undo") await leave(); // so that the item on the page can be continued later
    const state = await deliver(path, body, onRetry);
    endRetry();
    if (path !== "/api/undo") draft.drop();
    await showItem(state);
    showOutcome(state);
  } catch (error) {
    if (error instanceof RequestError && error.status === 409) await showItem(await call("/api/next", {}));
    showStatus(error.message, true);
  } finally {
    busy = false;
    endRetry();
    byId("submit").disabled = false;
  }
}

function showOutcome(state) {
  if (state.feedback) showFeedback(state.feedback);
  if (state.second_look) showSecondLook(state.second_look, undo);
  if (state.kind === "late") showStatus(LATE, true);
  if (state.kind === "nothing") showStatus("There is nothing to undo.");
  if (state.kind === "undo") showStatus("Undone. Change what you entered, and submit it again.");
}

// What is missing in the form is named and gets the focus; the order shown is confirmed once.
export function submit() {
  const { form, item, settings } = page;
  if (item === null || busy) return;
  const indices = unranked(form);
  if (indices.length) {
    showStatus(form.tiers.length === 2 ? "Choose which response is better, or that they are equally good." : `Not ranked yet: ${indices.map(letter).join(", ")}`, true);
    if (form.tiers.length > 2) select(indices[0]);
    return;
  }
  const missing = criteria.missingLine(form, settings.criteria);
  if (missing) {
    showStatus(`Not answered yet: ${criteria.describeLine(missing)}`, true);
    criteria.focusLine(missing);
    return;
  }
  if (isOrderShown(form) && !page.confirmed) {
    page.confirmed = true;
    showStatus("This is the order in which the responses were shown. Submit again to confirm it.", true);
    return;
  }
  sendAction("/api/submit", {
    claim: item.claim, form, seconds: timer.seconds(), guideline_version: guidelineVersion(), form_version: settings.version,
  });
}

// Not while a label is on its way: the dialog would be about the next item by the time of a choice.
export function openSkip() {
  if (page.item === null || busy) return;
  byId("skip-comment").value = page.form.skip_comment;
  byId("skip-note").hidden = !hasText(page.form);
  byId("skip-dialog").showModal();
}

export function skip(reason) {
  byId("skip-dialog").close();
  const comment = byId("skip-comment").value;
  const form = { ...page.form, skip_comment: comment }; // undo restores both
  sendAction("/api/skip", { claim: page.item.claim, reason, comment, seconds: timer.seconds(), form });
}

// The page is hidden or left: saves the form, and the time that was spent on the item.
export const leave = () => Promise.all([draft.save(), beat()]);

export const beat = async () =>
  (page.item === null ? undefined : call("/api/heartbeat", { claim: page.item.claim, seconds: timer.seconds() }).catch(() => undefined));
