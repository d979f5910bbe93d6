// Standing questions and their events.

import { call, listOf, streamPath } from "./api.js";
import { ago, announce, byId, clock, el, setText, toast } from "./dom.js";
import { lateMedia } from "./pictures.js";
import { chip, planList } from "./plan.js";

const MOST_EVENTS = 100; // newest, on the page; the server has them all
const MOST_STANDING = 64;
const REFRESH_MS = 10_000; // counts of evaluations and events of each standing question

export class Watch {
  // page: {stream, sightings, choose, timeline, openEvent}
  constructor(page) {
    this.page = page;
    this.events = [];
    this.cards = new Map();
    this.unseen = 0;
    byId("standing-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add();
    });
  }

  async open() {
    this.events = [];
    this.standing = [];
    this.unseen = 0;
    this.cards.clear();
    byId("events").replaceChildren();
    byId("standing").replaceChildren();
    this.#count();
    await this.catchUp();
  }

  // After a lost connection: the events that were missed, too.
  catchUp() {
    this.behind = true;
    return this.load();
  }

  async load() {
    clearTimeout(this.timer);
    const { stream } = this.page;
    try {
      if (this.behind) await this.#loadEvents();
      const list = listOf(await call("GET", streamPath(stream, "/standing")), "standing");
      if (stream !== this.page.stream) return;
      this.standing = list.slice(0, MOST_STANDING);
      this.#draw();
    } catch (error) {
      console.debug("standing questions:", error.message); // asked again below
    }
    this.timer = setTimeout(() => this.load(), REFRESH_MS);
  }

  async #loadEvents() {
    const { stream } = this.page;
    const query = `api/events?stream=${encodeURIComponent(stream)}&limit=${MOST_EVENTS}`;
    const list = listOf(await call("GET", query), "events");
    if (stream !== this.page.stream) return;
    this.behind = false;
    for (const event of list.sort((a, b) => a.at - b.at)) this.take(event, false);
  }

  async add() {
    const question = byId("standing-question").value.trim();
    if (!question) return;
    const body = { question };
    const webhook = byId("standing-webhook").value.trim();
    if (webhook) body.webhook = webhook;
    const button = byId("standing-add");
    button.disabled = true;
    setText(byId("standing-problem"), "");
    setText(button, "Making a plan…");
    try {
      const made = await call("POST", streamPath(this.page.stream, "/standing"), body);
      byId("standing-question").value = "";
      byId("standing-webhook").value = "";
      announce(`Watching: ${made.question ?? question}`);
      await this.load();
    } catch (error) {
      setText(byId("standing-problem"), error.message);
    } finally {
      button.disabled = false;
      setText(button, "Watch for it");
    }
  }

  async #remove(standing) {
    try {
      await call("DELETE", `api/standing/${encodeURIComponent(standing.id)}`);
      announce(`No longer watching: ${standing.question}`);
      byId("standing-question").focus();
      await this.load();
    } catch (error) {
      toast(error.message, "error");
    }
  }

  #draw() {
    const place = byId("standing");
    const key = JSON.stringify(this.standing);
    byId("standing-empty").hidden = this.standing.length > 0;
    if (key === this.drawn && place.childElementCount) return;
    this.drawn = key;
    const focused = document.activeElement?.closest?.("[data-standing]")?.dataset.standing;
    place.replaceChildren(...this.standing.map((one) => this.#card(one)));
    if (focused) place.querySelector(`[data-standing="${CSS.escape(focused)}"] button.remove`)?.focus();
  }

  #card(one) {
    const remove = el("button.icon.remove", { type: "button", "aria-label": `Stop watching: ${one.question}` }, "×");
    remove.addEventListener("click", () => this.#remove(one));
    const bad = one.state === "failed";
    const badge = el(`span.badge.${bad ? "bad" : "good"}`, {}, bad ? "failed" : "watching");
    const head = el("header", {}, el("h4", {}, one.question), remove);
    const times = one.events === 1 ? "1 event" : `${one.events} events`;
    const facts = el("p.muted", {}, badge, ` ${times}${one.webhook ? " · webhook" : ""}`);
    const node = el("li.card", { "data-standing": one.id }, head, facts);
    if (one.message) node.append(el(bad ? "p.warning" : "p.muted", {}, one.message));
    if (one.plan?.length || one.asked) {
      const more = el("details", {}, el("summary", {}, "How it is checked"));
      if (one.asked && one.asked !== one.question) {
        more.append(el("p.muted", {}, "Understood as: ", el("em", {}, one.asked)));
      }
      more.append(planList(one.plan ?? [], null, (id) => this.page.sightings.get(id), this.page.choose));
      node.append(more);
    }
    return node;
  }

  // An event, newest first; fresh ones come over the WebSocket.
  take(event, fresh = true) {
    if (event.stream !== this.page.stream || this.cards.has(event.id)) return;
    this.events.unshift(event);
    const card = this.#eventCard(event);
    this.cards.set(event.id, card);
    byId("events").prepend(card);
    while (this.events.length > MOST_EVENTS) {
      const old = this.events.pop();
      this.cards.get(old.id)?.remove();
      this.cards.delete(old.id);
    }
    byId("events-empty").hidden = true;
    if (fresh) {
      this.unseen += byId("tab-watch").getAttribute("aria-selected") === "true" ? 0 : 1;
      card.classList.add("fresh");
      announce(`Event: ${event.question}. ${event.reason}`);
      this.load();
    }
    this.#count();
    this.page.timeline.setEvents(this.events);
  }

  #eventCard(event) {
    const src = `api/events/${encodeURIComponent(event.id)}/picture.jpg`;
    const image = el("img", { alt: "", loading: "lazy", width: 96, height: 72 });
    lateMedia(image, src, () => image.classList.add("missing"));
    const open = el("button.open", { type: "button", "aria-label": `Open event at ${clock(event.at)}` }, image);
    open.addEventListener("click", () => this.page.openEvent(event));
    const find = (id) => event.objects.find((o) => o.id === id) ?? this.page.sightings.get(id);
    const chips = event.ids.slice(0, 8).map((id) => chip(id, find, this.page.choose));
    const time = el("time", { datetime: new Date(event.at * 1000).toISOString(), title: clock(event.at) });
    setText(time, ago(event.at));
    const text = el("div", {}, el("h4", {}, event.question), el("p.reason", {}, event.reason));
    text.append(el("p.chips", {}, time, ...chips));
    return el("li.card.event", { "data-event": event.id }, open, text);
  }

  seen() {
    this.unseen = 0;
    this.#count();
  }

  tick() {
    for (const event of this.events) {
      const time = this.cards.get(event.id)?.querySelector("time");
      if (time) setText(time, ago(event.at));
    }
  }

  #count() {
    setText(byId("event-count"), this.unseen || "");
    byId("event-count").hidden = this.unseen === 0;
    byId("events-empty").hidden = this.events.length > 0;
  }
}
