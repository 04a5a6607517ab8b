// How the next token is chosen. Only what differs from neutral is sent, so that an untouched panel asks for what the gates saw.

import { el, grow } from "./dom.js";

const slider = (name, label, min, max, step, neutral, about) => ({ name, label, min, max, step, neutral, about, kind: "range" });
const number = (name, label, min, max, empty, about) => ({ name, label, min, max, step: 1, neutral: "", empty, about, kind: "number" });

const FIELDS = [
  slider("temperature", "Temperature", 0, 2, 0.05, 0, "0 takes the likeliest token; more draws more freely."),
  slider("top_p", "Top p", 0, 1, 0.01, 1, "Draw among the likeliest tokens that hold this much of the chance."),
  number("top_k", "Top k", 1, 1_000_000, "all", "Draw among so many of the likeliest."),
  slider("min_p", "Min p", 0, 1, 0.01, 0, "Leave out what has less than this part of the likeliest one's chance."),
  slider("repetition_penalty", "Repetition penalty", 0.5, 2, 0.05, 1, "Above 1, tokens of the question and the answer become less likely to come again."),
  slider("presence_penalty", "Presence penalty", -2, 2, 0.1, 0, "Above 0, tokens that the answer has already become less likely."),
  slider("frequency_penalty", "Frequency penalty", -2, 2, 0.1, 0, "Likewise, once for each time that the answer has it."),
  number("max_tokens", "Most tokens", 1, 1_000_000, "limit", "The longest answer."),
  number("seed", "Seed", 0, Number.MAX_SAFE_INTEGER, "random", "The same seed draws the same answer."),
];
const STOP = { name: "stop", label: "Stop", about: "Texts that end the answer, one per line, at most 16. \\n is a line break." };
const DRAWING = ["top_p", "top_k", "min_p", "seed"];

export class Controls {
  #changed;
  #inputs = {};
  #note = el("p", { class: "muted note" }, "At temperature 0 nothing is drawn: top p, top k, min p and the seed change nothing.");

  /** `changed` is called with every change, also by reset. */
  constructor(form, changed) {
    this.#changed = changed;
    for (const field of FIELDS) form.append(this.#row(field));
    form.children[0].after(this.#note);
    form.append(this.#stops(), this.#about());
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.#tell());
    this.#tell();
  }

  #row({ name, label, kind, min, max, step, neutral, empty, about }) {
    const shared = { id: `control-${name}`, title: about, "aria-describedby": `about-${name}` };
    const input = el("input", { ...shared, type: kind, min, max, step, placeholder: empty });
    this.#inputs[name] = input;
    input.value = neutral;
    const said = kind === "range" ? [el("span", { class: "value", "aria-hidden": "true" })] : [];
    return el("div", { class: "control" }, el("label", { for: input.id }, label), input, ...said);
  }

  #stops() {
    const shared = { id: "control-stop", title: STOP.about, "aria-describedby": "about-stop" };
    const area = el("textarea", { ...shared, rows: 1, spellcheck: "false", oninput: () => grow(area) });
    this.#inputs.stop = area;
    return el("div", { class: "control" }, el("label", { for: area.id }, "Stop"), area);
  }

  /** One place says what the fields are: beside each of them it would hide the others. */
  #about() {
    const terms = [...FIELDS, STOP].flatMap(({ name, label, about }) => [el("dt", {}, label), el("dd", { id: `about-${name}` }, about)]);
    return el("details", { class: "muted" }, el("summary", {}, "What these do"), el("dl", {}, ...terms));
  }

  #tell() {
    for (const { name, kind } of FIELDS) {
      const input = this.#inputs[name];
      if (kind === "range") input.nextElementSibling.textContent = input.value;
    }
    const drawn = DRAWING.some((name) => name in this.sent);
    this.#note.hidden = !(drawn && Number(this.#inputs.temperature.value) === 0);
    this.#changed(this);
  }

  /** For the request: the fields that ask for something else than what happens anyway. */
  get sent() {
    const sent = {};
    for (const { name, neutral } of FIELDS) {
      const { value } = this.#inputs[name];
      if (value !== String(neutral)) sent[name] = Number(value);
    }
    const stops = this.#inputs.stop.value.split("\n").filter((line) => line !== "");
    if (stops.length) sent.stop = stops.map((line) => line.replaceAll("\\n", "\n"));
    return sent;
  }

  /** In words, for below the question. */
  get summary() {
    const label = (name) => FIELDS.find((field) => field.name === name)?.label.toLowerCase() ?? name;
    return Object.entries(this.sent).map(([name, value]) => (name === "stop" ? `${value.length} stop text${value.length > 1 ? "s" : ""}` : `${label(name)} ${value}`)).join(", ");
  }

  /** As written, to be kept. */
  get values() {
    return Object.fromEntries(Object.entries(this.#inputs).map(([name, input]) => [name, input.value]));
  }

  /** The first field that cannot be sent as it is, or undefined. */
  get wrong() {
    return Object.values(this.#inputs).find((input) => !input.checkValidity());
  }

  limit(tokens) {
    Object.assign(this.#inputs.max_tokens, { max: tokens, placeholder: String(tokens) });
  }

  set(values) {
    for (const { name, neutral } of FIELDS) this.#inputs[name].value = values[name] ?? neutral;
    this.#inputs.stop.value = values.stop ?? "";
    this.#tell();
  }

  reset() {
    this.set({});
  }
}
