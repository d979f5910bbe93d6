// The streams: a switcher with each one's state, a form to add one, a button to remove one.

import { call, listOf, streamPath } from "./api.js";
import { announce, byId, el, milliseconds, setAttribute, setText, toast } from "./dom.js";

const REFRESH_MS = 4_000; // the streams that are not on show; the one on show tells by itself
const MOST_STREAMS = 64;

const SAID = {
  opening: ["Opening", "wait"],
  running: ["Running", "good"],
  stalled: ["Stalled", "warn"],
  backoff: ["Reconnecting", "warn"],
  stopped: ["Stopped", "bad"],
};

export class Streams {
  // page: {stream, switchTo, status(status)}
  constructor(page) {
    this.page = page;
    this.all = new Map();
    this.buttons = new Map();
    this.list = byId("streams");
    byId("add-stream").addEventListener("click", () => {
      setText(byId("add-problem"), "");
      byId("add-dialog").showModal();
    });
    byId("add-cancel").addEventListener("click", () => byId("add-dialog").close());
    byId("add-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
    byId("remove-stream").addEventListener("click", () => {
      setText(byId("remove-name"), this.page.stream);
      byId("remove-dialog").showModal();
    });
    byId("remove-cancel").addEventListener("click", () => byId("remove-dialog").close());
    byId("remove-sure").addEventListener("click", () => this.#remove());
  }

  // What may be added, as the operator said.
  setKinds(kinds) {
    this.kinds = Array.isArray(kinds) ? kinds : [];
    byId("add-stream").hidden = this.kinds.length === 0;
    byId("remove-stream").hidden = this.kinds.length === 0;
    setText(byId("add-kinds"), this.kinds.join(", "));
  }

  async load() {
    clearTimeout(this.timer);
    try {
      const list = listOf(await call("GET", "api/streams"), "streams").slice(0, MOST_STREAMS);
      this.all = new Map(list.map((status) => [status.id, status]));
      this.#draw();
      this.page.listed([...this.all.keys()]);
    } catch (error) {
      console.debug("streams:", error.message); // the connection's banner says it; asked again
    }
    this.timer = setTimeout(() => this.load(), REFRESH_MS);
  }

  take(status) {
    this.all.set(status.id, status);
    this.#draw();
  }

  stop() {
    clearTimeout(this.timer);
  }

  #draw() {
    for (const [id, button] of this.buttons) {
      if (!this.all.has(id)) {
        button.node.remove();
        this.buttons.delete(id);
      }
    }
    for (const status of this.all.values()) this.#fill(status);
    this.list.classList.toggle("single", this.all.size < 2);
    byId("no-streams").hidden = this.all.size > 0;
    const status = this.all.get(this.page.stream);
    if (status) this.#fillShown(status);
  }

  #fill(status) {
    let button = this.buttons.get(status.id);
    if (!button) {
      const badge = el("span.lamp", { "aria-hidden": "true" });
      const said = el("span.said");
      const open = el("button.stream", { type: "button" }, badge, el("span", {}, status.id), said);
      open.addEventListener("click", () => this.page.switchTo(status.id));
      button = { node: el("li", {}, open), open, badge, said };
      this.buttons.set(status.id, button);
      this.list.append(button.node);
    }
    const [word, kind] = SAID[status.source.state] ?? [status.source.state, "wait"];
    setAttribute(button.badge, "class", `lamp ${kind}`);
    setText(button.said, kind === "good" ? `${status.fps.toFixed(0)} fps` : word);
    if (status.id === this.page.stream) button.open.setAttribute("aria-current", "true");
    else button.open.removeAttribute("aria-current");
  }

  // The line under the picture, and what is said over it when it stands still.
  #fillShown(status) {
    const { source, frames } = status;
    const [word, kind] = SAID[source.state] ?? [source.state, "wait"];
    setText(byId("state"), word);
    setAttribute(byId("state"), "class", `badge ${kind}`);
    setText(byId("fps"), `${status.fps.toFixed(1)} fps`);
    setText(byId("age"), status.age_ms === null ? "–" : milliseconds(status.age_ms));
    const dropped = Object.values(frames.dropped).reduce((sum, n) => sum + n, 0);
    setText(byId("dropped"), dropped);
    const reasons = Object.entries(frames.dropped).map(([why, n]) => `${n} ${why}`);
    const title = `${frames.read} read, ${frames.processed} processed${reasons.length ? `, dropped: ${reasons.join(", ")}` : ""}`;
    setAttribute(byId("dropped"), "title", title);
    const local = ["video", "image", "folder"].includes(source.kind);
    setText(byId("address"), local ? source.uri.split("/").pop() : source.uri);
    setAttribute(byId("address"), "title", source.uri);
    const still = source.state !== "running";
    byId("still").hidden = !still;
    byId("picture").classList.toggle("dim", still);
    if (still) {
      setText(byId("still-word"), stillWord(source));
      setText(byId("still-why"), source.error);
    }
    const [first = "", ...more] = (status.warnings ?? []).slice(0, 8);
    const [summary, rest] = byId("stream-warning").children;
    setText(summary, first);
    setText(rest, more.join("\n"));
    byId("stream-warning").hidden = !first;
  }

  async #add() {
    const source = byId("add-source").value.trim();
    const id = byId("add-id").value.trim();
    const words = byId("add-words").value.split(",").map((word) => word.trim()).filter(Boolean);
    const spec = { source };
    if (id) spec.id = id;
    if (words.length) spec.words = words;
    setText(byId("add-problem"), "");
    byId("add-sure").disabled = true;
    try {
      const status = await call("POST", "api/streams", spec);
      byId("add-dialog").close();
      byId("add-form").reset();
      announce(`Added ${status.id}`);
      this.take(status);
      this.page.switchTo(status.id);
    } catch (error) {
      setText(byId("add-problem"), error.message);
    } finally {
      byId("add-sure").disabled = false;
    }
  }

  async #remove() {
    const id = this.page.stream;
    byId("remove-dialog").close();
    try {
      await call("DELETE", streamPath(id));
      announce(`Removed ${id}`);
      this.all.delete(id);
      await this.load();
    } catch (error) {
      toast(error.message, "error");
    }
  }
}

function stillWord(source) {
  if (source.state === "opening") return "Opening the stream…";
  if (source.state === "stalled") return "No new frames";
  if (source.state === "backoff") return `Connection to the source lost. Trying again (attempt ${source.attempts})`;
  return "The stream has stopped";
}
