// Words of texts in any language: their number, and those in which texts differ.
const RUN = 3; // words: shorter runs are shared by chance
const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
const decimal = new Intl.NumberFormat("en");

export function countWords(text) {
  let count = 0;
  for (const { isWordLike } of segmenter.segment(text)) count += isWordLike ? 1 : 0;
  return count;
}

export const wordCount = (text) => {
  const count = countWords(text);
  return `${decimal.format(count)} word${count === 1 ? "" : "s"}`;
};

// For each text (a list of words) which of its words differ: those outside every run of three words
// that another text has too.
export function differing(texts) {
  const runs = (words) => words.slice(0, Math.max(0, words.length - RUN + 1)).map((_, i) => words.slice(i, i + RUN).join("\u0000"));
  const textsWith = new Map();
  for (const words of texts) for (const run of new Set(runs(words))) textsWith.set(run, (textsWith.get(run) ?? 0) + 1);
  return texts.map((words) => {
    const differs = words.map(() => true);
    runs(words).forEach((run, i) => { if (textsWith.get(run) > 1) differs.fill(false, i, i + RUN); });
    return differs;
  });
}

// The words and signs below `root` with their places in its text nodes; formulas are left out.
function wordsBelow(root) {
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest("math")) continue;
    for (const { segment, index } of segmenter.segment(node.data)) {
      if (segment.trim()) found.push({ word: segment, node, start: index, end: index + segment.length });
    }
  }
  return found;
}

// Marks the words in which the elements differ. Returns the share of such words of each element.
export function markDifferences(elements) {
  const places = elements.map(wordsBelow);
  const differs = differing(places.map((words) => words.map(({ word }) => word)));
  const ranges = places.flatMap((words, n) => words.flatMap(({ node, start, end }, i) => {
    if (!differs[n][i]) return [];
    const range = new StaticRange({ startContainer: node, startOffset: start, endContainer: node, endOffset: end });
    return [range];
  }));
  if (CSS.highlights) CSS.highlights.set("difference", new Highlight(...ranges));
  return differs.map((of) => (of.length ? of.filter(Boolean).length / of.length : 0));
}

export const unmarkDifferences = () => CSS.highlights?.delete("difference");
