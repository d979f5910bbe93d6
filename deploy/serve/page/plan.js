// Plans and results in words. A plan is a list of calls such as {tool: "left_of", of: "$1"}.

import { el, nameOf, seconds } from "./dom.js";

// How a call reads; {name} is an argument, [ … ] is left out where its argument is not given.
const PHRASES = {
  find: "Find {words}",
  attribute: "Keep[ of {ids}] those whose {name} is {value}",
  left_of: "Which objects[ of {ids}] are left of {of}",
  right_of: "Which objects[ of {ids}] are right of {of}",
  above: "Which objects[ of {ids}] are above {of}",
  below: "Which objects[ of {ids}] are below {of}",
  in_front_of: "Which objects[ of {ids}] are in front of {of}",
  behind: "Which objects[ of {ids}] are behind {of}",
  nearest: "The[ {k}] nearest[ of {ids}] to {to}",
  farthest: "The[ {k}] farthest[ of {ids}] from {to}",
  extreme: "The {by} one[ of {ids}]",
  inside: "Which objects[ of {ids}] are inside {of}",
  on: "Which objects[ of {ids}] rest on {of}",
  distance: "Distance between {a} and {b}[ ({space})]",
  size: "Size of {ids}",
  appeared: "Which objects[ of {ids}] came into view",
  disappeared: "Which objects[ of {ids}] went out of view",
  moved: "Which objects[ of {ids}] moved[ {direction}]",
  still: "Which objects[ of {ids}] did not move",
  speed: "Peak speed of {ids}",
  fastest: "The fastest[ of {ids}]",
  path: "Path of {ids}",
  before: "Which objects[ of {ids}] {event} before {of}",
  after: "Which objects[ of {ids}] {event} after {of}",
  during: "Which objects[ of {ids}] moved while {of} moved",
  occluded_by: "Which objects[ of {ids}] were hidden behind {by}",
  first: "The first[ of {ids}] that {event}",
  last: "The last[ of {ids}] that {event}",
  visible_when: "When {ids} can be seen",
  when: "When {ids} {event}",
  and: "In both {a} and {b}",
  or: "In {a} or {b}",
  not: "All[ of {ids}] but {of}",
  count: "How many are in {ids}",
  sort: "Sort[ {ids}] by {by}",
  nth: "Number {k} of {ids}",
  detect: "Look for {words}",
  segment: "Outline what is at {point}{box}",
  zoom: "Look closer at {ids}",
  redepth: "Measure the depth of {ids} again",
  similarity: "How much {ids} look like {text}",
  propose: "Ask the eyes: {query}",
};
// Tools whose lists of numbers are no ids.
const NUMBERS = new Set(["size", "speed", "similarity", "distance", "count"]);
const MOST = 24; // of objects or values shown per step

export function phrase(step) {
  const pattern = PHRASES[step.tool];
  if (!pattern) {
    const rest = Object.entries(step).filter(([key]) => key !== "tool");
    return [step.tool, ...rest.map(([key, value]) => `${key}: ${spoken(value)}`)].join(" ");
  }
  return pattern
    .replace(/\[([^\]]*)\]/g, (_all, part) =>
      [...part.matchAll(/\{(\w+)\}/g)].every(([, name]) => step[name] !== undefined) ? part : "",
    )
    .replace(/\{(\w+)\}/g, (_all, name) => (step[name] === undefined ? "" : spoken(step[name])));
}

function spoken(value) {
  if (typeof value === "string") return value.replace(/^\$([1-8])$/, "step $1").replaceAll("_", " ");
  if (Array.isArray(value)) {
    return value.map((item) => (Number.isInteger(item) ? `#${item}` : spoken(item))).join(", ");
  }
  if (value && typeof value === "object") return JSON.stringify(value);
  return String(value);
}

// A button for an object that picks it; find(id) gives its record, or nothing.
export function chip(id, find, pick) {
  const object = find(id);
  const name = object ? nameOf(object) : "object";
  const button = el("button.chip", { type: "button", "data-object": id });
  const dot = el("span.dot", { "aria-hidden": "true" });
  dot.style.setProperty("--hue", (id * 0.618034 * 360) % 360);
  button.append(dot, `#${id} ${name}`);
  button.addEventListener("click", () => pick(id));
  return button;
}

export function resultNodes(step, value, find, pick) {
  if (value === null || value === undefined) return [el("span.muted", {}, "nothing to compute from")];
  if (typeof value === "number") return [el("strong", {}, String(round(value)))];
  if (!Array.isArray(value)) return [el("span", {}, spoken(value))];
  if (!value.length) return [el("span.muted", {}, "none")];
  const shown = value.slice(0, MOST);
  const more = value.length > MOST ? [el("span.muted", {}, `and ${value.length - MOST} more`)] : [];
  if (Array.isArray(value[0])) {
    const times = step.tool === "when" || step.tool === "visible_when";
    const texts = shown.map(([a, b]) =>
      times ? `${seconds(a)} to ${seconds(b)}` : `(${round(a)}, ${round(b)})`,
    );
    return [el("span", {}, texts.join("; ")), ...more];
  }
  if (NUMBERS.has(step.tool) || !shown.every(Number.isInteger)) {
    return [el("span", {}, shown.map(round).join(", ")), ...more];
  }
  return [...shown.map((id) => chip(id, find, pick)), ...more];
}

const round = (value) => (Number.isFinite(value) ? Math.round(value * 100) / 100 : value);

// The list of steps, each with its result where there is one.
export function planList(plan, results, find, pick) {
  const list = el("ol.plan", { "aria-label": "Plan" });
  plan.slice(0, 32).forEach((step, place) => {
    const item = el("li", {}, el("span.step", { title: JSON.stringify(step) }, phrase(step)));
    if (results && place < results.length) {
      const row = el("span.result", {}, el("span.arrow", { "aria-label": "gives" }, "→"));
      row.append(...resultNodes(step, results[place], find, pick));
      item.append(row);
    }
    list.append(item);
  });
  return list;
}
