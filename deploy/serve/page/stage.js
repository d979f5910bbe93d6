// The picture: frames on a canvas, and over it one SVG shape per visible object, which can be
// pointed at, clicked, and reached by keyboard (one tab stop, then the arrow keys).

import { byId, colourOf, nameOf, setAttribute, setText, svg } from "./dom.js";
import { maskPath } from "./rle.js";

const TWINS = 16; // newest twins kept to find the one of the frame on show
const MOST_OBJECTS = 200; // shapes drawn at once
const LETTER_PX = 12.5;

export class Stage {
  // chosen(id or null) when a person picks an object.
  constructor(chosen) {
    this.chosen = chosen;
    this.canvas = byId("canvas");
    this.overlay = byId("overlay");
    this.layer = byId("shapes");
    this.ghosts = byId("ghosts");
    this.tags = byId("tags"); // over all shapes, so that none crosses a name
    this.trail = byId("trail");
    this.shapes = new Map();
    this.show = { masks: true, labels: true };
    this.clear();
    this.#listen();
  }

  // Forget a stream, before another one is shown.
  clear() {
    this.twins = [];
    this.twin = null;
    this.index = null;
    this.frames = 0;
    this.paused = false;
    this.selected = null;
    this.focusId = null;
    this.highlight = null;
    this.shapes.clear();
    this.layer.replaceChildren();
    this.tags.replaceChildren();
    this.ghosts.replaceChildren();
    this.trail.removeAttribute("points");
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  frame(bitmap, index) {
    if (this.paused) return;
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.index = index;
    this.frames += 1;
    this.canvas.dataset.frames = this.frames;
    this.#sync();
  }

  take(twin) {
    const last = this.twins.at(-1);
    if (last && twin.index < last.index) this.twins = []; // the stream began anew
    this.twins.push(twin);
    if (this.twins.length > TWINS) this.twins.shift();
    if (!this.paused) this.#sync();
  }

  // Objects to stand out: {ids, colour, masks: {id: RLE}} or null.
  setHighlight(highlight) {
    this.highlight = highlight;
    this.overlay.classList.toggle("answered", Boolean(highlight));
    this.#draw();
  }

  select(id) {
    this.selected = id;
    this.trail.removeAttribute("points");
    this.#draw();
  }

  // Where the selected object was: [[t, x, y], …], pixels of the frame.
  setPath(points) {
    if (this.selected === null || points.length < 2) {
      this.trail.removeAttribute("points");
      return;
    }
    this.trail.setAttribute("points", points.map(([, x, y]) => `${x},${y}`).join(" "));
    this.trail.setAttribute("stroke", colourOf(this.selected));
  }

  setShow(name, value) {
    this.show[name] = value;
    this.overlay.classList.toggle(`no-${name}`, !value);
    this.#draw();
  }

  #sync() {
    if (!this.twins.length) return;
    let best = this.twins.at(-1);
    if (this.index !== null) {
      const until = this.twins.filter((twin) => twin.index <= this.index);
      best = until.at(-1) ?? this.twins[0];
    }
    if (best === this.twin) return;
    this.twin = best;
    this.#draw();
  }

