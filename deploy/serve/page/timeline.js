// When each object was visible, over the last seconds or minutes, with the events on top.

import { byId, clock, el, hueOf, nameOf, seconds, setAttribute, setText } from "./dom.js";

const MOST_ROWS = 40; // of objects, the ones seen last
const MOST_MARKS = 60;
const TICKS = 4;

export class Timeline {
  // opened(event) when a mark is clicked.
  constructor(sightings, chosen, opened) {
    this.sightings = sightings;
    this.chosen = chosen;
    this.opened = opened;
    this.rows = new Map();
    this.marks = new Map();
    this.events = [];
    this.selected = null;
    this.span = 60;
    this.place = byId("timeline-rows");
    byId("timeline-span").addEventListener("change", (event) => {
      this.span = Number(event.target.value);
      this.update();
    });
  }

  clear() {
    this.rows.clear();
    this.marks.clear();
    this.place.replaceChildren();
    byId("timeline-marks").replaceChildren();
    this.cursor(null);
  }

  setEvents(events) {
    this.events = events.slice(0, MOST_MARKS);
    this.update();
  }

  select(id) {
    this.selected = id;
    this.update();
  }

  // A line at a moment of the stream's clock; widens the span if it lies before it.
  cursor(timestampS) {
    this.at = timestampS;
    const select = byId("timeline-span");
    if (timestampS !== null && this.sightings.now - timestampS > this.span) {
      const wide = [...select.options].find((o) => Number(o.value) >= this.sightings.now - timestampS);
      if (wide) {
        select.value = wide.value;
        this.span = Number(wide.value);
      }
    }
    this.update();
  }

  update() {
    const { now } = this.sightings;
    const list = this.sightings.list();
    const shown = list.filter((o) => o.last >= now - this.span);
    shown.sort((a, b) => a.id - b.id);
    const kept = shown.slice(-MOST_ROWS);
    const ids = new Set(kept.map((o) => o.id));
    for (const [id, row] of this.rows) {
      if (!ids.has(id)) {
        row.line.remove();
        this.rows.delete(id);
      }
    }
    kept.forEach((object, place) => this.#fill(object, place, now));
    this.#fillMarks(now);
    this.#fillTicks();
    const line = byId("timeline-cursor");
    const left = this.at === null || this.at === undefined ? -1 : this.#left(this.at, now);
    line.hidden = left < 0;
    if (left >= 0) line.style.setProperty("--at", left / 100);
    byId("timeline-empty").hidden = kept.length > 0;
  }

  #left(time, now) {
    return ((time - (now - this.span)) / this.span) * 100;
  }

  #fill(object, place, now) {
    let row = this.rows.get(object.id);
    if (!row) {
      row = this.#newRow(object.id);
      this.rows.set(object.id, row);
    }
    if (this.place.children[place] !== row.line) {
      this.place.insertBefore(row.line, this.place.children[place] ?? null);
    }
    setText(row.name, `#${object.id} ${nameOf(object)}`);
    row.line.classList.toggle("selected", object.id === this.selected);
    const start = now - this.span;
    const spans = object.spans.filter(([, end]) => end >= start);
    let total = 0;
    while (row.track.childElementCount > spans.length) row.track.lastElementChild.remove();
    spans.forEach(([from, to], i) => {
      if (!row.track.children[i]) row.track.append(el("span.bar"));
      const left = Math.max(0, this.#left(from, now));
      const width = Math.max(0.4, this.#left(to, now) - left);
      total += Math.max(0, to - Math.max(from, start));
      row.track.children[i].style.left = `${left}%`;
      row.track.children[i].style.width = `${width}%`;
    });
    const text = `${nameOf(object)}, number ${object.id}: visible for ${seconds(total)} of the last ${seconds(this.span)}`;
    setAttribute(row.pick, "aria-label", text);
    setAttribute(row.pick, "aria-pressed", object.id === this.selected);
  }

  #newRow(id) {
    const name = el("span", {});
    const pick = el("button.pick", { type: "button" }, name);
    pick.addEventListener("click", () => this.chosen(id === this.selected ? null : id));
    const track = el("span.track", { "aria-hidden": "true" });
    track.style.setProperty("--hue", hueOf(id));
    return { line: el("li", { "data-object": id }, pick, track), pick, name, track };
  }

  #fillMarks(now) {
    const place = byId("timeline-marks");
    const shown = new Set();
    for (const event of this.events) {
      const left = this.#left(event.timestamp_s, now);
      if (left < 0 || left > 100) continue;
      shown.add(event.id);
      let mark = this.marks.get(event.id);
      if (!mark) {
        const text = `Event at ${clock(event.at)}: ${event.question}`;
        mark = el("button.mark", { type: "button", "aria-label": text, title: text });
        mark.addEventListener("click", () => this.opened(event));
        this.marks.set(event.id, mark);
        place.append(mark);
      }
      mark.style.left = `${left}%`;
    }
    for (const [id, mark] of this.marks) {
      if (!shown.has(id)) {
        mark.remove();
        this.marks.delete(id);
      }
    }
    byId("timeline-events").hidden = this.marks.size === 0;
  }

  #fillTicks() {
    const place = byId("timeline-ticks");
    if (place.dataset.span === String(this.span)) return;
    place.dataset.span = this.span;
    place.replaceChildren(
      ...Array.from({ length: TICKS + 1 }, (_none, i) => {
        const past = this.span * (1 - i / TICKS);
        return el("span", {}, past ? `−${past < 60 ? `${Math.round(past)} s` : `${+(past / 60).toFixed(2)} min`}` : "now");
      }),
    );
  }
}
