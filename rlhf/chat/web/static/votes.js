// Votes and thumbs, with the prompt that the responses were generated from.
import { call } from "/static/api.js";
import { state } from "/static/conversation.js";
import { $ } from "/static/render.js";
import { annotator } from "/static/settings.js";
import { fullText, originOf, promptOf } from "/static/tree.js";
import { changed, showError } from "/static/view.js";

let needsName = false;

export function requireName(required) { needsName = required; }

// Whether the votes of this page have a name; without one the field is shown.
function hasName() {
  if (annotator() || !needsName) return true;
  $("settings").open = true;
  $("name").focus();
  showError(new Error("enter your name; votes are stored under it"));
  return false;
}

export async function vote(turn, choice) {
  const { responses } = turn;
  if (!hasName()) return;
  try {
    const { models } = await call("/page/vote", {
      messages: promptOf(state.turns, turn), responses: responses.map(fullText), models: responses.map(({ model }) => model),
      origins: responses.map(originOf), annotator: annotator(), vote: choice,
    });
    turn.vote = choice;
    if (Number(choice)) turn.chosen = Number(choice) - 1;
    responses.forEach((response, n) => Object.assign(response, { label: models[n], model: models[n] }));
    showError();
  } catch (error) {
    showError(error);
  }
  changed(turn);
}

export async function rate(turn, n, direction) {
  const response = turn.responses[n];
  if (!hasName()) return;
  try {
    await call("/page/thumb", {
      messages: promptOf(state.turns, turn), response: fullText(response), model: response.model,
      origin: originOf(response), annotator: annotator(), up: direction === "up",
    });
    response.thumb = direction;
    showError();
  } catch (error) {
    showError(error);
  }
  changed(turn);
}
