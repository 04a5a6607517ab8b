// What the endpoint does now, drawn from its /metrics while somebody looks.

import { el, svg } from "./dom.js";
import { call, Refused } from "./endpoint.js";

const EVERY_MS = 2000;
const KEPT = 60; // samples: two minutes
const WINDOW = 15; // samples over which percentiles are taken: half a minute
const SMOOTH = 3; // samples over which a rate is taken
const WIDTH = 240;
const HEIGHT = 44;

const whole = (value) => String(Math.round(value));
export const rate = (value) => (value < 99.95 ? value.toFixed(1) : value.toLocaleString("en", { maximumFractionDigits: 0 }));
const share = (value) => `${Math.round(value * 100)} %`;
export const seconds = (value) => {
  if (value < 0.0995) return `${(value * 1000).toPrecision(2)} ms`;
  return value < 0.9995 ? `${Math.round(value * 1000)} ms` : `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
};

/** A chart: its lines, each from the samples so far; `least` is the smallest height of its scale. */
const CHARTS = [
  { title: "Requests", unit: whole, least: 4, lines: { running: gauge("vllm:num_requests_running"), waiting: gauge("vllm:num_requests_waiting") } },
  { title: "Tokens a second", unit: rate, least: 10, lines: { generated: perSecond("vllm:generation_tokens_total") } },
  { title: "First token", unit: seconds, least: 0.01, lines: percentiles("vllm:time_to_first_token_seconds") },
  { title: "Whole answer", unit: seconds, least: 0.01, lines: percentiles("vllm:e2e_request_latency_seconds") },
  {
    title: "Cache",
    unit: share,
    least: 1,
    lines: { "in use": gauge("vllm:kv_cache_usage_perc"), reused: ratio("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total") },
  },
];

function gauge(name) {
  return (samples) => samples.at(-1).values[name] ?? null;
}

function grown(samples, name, over) {
  const [from, to] = [samples.at(-1 - over) ?? samples[0], samples.at(-1)];
  return to === from || !(name in to.values) ? null : [to.values[name] - (from.values[name] ?? 0), to.time - from.time];
}

function perSecond(name) {
  return (samples) => {
    const found = grown(samples, name, SMOOTH);
    return found && found[0] / found[1];
  };
}

function ratio(part, all) {
  return (samples) => {
    const [hit, asked] = [grown(samples, part, WINDOW), grown(samples, all, WINDOW)];
    return asked?.[0] ? hit[0] / asked[0] : null;
  };
}

function percentiles(name) {
  const at = (part) => (samples) => {
    const [from, to] = [samples.at(-1 - WINDOW) ?? samples[0], samples.at(-1)];
    return to === from ? null : quantile(between(from.buckets[name] ?? [], to.buckets[name] ?? []), part);
  };
  return { p50: at(0.5), p95: at(0.95) };
}

const between = (from, to) => to.map(([bound, count], index) => [bound, count - (from[index]?.[1] ?? 0)]);

/** Cumulative buckets -> the value below which this part of them lies, as Prometheus reckons it. */
function quantile(buckets, part) {
  const rank = part * (buckets.at(-1)?.[1] ?? 0);
  if (!rank) return null;
  let [floor, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= rank) return bound === Number.POSITIVE_INFINITY ? floor : floor + ((bound - floor) * (rank - below)) / (count - below);
    [floor, below] = [bound, count];
  }
  return null;
}

/** Prometheus text -> {values: name -> number, buckets: name -> [[bound, count]]}, summed over labels. */
function parse(text) {
  const [values, buckets] = [{}, {}];
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name, labels, value] = found;
    const bound = name.endsWith("_bucket") && /(?:^|,)le="([^"]+)"/.exec(labels ?? "")?.[1];
    if (!bound) values[name] = (values[name] ?? 0) + Number(value);
    else (buckets[name.slice(0, -7)] ??= []).push([bound === "+Inf" ? Number.POSITIVE_INFINITY : Number(bound), Number(value)]);
  }
  return { values, buckets };
}

class Chart {
  constructor({ title, unit, least, lines }) {
    Object.assign(this, { unit, least, lines });
    this.history = Object.keys(lines).map(() => []);
    this.paths = this.history.map((_, index) => svg("path", { class: `line-${index}`, "vector-effect": "non-scaling-stroke" }));
    this.says = Object.keys(lines).map(() => el("span", { class: "value" }, "–"));
    this.top = el("span", { class: "muted top" });
    const legend = Object.keys(lines).map((name, index) => el("span", { class: `legend legend-${index}` }, `${name} `, this.says[index]));
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...this.paths);
    this.element = el("figure", {}, el("figcaption", {}, el("h3", {}, title), ...legend), el("div", { class: "plot" }, drawing, this.top));
  }

  add(samples) {
    Object.values(this.lines).forEach((read, index) => {
      const value = read(samples);
      this.history[index] = [...this.history[index], value].slice(-KEPT);
      this.says[index].textContent = value === null ? "–" : this.unit(value);
    });
    const highest = Math.max(this.least, ...this.history.flat().map((value) => value ?? 0));
    this.top.textContent = this.unit(highest);
    this.paths.forEach((path, index) => path.setAttribute("d", this.#drawn(this.history[index], highest)));
  }

  #drawn(history, highest) {
    const start = KEPT - history.length;
    const points = history.map((value, at) => value !== null && [((start + at) / (KEPT - 1)) * WIDTH, HEIGHT - 1.5 - (value / highest) * (HEIGHT - 3)]);
    return points.map((point, at) => point && `${points[at - 1] ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`).filter(Boolean).join("");
  }
}

export class Load {
  #charts;
  #word;
  #samples = [];
  #timer;
  #watched = false;
  #heard;

  /** `heard` gets every response, which names the release that answered. */
  constructor(place, word, heard) {
    [this.#word, this.#heard] = [word, heard];
    this.place = place;
    this.#start();
    document.addEventListener("visibilitychange", () => this.#look());
  }

  #start() {
    this.#samples = [];
    this.#charts = CHARTS.map((chart) => new Chart(chart));
    this.place.replaceChildren(...this.#charts.map((chart) => chart.element));
  }

  /** Look, or look away. */
  watch(on) {
    this.#watched = on;
    this.#look();
  }

  #look() {
    clearTimeout(this.#timer);
    if (this.#watched && !document.hidden) this.#ask();
  }

  async #ask() {
    let again = true;
    try {
      const response = await call("metrics");
      this.#heard(response);
      this.#add(parse(await response.text()));
      this.#say("");
    } catch (error) {
      again = !(error instanceof Refused && [401, 403].includes(error.status));
      this.#say(again ? "No figures now: the endpoint does not give them." : "This key may not read the figures.");
    }
    clearTimeout(this.#timer);
    if (again && this.#watched && !document.hidden) this.#timer = setTimeout(() => this.#ask(), EVERY_MS);
  }

  #add({ values, buckets }) {
    const last = this.#samples.at(-1)?.values;
    // A counter that fell belongs to another process: what was drawn stays, what is reckoned begins anew.
    const began = last && Object.entries(last).some(([name, value]) => name.endsWith("_total") && (values[name] ?? 0) < value);
    if (began) this.#samples = [];
    this.#samples = [...this.#samples, { time: performance.now() / 1000, values, buckets }].slice(-KEPT);
    for (const chart of this.#charts) chart.add(this.#samples);
  }

  #say(word) {
    this.#word.textContent = word;
    this.#word.hidden = !word;
    this.place.hidden = Boolean(word);
  }
}
