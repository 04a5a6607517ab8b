// The playground: a conversation with the product, kept in this browser.

import { Controls } from "./controls.js";
import { find, grow } from "./dom.js";
import { answer, call, key, Refused, releaseOf, Unreachable } from "./endpoint.js";
import { KeyDialog } from "./keydialog.js";
import { Load } from "./load.js";
import { recall, remember } from "./memory.js";
import { asked, note, TurnView } from "./turn.js";

const [question, context, scroll] = ["question", "context", "scroll"].map(find);
const LOOK_AGAIN_MS = 2000;
let product = null; // what /v1/product says
let release = ""; // which answered last
let views = []; // the turns, oldest first
let asking = null; // the AbortController of the answer that is being made

function keep() {
  if (product) remember(product.id, { turns: views.map((view) => view.turn), controls: controls.values, context: context.value });
}

// what is shown

function show() {
  find("empty").hidden = views.length > 0;
  find("clear").disabled = views.length === 0 || asking !== null;
  find("send").textContent = asking ? "Stop" : "Send";
  find("send").classList.toggle("stop", asking !== null);
  views.forEach((view, index) => {
    view.element.classList.toggle("last", index === views.length - 1);
    const before = views.slice(0, index).findLast((other) => other.turn.release)?.turn.release;
    const swapped = before && view.turn.release && before !== view.turn.release;
    view.news.hidden = !swapped;
    view.news.textContent = swapped ? `From here on release ${view.turn.release} answers; before it was release ${before}.` : "";
  });
}

const made = (turn) => new TurnView(turn, { again, changed: keep });

function add(turn) {
  const view = made(turn);
  views.push(view);
  find("conversation").append(view.element);
  return view;
}

function follow() {
  scroll.scrollTop = scroll.scrollHeight;
}

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;

function say(text) {
  find("announce").textContent = text;
}

function banner(text) {
  find("banner").textContent = text;
  find("banner").hidden = !text;
}

/** Every response names its release. */
function heard(now) {
  if (!now || now === release) return;
  if (release) say(`Release ${now} answers now.`);
  release = now;
  if (product) meet(); // another release may take other lengths, or read a context
  find("release").textContent = `release ${release}`;
  find("release").hidden = false;
}

// asking

function messages(upto) {
  // What was not answered, or held back, is not said again: a guard would hold back every answer after it.
  const before = views.slice(0, upto).filter(({ turn }) => turn.answer && turn.finish !== "content_filter");
  const turns = before.flatMap(({ turn }) => [{ role: "user", content: turn.question }, { role: "assistant", content: turn.answer }]);
  return [...turns, { role: "user", content: views[upto].turn.question }];
}

async function run(view) {
  const { turn } = view;
  asking = new AbortController();
  const request = { ...controls.sent, messages: messages(views.indexOf(view)) };
  if (turn.context) request.context = turn.context;
  let drawn = 0;
  const draw = () => {
    drawn = 0;
    const follows = atEnd();
    view.show(asking !== null);
    if (follows) follow();
  };
  view.show(true);
  show();
  follow();
  keep();
  say("Answering.");
  try {
    await answer(turn, request, asking.signal, () => (drawn ||= requestAnimationFrame(draw)));
  } catch (error) {
    trouble(turn, error);
  }
  cancelAnimationFrame(drawn);
  asking = null;
  draw();
  show();
  keep();
  heard(turn.release);
  say(turn.error ? "" : [turn.answer, note(turn)].filter(Boolean).join(" "));
}

function trouble(turn, error) {
  if (error.name === "AbortError") {
    turn.finish = "stopped";
  } else if (error instanceof Unreachable) {
    turn.finish = turn.answer ? "broken" : "";
    turn.error = { text: error.message };
    waitForIt();
  } else if (error instanceof Refused) {
    refused(turn, error);
  } else throw error;
}

function refused(turn, error) {
  const { status, message, code, retryAfter } = error;
  turn.error = { text: message };
  if (status === 401) keyDialog.ask(message, () => again(turn));
  else if (status === 429) turn.error = { text: `${message}.`, until: Date.now() + Math.max(1, retryAfter) * 1000 };
  else if (code === "context_length_exceeded") turn.error = { text: `${message}. A new conversation, or a shorter question, has room.` };
}

