// Building elements. Labels, answers and messages come from outside: they only ever become text
// nodes or attribute values here, never markup.

const SVG = "http://www.w3.org/2000/svg";

// el("button.small", {type: "button", "aria-label": "Close", on: {click}}, "text", child, …)
export function el(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return finish(document.createElement(tag), classes, props, children);
}

export function svg(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return finish(document.createElementNS(SVG, tag), classes, props, children);
}

function finish(node, classes, props, children) {
  if (classes.length) node.classList.add(...classes);
  for (const [key, value] of Object.entries(props)) {
    if (key === "on") {
      for (const [event, heard] of Object.entries(value)) node.addEventListener(event, heard);
    } else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(key, String(value));
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

// Set text only where it differs, so that selections and screen readers are left in peace.
export function setText(node, text) {
  const value = String(text);
  if (node.textContent !== value) node.textContent = value;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Say something to a screen reader, politely; what came just before is not cut off by it.
export function announce(text) {
  const place = byId("announcer");
  place.append(el("p", {}, String(text).slice(0, 500)));
  while (place.childElementCount > 4) place.firstElementChild.remove();
}

// A line at the edge of the window that goes away by itself. At most three at a time.
export function toast(text, kind = "info") {
  const place = byId("toasts");
  while (place.childElementCount > 2) place.firstElementChild.remove();
  const line = el(`div.toast.${kind}`, {}, String(text).slice(0, 400));
  const close = el("button.icon", { type: "button", "aria-label": "Dismiss" }, "×");
  close.addEventListener("click", () => line.remove());
  line.append(close);
  place.append(line);
  setTimeout(() => line.remove(), kind === "error" ? 12_000 : 6_000);
}

// The colour of an object on this page: by the golden ratio, so that neighbours in id differ.
export function hueOf(id) {
  return Math.round((id * 0.618034 * 360) % 360);
}

export function colourOf(id) {
  return `hsl(${hueOf(id)} 85% 62%)`;
}

export function nameOf(object) {
  const colour = object.color ?? object.attributes?.color ?? "";
  const label = object.label ?? object.semantic_label ?? "object";
  return [colour, label].filter(Boolean).join(" ");
}

export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const [hours, minutes, rest] = parts;
  const pad = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)} min`;
}

export function ago(unix) {
  const past = Math.max(0, Date.now() / 1000 - unix);
  return past < 2 ? "now" : `${past < 60 ? `${Math.round(past)} s` : seconds(past)} ago`;
}

export function clock(unix) {
  return new Date(unix * 1000).toLocaleTimeString();
}

export function milliseconds(value) {
  if (!Number.isFinite(value)) return "–";
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}
