// The endpoint as this page speaks to it: the key, refusals in words, an answer as it streams.

const KEY = "llmspec.key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/** The endpoint said no. */
export class Refused extends Error {
  constructor(status, said, retryAfter) {
    super(sentence(said?.message ?? `the endpoint answered ${status}`));
    this.status = status;
    this.code = said?.code ?? "";
    this.retryAfter = retryAfter;
  }
}

/** The endpoint said nothing, or stopped in the middle of it. */
export class Unreachable extends Error {}

export async function call(path, { body, signal } = {}) {
  const headers = {};
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  if (body) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable("The endpoint cannot be reached.");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw new Refused(response.status, said?.error, Number(response.headers.get("retry-after")) || 0);
}

export const releaseOf = (response) => response.headers.get("x-llmspec-release") ?? "";

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, complete] = ["", false];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") complete = true;
        else yield JSON.parse(data);
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
  } finally {
    reader.cancel().catch(() => {}); // it may be broken already: then there is nothing to cancel
  }
  if (!complete) throw new Unreachable("The connection broke off in the middle of the answer.");
}

/** Ask, and write what comes into the turn; `news` is called after each change. */
export async function answer(turn, request, signal, news) {
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const response = await call("v1/chat/completions", {
    body: { ...request, stream: true, stream_options: { include_usage: true } },
    signal,
  });
  turn.release = releaseOf(response);
  for await (const event of events(response)) {
    if (event.error) throw new Refused(500, event.error, 0);
    turn.id = event.id;
    const [choice] = event.choices;
    if (choice?.delta?.content) {
      turn.first ??= since();
      turn.answer += choice.delta.content;
    }
    if (choice?.finish_reason) {
      turn.finish = choice.finish_reason;
      turn.seconds = since();
    }
    if (event.usage) turn.usage = event.usage;
    news();
  }
}

export const feedback = (turn, said) =>
  call("v1/feedback", { body: { id: turn.id, rating: turn.rating ?? null, comment: null, correction: null, ...said } });
