// One question, two answers side by side, one vote.
import { call, events } from "/static/api.js";
import { $ } from "/static/render.js";
import { enableTheme } from "/static/settings.js";

const MARGIN = 0.2; // seconds more than the server asks for: a vote that comes too early does not count
let battle = null; // id of the battle that is shown
let running = null; // AbortController while answers are generated

const buttons = () => [...document.querySelectorAll("[data-vote]")];
const status = (text) => { $("status").textContent = text; };

function showError(error) {
  $("error").textContent = error ? error.message : "";
  $("error").hidden = !error;
}

function allowVotes(allowed) {
  for (const button of buttons()) button.disabled = !allowed;
}

function clear(question) {
  battle = null;
  $("battle").hidden = false;
  $("question").textContent = question;
  for (const n of [1, 2]) {
    $(`name-${n}`).textContent = n === 1 ? "Left" : "Right";
    $(`answer-${n}`).className = "text plain";
    $(`answer-${n}`).textContent = "…";
  }
  for (const button of buttons()) button.removeAttribute("aria-pressed");
  allowVotes(false);
  status("");
}

function showAnswers(html) {
  html.forEach((one, index) => {
    $(`answer-${index + 1}`).className = "text";
    $(`answer-${index + 1}`).innerHTML = one; // the server has sanitized it
  });
}

// Count the seconds until a vote is possible, unless another question is asked meanwhile.
function countDown(asked, until) {
  if (battle !== asked) return;
  const left = Math.ceil((until - performance.now()) / 1000);
  if (left > 0) {
    status(`You can vote in ${left} s.`);
    setTimeout(countDown, 200, asked, until);
    return;
  }
  allowVotes(true);
  status("Which answer is better?");
}

async function receive(question) {
  const texts = ["", ""];
  for await (const event of events("/arena/ask", { question }, running.signal)) {
    if (event.battle) battle = event.battle;
    if (event.text) {
      texts[event.side] += event.text;
      $(`answer-${event.side + 1}`).textContent = texts[event.side];
    }
    if (event.html) {
      showAnswers(event.html);
      if (event.is_empty) status("One answer is empty. Ask again, or ask something else.");
      else countDown(battle, performance.now() + 1000 * (event.seconds + MARGIN));
    }
  }
}

async function ask(question) {
  running = new AbortController();
  $("send").hidden = true;
  $("stop").hidden = false;
  showError();
  clear(question);
  try {
    await receive(question);
    if ($("text").value.trim() === question) $("text").value = "";
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
    $("battle").hidden = true;
    battle = null;
  }
  running = null;
  $("send").hidden = false;
  $("stop").hidden = true;
}

async function vote(button) {
  allowVotes(false);
  showError();
  try {
    const { models, broken_rules: broken } = await call("/arena/vote", { battle, vote: button.dataset.vote });
    button.setAttribute("aria-pressed", "true");
    models.forEach((name, index) => { $(`name-${index + 1}`).textContent = `${index ? "Right" : "Left"}: ${name}`; });
    status(broken.length ? `Your vote is stored, but does not count. ${broken.join(" ")}` : "Thank you. Your vote counts.");
    $("text").focus();
  } catch (error) {
    showError(error);
    allowVotes(true);
  }
}

enableTheme();
$("composer").onsubmit = (event) => {
  event.preventDefault();
  const question = $("text").value.trim();
  if (question && !running) ask(question);
};
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
};
$("stop").onclick = () => running?.abort();
for (const button of buttons()) button.onclick = () => vote(button);
document.body.dataset.ready = "";
