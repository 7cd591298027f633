// The page: starts it, and connects its controls.
import { call } from "/static/api.js";
import { keepOnServer, path, startNew, state } from "/static/conversation.js";
import { exportBranch } from "/static/export.js";
import { isGenerating, keepUnfinished, scoreResponses, send, stop, stopAndWait } from "/static/generate.js";
import { closeInspector, setServedModels } from "/static/inspect.js";
import { $, el } from "/static/render.js";
import { enableTheme, rememberFields, setField } from "/static/settings.js";
import { enableShortcuts } from "/static/shortcuts.js";
import { enableSidebar, list, newConversation } from "/static/sidebar.js";
import { draw, showError } from "/static/view.js";
import { requireName } from "/static/votes.js";

const CONFIRM = 4000; // milliseconds in which a second click starts a new chat
const DEFAULT_LENGTH = 256; // tokens
let server = { models: [] };

function drawModelInfo() {
  const selected = server.models.filter(({ id }) => [$("first").value, $("second").value].includes(id));
  const isHidden = $("blind").checked && $("second").value;
  const lines = selected.flatMap((model) => [
    ...model.facts.map((text) => el("p", { textContent: text })),
    ...model.warnings.map((text) => el("p", { className: "warning", textContent: `warning: ${text}` })),
  ]);
  $("model-info").replaceChildren(...(isHidden ? [] : lines));
}

// Without a history nothing brings the conversation back, so the first click asks.
async function confirmNew() {
  const button = $("new");
  if (state.turns.length && button.dataset.asked === undefined) {
    button.dataset.asked = "";
    button.textContent = "Really discard this chat?";
    setTimeout(() => { delete button.dataset.asked; button.textContent = "New chat"; }, CONFIRM);
    return;
  }
  delete button.dataset.asked;
  button.textContent = "New chat";
  await stopAndWait();
  startNew();
  closeInspector();
  showError();
  draw();
}

function showSaved(error) {
  $("unsaved").hidden = error === null;
  $("unsaved").textContent = error ? `Not saved yet: ${error.message}. Trying again…` : "";
  if (!error) list().catch(() => undefined);
}

function addListeners() {
  $("composer").onsubmit = (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (text && !isGenerating()) send(text).then(drawModelInfo);
    drawModelInfo();
  };
  $("text").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  };
  $("stop").onclick = stop;
  $("new").onclick = () => (server.history ? newConversation().catch(showError).then(drawModelInfo) : confirmNew());
  $("export").onclick = () => exportBranch(path()).catch(showError);
  for (const id of ["first", "second", "blind"]) $(id).addEventListener("change", drawModelInfo);
  addEventListener("pagehide", keepUnfinished);
}

async function start() {
  enableTheme();
  draw();
  server = await call("/page/models");
  const names = server.models.map(({ id }) => id);
  $("first").append(...names.map((name) => new Option(name)));
  $("second").append(new Option("none", ""), ...names.map((name) => new Option(name)));
  if (names.length > 1) $("second").value = names[1];
  $("max-tokens").max = server.max_new_tokens;
  $("max-tokens").value = Math.min(DEFAULT_LENGTH, server.max_new_tokens);
  $("name").placeholder = server.annotator;
  requireName(!server.annotator);
  rememberFields();
  scoreResponses(server.reward);
  setServedModels(names);
  addListeners();
  enableShortcuts();
  if (server.history) {
    enableSidebar();
    keepOnServer(showSaved);
    await list();
  }
  drawModelInfo();
  document.body.dataset.ready = "";
}

start().catch(showError);