  #draw() {
    const twin = this.twin;
    if (!twin) return;
    const width = twin.width ?? this.canvas.width;
    const height = twin.height ?? this.canvas.height;
    setAttribute(this.overlay, "viewBox", `0 0 ${width} ${height}`);
    const box = this.overlay.getBoundingClientRect();
    this.unit = Math.max(width / (box.width || width), height / (box.height || height));
    const seen = new Set();
    const taken = [];
    const objects = twin.objects.filter((o) => o.state === "visible").slice(0, MOST_OBJECTS);
    objects.sort((a, b) => areaOf(b) - areaOf(a)); // small ones on top, where they can be hit
    for (const object of objects) {
      seen.add(object.id);
      this.#drawObject(object, width, taken);
    }
    for (const [id, shape] of this.shapes) {
      if (!seen.has(id)) {
        shape.group.remove();
        shape.tag.remove();
        this.shapes.delete(id);
      }
    }
    this.#rove();
    this.#drawGhosts(seen);
  }

  #drawObject(object, width, taken) {
    let shape = this.shapes.get(object.id);
    if (!shape) {
      shape = newShape(object.id);
      this.shapes.set(object.id, shape);
      this.layer.append(shape.group);
      this.tags.append(shape.tag);
    }
    const marked = this.highlight?.ids.has(object.id) ?? false;
    const colour = marked ? this.highlight.colour : colourOf(object.id);
    for (const node of [shape.group, shape.tag]) {
      node.style.setProperty("--object", colour);
      node.classList.toggle("marked", marked);
      node.classList.toggle("selected", object.id === this.selected);
    }
    setAttribute(shape.group, "aria-pressed", object.id === this.selected);
    setAttribute(shape.group, "aria-label", `${nameOf(object)}, number ${object.id}`);
    setAttribute(shape.area, "d", outlinePath(object));
    this.#drawTag(shape, object, width, taken);
  }

  #drawTag(shape, object, width, taken) {
    const size = LETTER_PX * this.unit;
    const name = `${object.id} ${nameOf(object)}`;
    setText(shape.text, name);
    const wide = (name.length * (shape.group.matches(".marked") ? 0.62 : 0.57) + 0.9) * size;
    const tall = size * 1.45;
    const x = Math.max(0, Math.min(object.box_xyxy[0], width - wide));
    let y = Math.max(0, object.box_xyxy[1] - tall - size * 0.2);
    for (let tries = 0; tries < 6; tries += 1) { // off the plates that are there
      const other = taken.find((p) => x < p[2] && p[0] < x + wide && y < p[3] && p[1] < y + tall);
      if (!other) break;
      y = other[3] + size * 0.1;
    }
    taken.push([x, y, x + wide, y + tall]);
    setAttribute(shape.plate, "x", x);
    setAttribute(shape.plate, "y", y);
    setAttribute(shape.plate, "width", wide);
    setAttribute(shape.plate, "height", tall);
    setAttribute(shape.plate, "rx", size * 0.3);
    setAttribute(shape.text, "x", x + size * 0.45);
    setAttribute(shape.text, "y", y + size * 1.05);
    setAttribute(shape.text, "font-size", size);
  }

  // What an answer names and this frame does not show: the mask it was last seen with.
  #drawGhosts(seen) {
    const masks = this.highlight?.masks ?? {};
    const wanted = [...(this.highlight?.ids ?? [])].filter((id) => !seen.has(id) && masks[id]);
    const key = wanted.join(",");
    if (this.ghosts.dataset.ids === key && this.ghostsOf === this.highlight) return;
    this.ghosts.dataset.ids = key;
    this.ghostsOf = this.highlight;
    this.ghosts.replaceChildren(
      ...wanted.slice(0, 32).map((id) => {
        const path = svg("path", { d: maskPath(masks[id]) });
        const text = svg("text", { "font-size": LETTER_PX * this.unit }, `${id}, last seen here`);
        const group = svg("g.ghost", { "data-id": id }, path, text);
        group.style.setProperty("--object", this.highlight.colour);
        return group;
      }),
    );
    for (const group of this.ghosts.children) {
      const box = group.firstChild.getBBox();
      const wide = group.lastChild.getBBox().width;
      setAttribute(group.lastChild, "x", Math.max(0, Math.min(box.x, this.twin.width - wide)));
      setAttribute(group.lastChild, "y", Math.max(LETTER_PX * this.unit, box.y - 3 * this.unit));
    }
  }

  #rove() {
    const ids = this.#order();
    if (!ids.includes(this.focusId)) this.focusId = ids.includes(this.selected) ? this.selected : ids[0];
    for (const [id, shape] of this.shapes) {
      setAttribute(shape.group, "tabindex", id === this.focusId ? 0 : -1);
    }
  }

  #order() {
    return [...this.shapes.keys()].sort((a, b) => a - b);
  }

  #listen() {
    const idOf = (event) => Number(event.target.closest("[data-id]")?.dataset.id) || null;
    this.layer.addEventListener("click", (event) => {
      const id = idOf(event);
      if (id !== null) this.chosen(id === this.selected ? null : id);
      event.stopPropagation();
    });
    this.overlay.addEventListener("click", () => this.chosen(null));
    this.layer.addEventListener("focusin", (event) => {
      this.focusId = idOf(event);
    });
    this.layer.addEventListener("keydown", (event) => this.#key(event, idOf(event)));
    new ResizeObserver(() => this.#draw()).observe(this.overlay);
  }

  #key(event, id) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      const ids = this.#order();
      const next = ids[(ids.indexOf(id) + step + ids.length) % ids.length];
      this.focusId = next;
      this.#rove();
      this.shapes.get(next)?.group.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      this.chosen(id === this.selected ? null : id);
    } else if (event.key === "Escape") {
      this.chosen(null);
    } else return;
    event.preventDefault();
  }
}

function newShape(id) {
  const area = svg("path.area");
  const plate = svg("rect.plate");
  const text = svg("text.name");
  const tag = svg("g.tag", {}, plate, text);
  const group = svg("g.object", { role: "button", "data-id": id, tabindex: -1 }, area);
  const near = (on) => () => tag.classList.toggle("near", on);
  group.addEventListener("pointerenter", near(true));
  group.addEventListener("pointerleave", near(false));
  group.addEventListener("focus", near(true));
  group.addEventListener("blur", near(false));
  return { group, area, tag, plate, text };
}

function areaOf(object) {
  const [x0, y0, x1, y1] = object.box_xyxy;
  return (x1 - x0) * (y1 - y0);
}

// One ring of points or several; without any, the box.
export function outlinePath(object) {
  const outline = object.outline;
  if (!Array.isArray(outline) || !outline.length) {
    const [x0, y0, x1, y1] = object.box_xyxy;
    return `M${x0} ${y0}H${x1}V${y1}H${x0}Z`;
  }
  const rings = Array.isArray(outline[0]?.[0]) ? outline : [outline];
  return rings
    .filter((ring) => ring.length)
    .map((ring) => `M${ring.map(([x, y]) => `${x} ${y}`).join("L")}Z`)
    .join("");
}