function again(turn) {
  const view = views.at(-1);
  if (asking || view?.turn !== turn) return;
  const fresh = made(asked(turn.question, turn.context));
  view.element.replaceWith(fresh.element);
  views[views.length - 1] = fresh;
  question.focus();
  run(fresh);
}

function send() {
  const text = question.value.trim();
  if (!text || asking || !product) return;
  if (controls.wrong) {
    panel(true);
    controls.wrong.reportValidity();
    return;
  }
  question.value = "";
  grow(question);
  run(add(asked(text, product.reads_context ? context.value.trim() : "")));
}

// the endpoint, the key

async function meet() {
  try {
    const response = await call("v1/product");
    heard(releaseOf(response));
    const first = product === null;
    product = await response.json();
    find("context-box").hidden = !product.reads_context;
    controls.limit(product.limits.output_tokens);
    if (first) welcome();
    banner("");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      find("about").textContent = "It asks for a key first.";
      keyDialog.ask(error.message, meet);
    } else {
      find("about").textContent = error.message;
      if (error instanceof Unreachable) waitForIt();
    }
  }
  find("key-open").hidden = !key.get() && product !== null;
}

function welcome() {
  document.title = product.id;
  find("name").textContent = product.id;
  find("about").textContent =
    "The endpoint answers as it answers programs. This browser remembers the conversation until you begin a new one; the endpoint may journal it.";
  const { turns, controls: values, context: given } = recall(product.id);
  controls.set(values);
  context.value = given;
  find("context-box").open = Boolean(given);
  for (const turn of turns) add(turn);
  show();
  follow();
}

let waiting = false;
async function waitForIt() {
  if (waiting) return;
  waiting = true;
  banner("The endpoint cannot be reached. Looking for it again every two seconds…");
  for (;;) {
    await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
    if (document.hidden) continue;
    try {
      heard(releaseOf(await call("health")));
      break;
    } catch (error) {
      if (error instanceof Refused) break; // it says no, but it is there
    }
  }
  waiting = false;
  banner("");
  say("The endpoint is back.");
  if (!product) meet();
}

const keyDialog = new KeyDialog(() => {
  find("key-open").hidden = !key.get();
  load.watch(!find("panel").hidden);
});
find("key-open").addEventListener("click", () => keyDialog.ask("", () => product || meet()));

// the panel

const controls = new Controls(find("controls"), (now) => {
  find("changed").textContent = now.summary;
  find("reset").disabled = !now.summary;
  keep();
});
const load = new Load(find("charts"), find("load-word"), (response) => heard(releaseOf(response)));

const wide = matchMedia("(min-width: 64rem)");

function panel(open) {
  find("panel").hidden = !open;
  find("panel-toggle").setAttribute("aria-expanded", String(open));
  document.querySelector("main").inert = open && !wide.matches; // where there is no room beside it, it covers the conversation
  load.watch(open);
}

find("panel-toggle").addEventListener("click", () => {
  panel(find("panel").hidden);
  if (document.querySelector("main").inert) find("panel").focus();
});
wide.addEventListener("change", () => panel(wide.matches));
find("reset").addEventListener("click", () => controls.reset());
find("clear").addEventListener("click", () => {
  find("conversation").replaceChildren();
  views = [];
  keep();
  show();
  say("A new conversation.");
  question.focus();
});

// the keyboard

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (asking) asking.abort();
  else send();
});
find("send").addEventListener("click", (event) => {
  if (event.detail > 1) event.preventDefault(); // the second click of two would stop what the first one asked
});
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || keyDialog.open) return;
  if (document.querySelector("main").inert) {
    panel(false);
    find("panel-toggle").focus();
  } else asking?.abort();
});
question.addEventListener("input", () => grow(question));
context.addEventListener("input", keep);
addEventListener("pagehide", keep);

panel(wide.matches);
if (matchMedia("(hover: hover)").matches) question.focus();
meet();
