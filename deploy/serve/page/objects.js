// The table of objects: sortable by its headings, one row per object, kept in place so that the
// keyboard's focus stays where it is while numbers change.

import { byId, el, hueOf, nameOf, seconds, setAttribute, setText } from "./dom.js";

const STATES = { visible: "visible", occluded: "hidden", left: "gone" };
const ORDER = { visible: 0, occluded: 1, left: 2 };

const KEYS = {
  id: (o) => o.id,
  name: (o) => nameOf(o),
  state: (o) => ORDER[o.state] ?? 3,
  depth: (o) => o.mean_depth ?? Number.POSITIVE_INFINITY,
  sure: (o) => -(o.confidence ?? 0),
  last: (o) => -o.last,
};

export class ObjectTable {
  constructor(sightings, chosen) {
    this.sightings = sightings;
    this.chosen = chosen;
    this.body = byId("object-rows");
    this.rows = new Map();
    this.by = "state";
    this.down = 1;
    this.selected = null;
    for (const heading of byId("object-table").querySelectorAll("th button")) {
      heading.addEventListener("click", () => this.#sort(heading.dataset.by));
    }
  }

  clear() {
    this.rows.clear();
    this.body.replaceChildren();
  }

  select(id) {
    this.selected = id;
    this.update();
  }

  update() {
    const key = KEYS[this.by];
    const list = this.sightings.list().sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = typeof x === "string" ? x.localeCompare(y) : x - y;
      return (order || 0) * this.down || a.id - b.id;
    });
    const known = new Set(list.map((object) => object.id));
    for (const [id, row] of this.rows) {
      if (!known.has(id)) {
        row.line.remove();
        this.rows.delete(id);
      }
    }
    list.forEach((object, place) => this.#fill(object, place));
    setText(byId("object-count"), list.filter((o) => o.state === "visible").length);
    byId("objects-empty").hidden = list.length > 0;
  }

  #fill(object, place) {
    let row = this.rows.get(object.id);
    if (!row) {
      row = this.#newRow(object.id);
      this.rows.set(object.id, row);
    }
    if (this.body.children[place] !== row.line) this.#move(row.line, place);
    setText(row.id, `#${object.id}`);
    setText(row.name, nameOf(object));
    setText(row.state, STATES[object.state] ?? object.state);
    setAttribute(row.state, "class", `state ${STATES[object.state] ? object.state : ""}`);
    setText(row.depth, Number.isFinite(object.mean_depth) ? object.mean_depth.toFixed(2) : "–");
    const sure = object.confidence;
    setText(row.sure, Number.isFinite(sure) ? `${Math.round(sure * 100)} %` : "–");
    const past = Math.max(0, this.sightings.now - object.last);
    setText(row.last, past < 1.5 ? "now" : `−${past < 60 ? `${Math.round(past)} s` : seconds(past)}`);
    row.line.classList.toggle("selected", object.id === this.selected);
    setAttribute(row.pick, "aria-pressed", object.id === this.selected);
  }

  // Moving a row takes the focus from it: give it back.
  #move(line, place) {
    const focused = line.contains(document.activeElement) ? document.activeElement : null;
    this.body.insertBefore(line, this.body.children[place] ?? null);
    focused?.focus();
  }

  #newRow(id) {
    const dot = el("span.dot", { "aria-hidden": "true" });
    dot.style.setProperty("--hue", hueOf(id));
    const name = el("span", {});
    const number = el("span.number", {});
    const pick = el("button.pick", { type: "button" }, dot, number, name);
    pick.addEventListener("click", () => this.chosen(id === this.selected ? null : id));
    const cell = () => el("td.figure", {});
    const row = { pick, name, id: number, depth: cell(), sure: cell(), last: cell() };
    row.state = el("span", {});
    const state = el("td", {}, row.state);
    row.line = el("tr", { "data-object": id }, el("th", { scope: "row" }, pick), state, row.depth);
    row.line.append(row.sure, row.last);
    row.line.addEventListener("click", (event) => {
      if (!event.target.closest("button")) this.chosen(id === this.selected ? null : id);
    });
    return row;
  }

  #sort(by) {
    this.down = this.by === by ? -this.down : 1;
    this.by = by;
    for (const heading of byId("object-table").querySelectorAll("th[aria-sort]")) {
      heading.setAttribute("aria-sort", "none");
    }
    const heading = byId("object-table").querySelector(`button[data-by="${by}"]`).closest("th");
    heading.setAttribute("aria-sort", this.down > 0 ? "ascending" : "descending");
    this.update();
  }
}
