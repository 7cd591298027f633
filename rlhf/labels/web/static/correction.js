// The fields with which a researcher corrects a label, in the order of the stored responses.
import * as criteria from "./criteria.js";
import { make } from "./elements.js";
import { emptyForm } from "./form.js";

const nameOf = (index) => String(index + 1);

function rankInput(rank, index) {
  const input = make("input", { type: "number", min: "1", max: "64", value: String(rank), required: true, className: "rank-input" });
  input.dataset.index = index;
  return make("label", {}, [`Rank of response ${nameOf(index)}`, input]);
}

function overallInput(rating, index) {
  const values = ["", 1, 2, 3, 4, 5, 6, 7];
  const select = make("select", { className: "overall-input" }, values.map((value) =>
    make("option", { value: String(value), textContent: value === "" ? "none" : String(value), selected: value === (rating ?? "") })));
  select.dataset.index = index;
  return make("label", {}, [`Overall of response ${nameOf(index)}`, select]);
}

function flagInputs(names, given, index) {
  return names.map((flag) => {
    const box = make("input", { type: "checkbox", value: flag, checked: given.includes(flag), className: "flag-input", "aria-label": `Response ${nameOf(index)}: ${flag}` });
    box.dataset.index = index;
    return make("label", { className: "check" }, [box, flag]);
  });
}

function responseFields(given, index) {
  return make("fieldset", { className: "corrected" }, [
    make("legend", { textContent: `Response ${nameOf(index)}` }),
    make("div", { className: "fields" }, [
      rankInput(given.ranks[index], index),
      ...(given.overall ? [overallInput(given.given_overall[index], index)] : []),
      ...flagInputs(given.flags, given.given_flags[index], index),
    ]),
    ...criteria.renderQuestions(given.criteria, index, nameOf),
  ]);
}

// The label's form with the ranks in the fields: which questions are asked follows them.
function formOf(given) {
  const count = given.ranks.length;
  const scale = Math.sign(given.ranks[0] - given.ranks[1]);
  return { ...emptyForm(count), tiers: given.ranks, scale, answers: given.answers };
}

// `given`: the criteria, flags and values of a label. Returns its nodes; `show` fills them once they
// are on the page, and `values` reads them.
export function correction(given) {
  const count = given.ranks.length;
  const form = formOf(given);
  const box = make("div", { className: "correction" }, [
    ...given.ranks.map((_, index) => responseFields(given, index)),
    ...criteria.renderItemQuestions(given.criteria, count, nameOf),
  ]);
  const inputs = (className) => [...box.querySelectorAll(`.${className}`)];
  const show = () => criteria.showAnswers(form, given.criteria);
  const onInput = ({ target }) => {
    if (target.matches(".rank-input")) {
      for (const input of inputs("rank-input")) form.tiers[Number(input.dataset.index)] = Number(input.value);
      form.scale = Math.sign(form.tiers[0] - form.tiers[1]);
    } else if (target.closest(".question")) criteria.readAnswer(form, given.criteria, target);
    show();
  };
  box.addEventListener("input", onInput);
  const values = () => ({
    ranks: form.tiers,
    ...(given.criteria.length ? { answers: form.answers } : {}),
    ...(given.overall ? { overall: inputs("overall-input").map(({ value }) => (value === "" ? null : Number(value))) } : {}),
    ...(given.flags.length ? { flags: given.ranks.map((_, index) =>
      inputs("flag-input").filter((box_) => box_.checked && Number(box_.dataset.index) === index).map(({ value }) => value)) } : {}),
  });
  return { nodes: [box], show, values };
}
