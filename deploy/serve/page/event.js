// One event, opened: its picture, its clip, why it was raised and what it is about.

import { byId, clock, el, milliseconds, seconds, setText } from "./dom.js";
import { lateMedia } from "./pictures.js";
import { chip } from "./plan.js";

export class EventDialog {
  // page: {sightings, choose, timeline, highlight, events}
  constructor(page) {
    this.page = page;
    this.dialog = byId("event");
    byId("event-close").addEventListener("click", () => this.dialog.close());
    byId("event-before").addEventListener("click", () => this.#step(1));
    byId("event-after").addEventListener("click", () => this.#step(-1));
    byId("event-jump").addEventListener("click", () => this.#jump());
    this.dialog.addEventListener("close", () => byId("event-media").replaceChildren()); // ends the clip
    this.dialog.addEventListener("click", (click) => {
      if (click.target === this.dialog) this.dialog.close(); // beside it
    });
  }

  open(event) {
    this.event = event;
    const address = `api/events/${encodeURIComponent(event.id)}`;
    setText(byId("event-question"), event.question);
    setText(byId("event-reason"), event.reason);
    const when = `${clock(event.at)} · ${seconds(event.timestamp_s)} into the stream · raised after ${milliseconds(event.delay_ms)}`;
    setText(byId("event-when"), when);
    const find = (id) => event.objects.find((o) => o.id === id) ?? this.page.sightings.get(id);
    const pick = (id) => {
      this.dialog.close();
      this.page.choose(id);
    };
    byId("event-objects").replaceChildren(...event.ids.slice(0, 32).map((id) => chip(id, find, pick)));
    const names = event.objects.map((o) => `${o.label} ${o.id}`).join(", ");
    const alt = `The frame of the event${names ? `, with ${names}` : ""}`;
    const picture = el("img", { alt });
    lateMedia(picture, `${address}/picture.jpg`, () => picture.classList.add("missing"));
    const media = [picture];
    if (event.clip) {
      const label = "Clip around the event";
      const clip = el("video", { controls: true, loop: true, playsinline: true, preload: "metadata" });
      clip.setAttribute("aria-label", label);
      clip.muted = true;
      const sorry = () => clip.replaceWith(el("p.muted", {}, "The clip cannot be played."));
      lateMedia(clip, `${address}/clip.mp4`, sorry);
      media.push(clip);
    }
    byId("event-media").replaceChildren(...media);
    const place = this.page.events().findIndex((other) => other.id === event.id);
    byId("event-before").disabled = place < 0 || place >= this.page.events().length - 1;
    byId("event-after").disabled = place <= 0;
    if (!this.dialog.open) this.dialog.showModal();
  }

  // The list has the newest first: one step further is one event earlier.
  #step(by) {
    const list = this.page.events();
    const place = list.findIndex((other) => other.id === this.event.id);
    const next = place < 0 ? undefined : list[place + by];
    if (next) this.open(next);
  }

  // Back to the stream: the moment on the timeline, the objects in the video.
  #jump() {
    const { event } = this;
    this.dialog.close();
    this.page.timeline.cursor(event.timestamp_s);
    const masks = Object.fromEntries(event.objects.filter((o) => o.mask).map((o) => [o.id, o.mask]));
    this.page.highlight({ ids: new Set(event.ids), colour: "#ffb020", masks });
    byId("timeline").scrollIntoView({ block: "nearest" });
    byId("timeline").focus({ preventScroll: true });
  }
}
