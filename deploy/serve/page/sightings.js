// What this tab has seen of a stream's objects: the newest record of each, and when it was
// visible. Times are seconds of the stream's clock.

const KEEP_S = 15 * 60; // the longest span that the timeline shows
const MOST_OBJECTS = 200;
const MOST_SPANS = 120; // per object: one that flickers must not fill the tab
const JOIN_S = 1.0; // sightings closer than this are one span: frames may be skipped

export class Sightings {
  constructor() {
    this.clear();
  }

  clear() {
    this.objects = new Map();
    this.now = 0;
    this.since = null; // when this tab began to watch
  }

  // A twin's message: objects with id, label, color, state, box, confidence and depth.
  take(twin) {
    if (twin.timestamp_s + 1 < this.now) this.clear(); // the stream began anew
    this.now = Math.max(this.now, twin.timestamp_s);
    this.since ??= twin.timestamp_s;
    for (const object of twin.objects) this.#see(object, twin.timestamp_s);
    this.#prune();
  }

  // Records of the server's window, for what was there before this tab was.
  learn(records) {
    for (const record of records) {
      const known = this.objects.get(record.id);
      const first = record.first_seen ?? this.now;
      const last = record.last_seen ?? first;
      if (known) {
        known.first = Math.min(known.first, first);
        if (!known.learnt) known.spans.unshift([first, Math.min(last, known.spans[0]?.[0] ?? last)]);
        known.learnt = true;
        continue;
      }
      this.objects.set(record.id, {
        ...record,
        label: record.label ?? record.semantic_label,
        color: record.color ?? record.attributes?.color ?? "",
        first,
        last,
        spans: [[first, last]],
        learnt: true,
      });
    }
    this.#prune();
  }

  get(id) {
    return this.objects.get(id);
  }

  list() {
    return [...this.objects.values()];
  }

  #see(object, now) {
    const known = this.objects.get(object.id) ?? { first: now, last: now, spans: [] };
    Object.assign(known, object);
    if (object.state === "visible") {
      known.last = now;
      const span = known.spans.at(-1);
      if (span && now - span[1] <= JOIN_S) span[1] = now;
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
