// The page: what is on show, and who is told of what.

import { call, listOf, onUnauthorised, streamPath } from "./api.js";
import { Ask } from "./ask.js";
import { byId, setText } from "./dom.js";
import { EventDialog } from "./event.js";
import { Inspector } from "./inspect.js";
import { Live } from "./live.js";
import { Login } from "./login.js";
import { Video } from "./mjpeg.js";
import { ObjectTable } from "./objects.js";
import { Sightings } from "./sightings.js";
import { Stage } from "./stage.js";
import { Streams } from "./streams.js";
import { startTabs } from "./tabs.js";
import { startTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Watch } from "./watch.js";

const DRAW_MS = 400; // tables and bars: people read no faster
const HISTORY_ROWS = 2000; // of objects times frames: half a minute or so, some 300 kB

class Page {
  constructor() {
    this.stream = null;
    this.selected = null;
    this.sightings = new Sightings();
    this.choose = (id) => this.#choose(id);
    this.stage = new Stage(this.choose);
    this.video = new Video(
      (bitmap, index) => this.stage.frame(bitmap, index),
      (why) => this.#noVideo(why),
    );
    this.table = new ObjectTable(this.sightings, this.choose);
    this.timeline = new Timeline(this.sightings, this.choose, (event) => this.openEvent(event));
    this.inspector = new Inspector(this);
    this.ask = new Ask(this);
    this.watch = new Watch(this);
    this.dialog = new EventDialog(this);
    this.streams = new Streams(this);
    this.live = new Live((message) => this.#hear(message), (state, wait) => this.#connection(state, wait));
    this.login = new Login(() => this.start());
    onUnauthorised(() => this.login.ask());
    this.showTab = startTabs(byId("tabs"), (id) => {
      if (id === "tab-watch") this.watch.seen();
    });
    this.#buttons();
    setInterval(() => this.#draw(), DRAW_MS);
  }

  async start() {
    clearTimeout(this.retry);
    try {
      const info = await call("GET", "api/info");
      setText(byId("version"), info.version ? `v${info.version}` : "");
      this.ask.setModes(info.modes);
      this.streams.setKinds(info.limits?.kinds);
      byId("logout").hidden = !info.auth;
      this.#connection("open", 0);
    } catch (error) {
      if (error.status === 401) return; // the form is there; it begins anew
      this.#connection("lost", 3000);
      this.retry = setTimeout(() => this.start(), 3000);
      return;
    }
    await this.streams.load();
  }

  // The streams that there are: keep the one on show, or take the wished or the first one.
  listed(ids) {
    if (ids.includes(this.stream)) return;
    const wished = new URLSearchParams(location.hash.slice(1)).get("stream");
    this.switchTo(ids.includes(wished) ? wished : (ids[0] ?? null));
  }

  switchTo(id) {
    if (id === this.stream) return;
    this.stream = id;
    this.choose(null);
    this.sightings.clear();
    this.stage.clear();
    this.#pause(false);
    this.#noVideo("");
    this.table.clear();
    this.timeline.clear();
    this.ask.clear();
    byId("main").classList.toggle("empty", id === null);
    if (id === null) {
      this.live.close();
      this.video.close();
      return;
    }
    history.replaceState(null, "", `#stream=${encodeURIComponent(id)}`);
    setText(byId("stage-title"), `Video of ${id}`);
    document.title = `${id} · EdgeTwin`;
    this.live.open([id]);
    this.#watchVideo();
    this.watch.open();
    this.#learn(id);
    this.streams.load();
  }

  // What stands out in the video: an answer's objects, an event's, or nothing.
  highlight(highlight) {
    this.stage.setHighlight(highlight);
    this.ask.highlighted(highlight);
    byId("clear-highlight").hidden = highlight === null;
  }

  openEvent(event) {
    this.dialog.open(event);
  }

  events() {
    return this.watch.events;
  }

  async #learn(id) {
    const told = (rest, name) =>
      call("GET", streamPath(id, rest)).then((answer) => listOf(answer, name), () => []); // none yet
    const rows = await told(`/history?limit=${HISTORY_ROWS}`, "rows");
    const records = await told("/objects", "objects");
    if (this.stream !== id) return;
    this.sightings.learnRows(rows);
    this.sightings.learn(records);
  }

  #watchVideo() {
    if (this.stream === null || document.hidden) this.video.close();
    else this.video.open(streamPath(this.stream, "/video.mjpeg?overlay=0"));
  }

  // The outlines go on without the pictures.
  #noVideo(why) {
    byId("no-video").hidden = !why;
    if (why) setText(byId("no-video"), `No video: ${why}. Trying again.`);
  }

  #hear(message) {
    if (message.type === "bye" || message.type === "removed") {
      this.bye = message.reason ?? message.type;
      this.streams.load();
      return;
    }
    if (message.type === "status") this.streams.take(message);
    if ((message.stream ?? message.id) !== this.stream) return;
    if (message.type === "twin") {
      this.stage.take(message);
      this.sightings.take(message);
    } else if (message.type === "event") this.watch.take(message);
  }

  #choose(id) {
    this.selected = id;
    this.stage.select(id);
    this.table.select(id);
    this.timeline.select(id);
    this.inspector.show(id);
  }

  #draw() {
    if (document.hidden || this.stream === null) return;
    this.table.update();
    this.timeline.update();
    this.inspector.update();
    this.watch.tick();
  }

  #connection(state, waitMs) {
    const lost = state === "lost" || (state === "connecting" && this.lost);
    if (state === "open" && this.lost) {
      this.bye = "";
      if (this.stream !== null) {
        this.#watchVideo();
        this.watch.catchUp();
      }
      this.streams.load();
    }
    this.lost = lost;
    document.body.classList.toggle("lost", lost);
    byId("connection").hidden = !lost;
    if (!lost) return;
    const why = this.bye ? ` (${this.bye})` : "";
    const when = state === "lost" ? `Trying again in ${Math.max(1, Math.round(waitMs / 1000))} s.` : "Trying again…";
    setText(byId("connection-text"), `Connection to the server lost${why}. ${when}`);
  }

  #pause(on) {
    this.stage.paused = on;
    byId("pause").setAttribute("aria-pressed", String(on));
    byId("picture").classList.toggle("paused", on);
  }

  #buttons() {
    byId("pause").addEventListener("click", () => this.#pause(!this.stage.paused));
    for (const name of ["masks", "labels"]) {
      byId(`show-${name}`).addEventListener("click", (event) => {
        const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
        event.currentTarget.setAttribute("aria-pressed", String(on));
        this.stage.setShow(name, on);
      });
    }
    byId("fullscreen").addEventListener("click", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else byId("picture").requestFullscreen();
    });
    byId("clear-highlight").addEventListener("click", () => this.highlight(null));
    byId("connection-now").addEventListener("click", () => (this.stream === null ? this.start() : this.live.again()));
    document.addEventListener("visibilitychange", () => this.#watchVideo());
    window.addEventListener("pagehide", () => this.ask.leave());
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, textarea, select, dialog");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.showTab("tab-ask");
      byId("question").focus();
    });
  }
}

startTheme();
new Page().start();
