// The annotator's own labels, skips and hours.
import { call } from "./api.js";
import { byId, make } from "./elements.js";
import { duration } from "./progress.js";

const row = (tag, cells) => make("tr", {}, cells.map((textContent) => make(tag, { textContent: String(textContent) })));
const time = (at) => new Date(1000 * at).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

function showDays(days) {
  const sum = (name) => days.reduce((total, day) => total + day[name], 0);
  const cells = (name, of) => [name, of.labels, of.skips, duration(of.seconds)];
  const all = { labels: sum("labels"), skips: sum("skips"), seconds: sum("seconds") };
  byId("work-days").replaceChildren(
    make("thead", {}, [row("th", ["day", "labels", "skipped", "time"])]),
    make("tbody", {}, [...days.map((day) => row("td", cells(day.day, day))), row("th", cells("all", all))]),
  );
}

function showNewest(newest) {
  byId("work-newest").replaceChildren(...newest.map((one) => make("li", {}, [
    make("span", { className: "dim", textContent: `${time(one.at)}${one.kind === "skip" ? " · skipped" : ""} · ` }),
    make("span", { dir: "auto", textContent: one.prompt }),
  ])));
}

export async function openWork() {
  byId("work").showModal();
  try {
    const { days, newest } = await call("/api/work");
    byId("work-status").textContent = days.length ? "" : "Nothing yet.";
    showDays(days);
    showNewest(newest);
  } catch (error) {
    byId("work-status").textContent = error.message;
  }
}
