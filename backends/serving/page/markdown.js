// A small, safe part of Markdown becomes elements: paragraphs, lists, bold, italics, code, links. Everything else stays text.

import { el } from "./dom.js";

const FENCE = /^ {0,3}```+[^`]*$/;
const FENCE_END = /^ {0,3}```+\s*$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +)(?=\S)/;
const HEADING = /^#{1,6} +(?=\S)/;
const DEEPEST = 8; // lists in lists; a line of dashes must not become a tower of them
// Spans are bounded, so that no text makes the search for their ends long.
const SPAN =
  /`([^`\n]{1,1000})`|\*\*(?=\S)([^\n]{1,1000}?)\*\*|(?<![*\w])\*(?=[^\s*])([^\n*]{1,1000}?)\*(?![*\w])|(?<!\w)_(?=\S)([^\n_]{1,1000}?)_(?!\w)|\[([^[\]\n]{1,500})\]\((https?:\/\/[^\s()<>]{1,2000})\)/g;

function spans(text) {
  const made = [];
  let end = 0;
  for (const found of text.matchAll(SPAN)) {
    const [whole, code, bold, italic, slanted, label, address] = found;
    if (found.index > end) made.push(text.slice(end, found.index));
    end = found.index + whole.length;
    if (code) made.push(el("code", {}, code));
    else if (bold) made.push(el("strong", {}, ...spans(bold)));
    else if (italic ?? slanted) made.push(el("em", {}, ...spans(italic ?? slanted)));
    else made.push(...link(label, address));
  }
  made.push(text.slice(end));
  return made;
}

function link(label, address) {
  let host;
  try {
    host = new URL(address).host;
  } catch {
    return [`[${label}](${address})`]; // it only looks like an address
  }
  // The host is shown: a label may say anything.
  const shown = el("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, ...spans(label));
  return [shown, el("span", { class: "muted" }, ` (${host})`)];
}

/** The text in blocks: [kind, lines]. Joined they are the text again, so a growing text changes its last block only. */
function blocks(lines) {
  const found = [];
  const last = () => found.at(-1);
  for (const line of lines) {
    if (last()?.[0] === "code" && !last().closed) {
      last()[1].push(line);
      last().closed = FENCE_END.test(line);
    } else if (isList(last()) && (/^ {2,}/.test(line) || line === "")) last()[1].push(line);
    else if (FENCE.test(line)) found.push(["code", [line]]);
    else if (ITEM.test(line)) {
      const kind = /\d/.test(ITEM.exec(line)[2]) ? "ol" : "ul";
      if (last()?.[0] === kind) last()[1].push(line);
      else found.push([kind, [line]]);
    } else if (line.trim() === "") found.push(["gap", [line]]);
    else if (HEADING.test(line)) found.push(["heading", [line]]);
    else if (last()?.[0] === "p") last()[1].push(line);
    else found.push(["p", [line]]);
  }
  return found;
}

const isList = (block) => block?.[0] === "ul" || block?.[0] === "ol";

function items(lines) {
  const found = [];
  const outer = ITEM.exec(lines[0])[1].length;
  for (const line of lines) {
    const mark = ITEM.exec(line);
    if (mark && mark[1].length < outer + 2) found.push({ indent: mark[0].length, lines: [line.slice(mark[0].length)] });
    else found.at(-1).lines.push(line.slice(Math.min(found.at(-1).indent, line.length - line.trimStart().length)));
  }
  return found;
}

function element([kind, lines], depth) {
  if (kind === "code") {
    const closed = lines.length > 1 && FENCE_END.test(lines.at(-1));
    return el("pre", { tabindex: "0" }, el("code", {}, lines.slice(1, closed ? -1 : undefined).join("\n")));
  }
  if (kind === "heading") return el("p", { class: "heading" }, ...spans(lines[0].replace(HEADING, "")));
  if (kind === "p") return el("p", {}, ...spans(lines.join("\n")));
  const start = kind === "ol" ? Number.parseInt(lines[0].trim(), 10) : null;
  return el(kind, { start }, ...items(lines).map((item) => el("li", {}, ...parts(item.lines, depth + 1))));
}

function parts(lines, depth) {
  if (depth > DEEPEST) return [lines.join("\n")];
  return blocks(lines).filter(([kind]) => kind !== "gap").map((block) => element(block, depth));
}

/** Show the text in `place`; blocks that are there already stay, so that a selection in them survives the next token. */
export function show(place, text) {
  const shown = (place.shown ??= []);
  const wanted = blocks(text.split(/\r?\n/)).filter(([kind]) => kind !== "gap");
  wanted.forEach((block, index) => {
    const source = block[0] + block[1].join("\n");
    if (shown[index] === source) return;
    shown[index] = source;
    const made = element(block, 0);
    if (place.children[index]) place.children[index].replaceWith(made);
    else place.append(made);
  });
  shown.length = wanted.length;
  while (place.children.length > wanted.length) place.lastElementChild.remove();
}
