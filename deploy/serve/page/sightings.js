// What this tab has seen of a stream's objects: the newest record of each, and when it was
// visible. Times are seconds of the stream's clock.

const KEEP_S = 15 * 60; // the longest span that the timeline shows
const MOST_OBJECTS = 200;
const MOST_SPANS = 120; // per object: one that flickers must not fill the tab
const JOIN_S = 1.0; // sightings closer than this are one span, and those of frames one after the
const GAP_S = 10.0; // other, unless the stream stood still for longer than this

export class Sightings {
  constructor() {
    this.clear();
  }

  clear() {
    this.objects = new Map();
    this.now = 0;
    this.run = null;
  }

  // A twin's message: objects with id, label, color, state, box, confidence and depth.
  take(twin) {
    const run = `${twin.run ?? 0} ${twin.width}x${twin.height}`;
    if (twin.timestamp_s + 1 < this.now || run !== (this.run ?? run)) this.clear(); // ids begin anew
    this.run = run;
    const before = this.now;
    this.now = Math.max(this.now, twin.timestamp_s);
    const here = new Set(twin.objects.map((object) => object.id));
    for (const known of this.objects.values()) {
      if (!here.has(known.id)) known.state = "left";
    }
    for (const object of twin.objects) this.#see(object, twin.timestamp_s, before);
    this.#prune();
  }

  // What the server recorded before this tab watched: one row per object and frame, oldest
  // first. Rows of earlier runs, whose ids mean other objects, are left out.
  learnRows(rows) {
    const run = rows.at(-1)?.run;
    const spans = new Map();
    let [before, time] = [0, 0]; // of the frame before, and of this one
    for (const row of rows) {
      if (row.run === run && row.timestamp_s > time) [before, time] = [time, row.timestamp_s];
      if (row.run !== run || row.state !== "visible") continue;
      const list = spans.get(row.id) ?? [];
      const at = row.timestamp_s;
      const start = this.objects.get(row.id)?.spans[0]?.[0] ?? Number.POSITIVE_INFINITY;
      if (at > start) continue; // seen live by now
      const last = list.at(-1);
      if (last && joined(last[1], at, before)) last[1] = at;
      else list.push([at, at]);
      spans.set(row.id, list.slice(-MOST_SPANS));
      if (!this.objects.has(row.id)) this.#meet(row, at);
      this.now = Math.max(this.now, at);
    }
    for (const [id, list] of spans) {
      const known = this.objects.get(id);
      const first = known.spans[0];
      if (first && first[0] - list.at(-1)[1] <= JOIN_S) first[0] = list.pop()[0];
      known.spans.unshift(...list);
      known.first = Math.min(known.first, known.spans[0][0]);
      known.last = Math.max(known.last, known.spans.at(-1)[1]);
    }
    this.#prune();
  }

  // Objects of the server's window, where nothing better is known of them.
  learn(records) {
    for (const record of records) {
      const known = this.objects.get(record.id);
      const colour = record.attributes?.color ?? "";
      const { first_seen: first, last_seen: last } = record;
      if (!known) {
        const object = { ...record, label: record.semantic_label, color: colour };
        this.objects.set(record.id, { ...object, first, last, spans: [[first, last]] });
      } else {
        known.first = Math.min(known.first, first);
        known.color ||= colour; // stored rows do not have it
      }
    }
    this.#prune();
  }

  get(id) {
    return this.objects.get(id);
  }

  list() {
    return [...this.objects.values()];
  }

  #meet(row, at) {
    const { id, label, state, confidence, mean_depth, box_xyxy } = row;
    const object = { id, label, state, confidence, mean_depth, box_xyxy };
    this.objects.set(id, { ...object, color: "", first: at, last: at, spans: [] });
  }

  #see(object, now, before) {
    const known = this.objects.get(object.id) ?? { first: now, last: now, spans: [] };
    Object.assign(known, object);
    if (object.state === "visible") {
      known.last = now;
      const span = known.spans.at(-1);
      if (span && joined(span[1], now, before)) span[1] = now;
      else known.spans.push([now, now]);
      if (known.spans.length > MOST_SPANS) known.spans.shift();
    }
    this.objects.set(object.id, known);
  }

  #prune() {
    const oldest = this.now - KEEP_S;
    for (const [id, object] of this.objects) {
      while (object.spans.length && object.spans[0][1] < oldest) object.spans.shift();
      if (object.last < oldest) this.objects.delete(id);
    }
    if (this.objects.size <= MOST_OBJECTS) return;
    const byAge = this.list().sort((a, b) => a.last - b.last);
    for (const object of byAge.slice(0, this.objects.size - MOST_OBJECTS)) {
      this.objects.delete(object.id);
    }
  }
}

function joined(last, now, before) {
  return now - last <= JOIN_S || (last >= before && now - last <= GAP_S);
}
