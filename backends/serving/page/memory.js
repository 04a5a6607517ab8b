// The conversation, as this browser remembers it: one entry per product.

const entry = (product) => `llmspec.${product}`;
const whole = (turn) => typeof turn?.question === "string" && typeof turn.answer === "string";

/** {turns, controls, context}, as far as they were kept. */
export function recall(product) {
  try {
    const { turns = [], controls = {}, context = "" } = JSON.parse(localStorage.getItem(entry(product))) ?? {};
    return { turns: turns.filter(whole), controls, context };
  } catch {
    return { turns: [], controls: {}, context: "" }; // another program's, or not ours to read
  }
}

export function remember(product, { turns, controls, context }) {
  for (let from = 0; from <= turns.length; from++) {
    try {
      localStorage.setItem(entry(product), JSON.stringify({ turns: turns.slice(from), controls, context }));
      return;
    } catch {
      continue; // it is full, or not ours to write: the oldest turn is given up
    }
  }
}
