// Elements made of names and text. Nothing in this page parses HTML, and its content security policy forbids it.

export const find = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const SHAPES = {
  copy: "M6 6h7v7H6zM3 10V3h7",
  again: "M12.5 4v3h-3M12.2 7A4.8 4.8 0 1 0 12.6 9.5",
  up: "M2.5 7h2.5v6H2.5zM5 7.5l2.5-5c1 0 1.7.7 1.5 1.7L8.5 6.5h3.7c.8 0 1.4.7 1.2 1.5l-.9 4c-.1.6-.6 1-1.2 1H5",
  down: "M2.5 9h2.5V3H2.5zM5 8.5l2.5 5c1 0 1.7-.7 1.5-1.7L8.5 9.5h3.7c.8 0 1.4-.7 1.2-1.5l-.9-4c-.1-.6-.6-1-1.2-1H5",
  pen: "M3 13l.7-2.8L10.5 3.4l2.1 2.1-6.8 6.8L3 13z",
};

export const icon = (name) => svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, svg("path", { d: SHAPES[name] }));

export function iconButton(name, label, onclick, attributes = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without TLS, and away from localhost, browsers keep the clipboard to themselves; this older way still works there.
  const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus();
}

export function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}
