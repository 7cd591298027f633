// Downloads a branch as the rows that SFT reads.
import { call } from "/static/api.js";
import { el } from "/static/render.js";

export async function exportBranch(turns) {
  const { rows } = await call("/page/export", { turns });
  if (!rows.length) throw new Error("there is no response to export yet");
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" })), download: "chat.jsonl" });
  link.click();
  URL.revokeObjectURL(link.href);
}
