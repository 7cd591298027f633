// The tree of a conversation, without a page: rlhf/chat/web/conversation_tree.py has the fields of a turn.

// Random in every context; crypto.randomUUID exists on HTTPS and localhost only.
export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const prompt = (parent, continues, content) => ({ id: newId(), parent, role: "user", content, continues });

export const responsesTo = (parent, fields) => ({ id: newId(), parent, role: "assistant", chosen: 0, vote: "", ...fields });

export const emptyResponse = (model, label) => ({ model, label, thought: "", text: "", finish: "", steered: false, thumb: "", reward: null });

export const isEmpty = ({ text, thought, finish }) => !text && !thought && !finish;

// The turns from the first prompt to turn `leaf`.
export function branch(turns, leaf) {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const path = [];
  for (let turn = byId.get(leaf); turn; turn = byId.get(turn.parent)) path.unshift(turn);
  return path;
}

// The turns that could stand in the place of `turn`, itself among them, in the order in which they were made.
export const siblings = (turns, turn) => turns.filter((other) => other.parent === turn.parent);

// The end of the newest branch that goes through turn `id`: the turn below it that was made last.
export const newestLeaf = (turns, id) =>
  turns.findLast((turn) => branch(turns, turn.id).some((above) => above.id === id)).id;

// A response with its thought in its text, as stores and models take it; templates drop old thoughts.
export const fullText = ({ thought, text }) => (thought ? `<think>\n${thought}\n</think>\n\n${text}` : text);

// The response of turn `n` that the path continues with.
export const replyAt = (path, n) => path[n].responses[path[n + 1]?.continues ?? path[n].chosen];

// The messages that a model reads after the turns of `path`, without the oldest `dropped`.
export function messagesOf(path, system, dropped = 0) {
  const spoken = path.map((turn, n) => (turn.role === "user"
    ? { role: "user", content: turn.content }
    : { role: "assistant", content: fullText(replyAt(path, n)) }));
  return [...(system ? [{ role: "system", content: system }] : []), ...spoken.slice(dropped)];
}

// The prompt that the responses of `turn` were generated from.
export const promptOf = (turns, turn) => messagesOf(branch(turns, turn.parent), turn.system, turn.dropped);

export const originOf = ({ finish, steered }) => ({ ending: finish || "stopped", steered });
