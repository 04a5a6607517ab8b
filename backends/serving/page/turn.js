// One question and its answer on the page: the text as it grows, the facts below it, and what a person thinks of it.

import { copy, el, grow, iconButton } from "./dom.js";
import { feedback } from "./endpoint.js";
import { rate, seconds } from "./load.js";
import { show } from "./markdown.js";

const ENDS = {
  stop: "complete",
  length: "cut at the limit",
  content_filter: "held back by a guard",
  cancelled: "ended by the endpoint",
  stopped: "stopped by you",
  broken: "broken off",
};

/** What is kept of a turn: plain data, so that it survives a reload. */
export const asked = (question, context) => ({ question, context, answer: "", finish: "" });

/** What must be said of an answer beside its text. */
export function note({ answer, finish }) {
  if (finish === "content_filter") return "A guard of this endpoint held this answer back.";
  return finish && !answer ? "The answer is empty." : "";
}

export class TurnView {
  #facts = el("p", { class: "facts" });
  #answer = el("div", { class: "answer", dir: "auto" });
  #note = el("p", { class: "guard", hidden: true });
  #error = el("p", { class: "error-text", role: "alert" });
  #again = el("button", { class: "quiet", type: "button" }, "Ask again");
  #trouble;
  #actions;
  #thanks = el("span", { class: "thanks muted", role: "status" });
  #thumbs;
  #pen;
  #correction = null;
  #countdown;

  /** `act`: {again(), changed()}; */
  constructor(turn, act) {
    Object.assign(this, { turn, act });
    this.#again.addEventListener("click", () => act.again(turn));
    this.#trouble = el("div", { class: "trouble", hidden: true }, this.#error, this.#again);
    this.#thumbs = {
      up: iconButton("up", "Good answer", () => this.#rate("up"), { "aria-pressed": "false" }),
      down: iconButton("down", "Bad answer", () => this.#rate("down"), { "aria-pressed": "false" }),
    };
    const copied = iconButton("copy", "Copy the answer", () => this.#copy());
    const again = iconButton("again", "Ask again", () => act.again(turn));
    again.classList.add("only-last");
    this.#pen = iconButton("pen", "Correct it", () => this.#correct(), { "aria-expanded": "false" });
    this.#actions = el("div", { class: "actions" }, copied, again, this.#thumbs.up, this.#thumbs.down, this.#pen, this.#thanks);
    const context = turn.context ? [el("details", { class: "given" }, el("summary", {}, "Context"), el("p", { dir: "auto" }, turn.context))] : [];
    const question = el("div", { class: "question" }, el("h2", { class: "unseen" }, "You asked"), el("p", { dir: "auto" }, turn.question), ...context);
    this.news = el("p", { class: "news muted", hidden: true });
    const answered = el("h2", { class: "unseen" }, "Answer");
    this.element = el("article", {}, this.news, question, answered, this.#answer, this.#note, this.#trouble, this.#facts, this.#actions);
    this.show(false);
  }

  show(busy) {
    const { turn } = this;
    show(this.#answer, turn.answer);
    this.element.classList.toggle("busy", busy);
    this.element.setAttribute("aria-busy", String(busy));
    this.#note.textContent = busy ? "" : note(turn);
    this.#note.hidden = !this.#note.textContent;
    this.#facts.replaceChildren(...this.#said(busy).map((fact) => el("span", {}, fact)));
    this.#actions.hidden = busy || !turn.id;
    for (const [rating, button] of Object.entries(this.#thumbs)) button.setAttribute("aria-pressed", String(turn.rating === rating));
    this.#fail(busy);
  }

  #said(busy) {
    const { turn } = this;
    if (busy || !turn.finish) return busy && turn.first ? [`${seconds(turn.first)} to the first token`] : [];
    const facts = [ENDS[turn.finish] ?? turn.finish];
    const tokens = turn.usage?.completion_tokens;
    // Of an answer that came in one piece there is no speed to tell.
    if (tokens > 1 && turn.seconds - turn.first > 0.005) facts.push(`${rate((tokens - 1) / (turn.seconds - turn.first))} tokens/s`);
    if (turn.first !== undefined) facts.push(`${seconds(turn.first)} to the first token`);
    if (turn.usage) facts.push(`${turn.usage.prompt_tokens} tokens in, ${tokens} out`);
    if (turn.release) facts.push(`release ${turn.release}`);
    return facts;
  }

  /** The trouble with a turn, in words; with a time to wait when the endpoint named one. */
  #fail(busy) {
    clearInterval(this.#countdown);
    const { error } = this.turn;
    this.#trouble.hidden = busy || !error;
    if (this.#trouble.hidden) return;
    const tick = () => {
      const left = Math.ceil(((error.until ?? 0) - Date.now()) / 1000);
      this.#again.disabled = left > 0;
      this.#again.textContent = left > 0 ? `Ask again in ${left} s` : "Ask again";
      if (left <= 0) clearInterval(this.#countdown);
    };
    if (this.#error.textContent !== error.text) this.#error.textContent = error.text;
    this.#countdown = setInterval(tick, 250);
    tick();
  }

  async #copy() {
    try {
      await copy(this.turn.answer);
      this.#thank("Copied");
    } catch {
      this.#thank("The browser does not let it be copied");
    }
  }

  #thank(word) {
    this.#thanks.textContent = word;
  }

  /** True when the endpoint has taken it. */
  async #tell(said, thanks) {
    try {
      await feedback(this.turn, said);
      this.#thank(thanks);
      return true;
    } catch (error) {
      this.#thank(`Not kept: ${error.message}`);
      return false;
    } finally {
      this.act.changed();
    }
  }

  async #rate(rating) {
    const { turn } = this;
    const before = turn.rating;
    turn.rating = before === rating ? null : rating;
    this.show(false);
    if (!(await this.#tell({}, turn.rating ? "Thank you" : "Taken back"))) {
      turn.rating = before;
      this.show(false);
      this.act.changed();
    }
  }

  #correct() {
    if (this.#correction) return this.#close();
    const { turn } = this;
    const text = el("textarea", { rows: 3, dir: "auto", maxlength: 20_000, oninput: () => grow(text) });
    text.value = turn.corrected ?? turn.answer;
    const comment = el("input", { type: "text", maxlength: 2000 });
    const send = el("button", { class: "main", type: "submit" }, "Send the correction");
    const cancel = el("button", { class: "quiet", type: "button", onclick: () => this.#close() }, "Cancel");
    const labelled = (label, field) => el("label", {}, label, field);
    this.#correction = el(
      "form",
      { class: "correction", autocomplete: "off", "aria-label": "Correction" },
      labelled("What it should have said", text),
      labelled("Comment, if you like", comment),
      el("div", { class: "row end" }, cancel, send),
    );
    this.#correction.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // it is not meant for the answer that is being made
      this.#close();
    });
    this.#correction.addEventListener("submit", async (event) => {
      event.preventDefault();
      send.disabled = true;
      const kept = await this.#tell({ correction: text.value, comment: comment.value || null }, "Thank you for the correction");
      send.disabled = false;
      if (!kept) return;
      turn.corrected = text.value;
      this.act.changed();
      this.#close();
    });
    this.element.append(this.#correction);
    this.#pen.setAttribute("aria-expanded", "true");
    grow(text);
    text.focus();
  }

  #close() {
    this.#correction.remove();
    this.#correction = null;
    this.#pen.setAttribute("aria-expanded", "false");
    this.#pen.focus();
  }
}
