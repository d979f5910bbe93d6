// The record of one object beside the picture: what it is now, where it was, how its depth ran.

import { call, listOf, streamPath } from "./api.js";
import { ago, byId, clock, el, hueOf, nameOf, seconds, setText, svg } from "./dom.js";

const REFRESH_MS = 2_000;
const MOST_POINTS = 300; // of the path that is drawn, and of the depth curve
const STILL = 0.02; // of the picture's width: a mask's edge trembles that much

export class Inspector {
  // page: {stream, sightings, stage, choose}
  constructor(page) {
    this.page = page;
    this.panel = byId("inspector");
    this.id = null;
    byId("inspector-close").addEventListener("click", () => page.choose(null));
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") page.choose(null);
    });
  }

  show(id) {
    clearTimeout(this.timer);
    this.id = id;
    this.record = {};
    this.panel.hidden = id === null;
    if (id === null) return;
    byId("inspector-path").replaceChildren();
    byId("inspector-history").replaceChildren();
    byId("inspector-dot").style.setProperty("--hue", hueOf(id));
    this.update();
    this.#load();
  }

  // What every twin says of it.
  update() {
    if (this.id === null) return;
    const object = this.page.sightings.get(this.id);
    setText(byId("inspector-name"), object ? nameOf(object) : `object ${this.id}`);
    setText(byId("inspector-id"), `#${this.id}`);
    if (object) this.#facts({ ...this.record, ...object });
  }

  async #load() {
    const { stream } = this.page;
    const id = this.id;
    try {
      const answer = await call("GET", streamPath(stream, `/objects/${id}`));
      if (this.id !== id || this.page.stream !== stream) return;
      this.record = answer.object ?? answer;
      const path = listOf(answer, "path").slice(-MOST_POINTS);
      this.page.stage.setPath(path);
      this.#drawPath(path);
      await this.#history(stream, id);
    } catch (error) {
      if (error.status === 404) this.record = {}; // gone from the window: the newest twin is all
    }
    if (this.id !== id) return;
    this.update();
    this.timer = setTimeout(() => this.#load(), REFRESH_MS);
  }

  async #history(stream, id) {
    const query = `/history?object_id=${id}&limit=${MOST_POINTS}`;
    const rows = listOf(await call("GET", streamPath(stream, query)), "rows");
    if (this.id !== id || !rows.length) return;
    this.#drawDepth(rows);
  }

  #facts(object) {
    const rows = [
      ["State", { visible: "visible", occluded: "hidden", left: "gone" }[object.state] ?? object.state],
      ["Confidence", percent(object.confidence)],
      ["Depth", depth(object)],
      ["First seen", this.#when(object.first_seen ?? object.first)],
      ["Last seen", this.#when(object.last)],
      ["Speed", speed(object.velocity)],
      ["Size", size(object)],
    ];
    for (const [key, value] of Object.entries(object.attributes ?? {}).slice(0, 8)) {
      if (key !== "color") rows.push([key, value]);
    }
    if (object.origin) rows.push(["Found by", object.origin]);
    const list = byId("inspector-facts");
    const shown = rows.filter(([, value]) => value);
    while (list.childElementCount > shown.length * 2) list.lastElementChild.remove();
    shown.forEach(([name, value], place) => {
      if (!list.children[place * 2]) list.append(el("dt"), el("dd"));
      setText(list.children[place * 2], name);
      setText(list.children[place * 2 + 1], value);
    });
  }

  // A moment of the stream's clock: how long ago, or by the clock on the wall.
  #when(timestampS) {
    const past = this.page.sightings.now - timestampS;
    if (!Number.isFinite(past)) return "";
    const unix = Date.now() / 1000 - past;
    return past < 1.5 ? "now" : past < 60 ? ago(unix) : clock(unix);
  }

  // A small map of the picture with the way that the object took.
  #drawPath(path) {
    const place = byId("inspector-path");
    const twin = this.page.stage.twin;
    if (path.length < 2 || !twin || this.id === null) return;
    const [width, height] = [twin.width ?? 1, twin.height ?? 1];
    const points = path.map(([, x, y]) => `${x},${y}`).join(" ");
    const last = path.at(-1);
    const length = path.slice(1).reduce((sum, [, x, y], i) => sum + Math.hypot(x - path[i][1], y - path[i][2]), 0);
    const far = Math.max(...path.map(([, x, y]) => Math.hypot(x - path[0][1], y - path[0][2])));
    if (far < width * STILL) {
      const text = `Has not moved in ${seconds(last[0] - path[0][0])}`;
      place.replaceChildren(el("h3", {}, "Path"), el("p.muted", {}, text));
      return;
    }
    place.replaceChildren(
      el("h3", {}, "Path"),
      svg(
        "svg.map",
        { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Path of ${Math.round(length)} pixels` },
        svg("polyline", { points, "vector-effect": "non-scaling-stroke" }),
        svg("circle", { cx: last[1], cy: last[2], r: width / 40 }),
      ),
      el("p.muted", {}, `${Math.round(length)} px in ${seconds(last[0] - path[0][0])}`),
    );
  }

  #drawDepth(rows) {
    const known = rows.filter((row) => Number.isFinite(row.mean_depth)).slice(-MOST_POINTS);
    if (known.length < 2) return;
    known.sort((a, b) => a.timestamp_s - b.timestamp_s);
    const [first, last] = [known[0], known.at(-1)];
    const values = known.map((row) => row.mean_depth);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const span = Math.max(high - low, 0.02);
    const run = Math.max(last.timestamp_s - first.timestamp_s, 0.001);
    const points = known
      .map((row) => {
        const x = ((row.timestamp_s - first.timestamp_s) / run) * 200;
        return `${x.toFixed(1)},${(44 - ((row.mean_depth - low) / span) * 40).toFixed(1)}`;
      })
      .join(" ");
    const label = `Depth from ${low.toFixed(2)} to ${high.toFixed(2)} over ${seconds(run)}`;
    const chart = svg("svg.curve", { viewBox: "0 0 200 48", role: "img", "aria-label": label });
    chart.setAttribute("preserveAspectRatio", "none");
    chart.append(svg("polyline", { points, "vector-effect": "non-scaling-stroke" }));
    const since = Number.isFinite(first.at) ? `since ${clock(first.at)}` : `over ${seconds(run)}`;
    const foot = el("p.muted", {}, `${low.toFixed(2)} to ${high.toFixed(2)}, ${since}`);
    byId("inspector-history").replaceChildren(el("h3", {}, "Depth"), chart, foot);
  }
}

function percent(value) {
  return Number.isFinite(value) ? `${Math.round(value * 100)} %` : "";
}

function depth(object) {
  if (!Number.isFinite(object.mean_depth)) return "";
  const unit = object.depth_stats?.unit;
  return `${object.mean_depth.toFixed(2)} ${unit === "m" ? "m" : unit ? "(relative)" : ""}`;
}

function speed(velocity) {
  if (!Array.isArray(velocity)) return "";
  return `${Math.round(Math.hypot(...velocity))} px/s`;
}

function size(object) {
  if (Array.isArray(object.extent_m)) {
    return `${object.extent_m.map((side) => Math.round(side * 100)).join(" × ")} cm`;
  }
  const [x0, y0, x1, y1] = object.box_xyxy ?? [];
  return Number.isFinite(x1) ? `${Math.round(x1 - x0)} × ${Math.round(y1 - y0)} px` : "";
}
