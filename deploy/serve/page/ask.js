// Questions: what is typed, the thinking as it comes, the answer, and a conversation in which
// follow-up questions see the earlier ones.

import { call, stream, streamPath } from "./api.js";
import { announce, byId, el, milliseconds, nameOf, seconds, setText, toast } from "./dom.js";
import { chip, planList } from "./plan.js";

const MOST_ANSWERS = 30; // on the page; the server keeps its own history
const MOST_TEXT = 20_000; // characters of one rationale
const COLOURS = ["#28e65a", "#ffb020", "#3ec8ff", "#ff6ad5", "#f2e63a", "#b49cff"];

const STATUS = {
  ok: ["Answered", "good"],
  none: ["Nothing fits", "plain"],
  partial: ["Partly answered", "warn"],
  stale: ["From old frames", "warn"],
  error: ["Could not answer", "bad"],
};

export class Ask {
  // page: {stream, sightings, choose, highlight}
  constructor(page) {
    this.page = page;
    this.sessions = new Map(); // stream -> session: as many as there are streams
    this.count = 0;
    this.list = byId("answers");
    this.input = byId("question");
    byId("ask-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.abort) this.abort.abort();
      else this.ask(this.input.value.trim());
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId("ask-form").requestSubmit();
    });
    byId("new-session").addEventListener("click", () => this.forget());
    for (const button of byId("examples").querySelectorAll("button")) {
      button.addEventListener("click", () => this.ask(button.textContent));
    }
  }

  setModes(modes) {
    const select = byId("mode");
    if (!modes?.length) return;
    select.replaceChildren(...modes.map((mode) => el("option", { value: mode }, mode)));
    if (modes.includes("concise")) select.value = "concise";
  }

  // Another stream is shown: its conversation begins with an empty list.
  clear() {
    this.abort?.abort();
    this.list.replaceChildren();
    this.#toggleEmpty();
    this.page.highlight(null);
  }

  async forget() {
    const id = this.sessions.get(this.page.stream);
    this.sessions.delete(this.page.stream);
    this.clear();
    announce("A new conversation");
    this.input.focus();
    if (id) {
      await call("DELETE", `api/sessions/${encodeURIComponent(id)}`).catch(() => {}); // it ends by itself, too
    }
  }

  // The page is left: its sessions are given back, as far as the browser still sends it.
  leave() {
    for (const id of this.sessions.values()) {
      const path = `api/sessions/${encodeURIComponent(id)}`;
      fetch(path, { method: "DELETE", keepalive: true }).catch(() => {}); // they end by themselves, too
    }
    this.sessions.clear();
  }

  async ask(question) {
    if (!question || this.abort || !this.page.stream) return;
    const card = this.#newCard(question);
    this.abort = new AbortController();
    this.#busy(true);
    this.input.value = "";
    try {
      await this.#answer(card, question, this.abort.signal);
    } catch (error) {
      this.#failed(card, error);
    } finally {
      this.abort = null;
      card.node.classList.remove("pending");
      card.node.setAttribute("aria-busy", "false");
      this.#busy(false);
    }
  }

  async #answer(card, question, signal) {
    const id = this.page.stream;
    for (let tries = 0; ; tries += 1) {
      const session = await this.#session(id, signal);
      const body = { question, mode: byId("mode").value || "concise", session, stream: true };
      try {
        for await (const [name, data] of stream(streamPath(id, "/questions"), body, signal)) {
          this.#take(card, name, data);
        }
        break;
      } catch (error) {
        const gone = error.status === 404 && this.sessions.has(id) && tries === 0;
        if (!gone) throw error;
        this.sessions.delete(id); // it ended on the server meanwhile: a new one, once
      }
    }
    if (!card.done) throw new Error("the answer ended early");
  }

  async #session(id, signal) {
    if (!this.sessions.has(id)) {
      const made = await call("POST", "api/sessions", { stream: id }, { signal });
      this.sessions.set(id, made.session ?? made.id);
    }
    return this.sessions.get(id);
  }

  #take(card, name, data) {
    if (name === "text") {
      const piece = typeof data === "string" ? data : (data?.text ?? "");
      card.text = (card.text + piece).slice(0, MOST_TEXT);
      setText(card.thinking, readable(card.text));
    } else if (name === "plan") {
      card.plan = listFrom(data, "plan");
      this.#showPlan(card);
    } else if (name === "results") {
      card.results = listFrom(data, "results");
      this.#showPlan(card);
    } else if (name === "answer") {
      this.#finish(card, data);
    } else if (name === "error") {
      throw new Error(data?.error?.message ?? data?.message ?? "the answer failed");
    }
  }

  #showPlan(card) {
    const find = (id) => card.objects.get(id) ?? this.page.sightings.get(id);
    const list = planList(card.plan, card.results, find, this.page.choose);
    card.steps.replaceChildren(...(card.plan.length ? [list] : []));
  }

  #finish(card, record) {
    card.done = true;
    card.record = record;
    card.objects = new Map((record.objects ?? []).map((object) => [object.id, object]));
    card.plan = record.plan ?? card.plan;
    card.results = record.results ?? card.results;
    setText(card.thinking, (record.rationale || readable(card.text)).slice(0, MOST_TEXT));
    this.#showPlan(card);
    const [title, kind] = STATUS[record.status] ?? [record.status, "plain"];
    const badge = el(`span.badge.${kind}`, {}, title);
    const nodes = [el("p.verdict", {}, badge, ...this.#verdict(card, record))];
    if (record.description) nodes.push(el("p", {}, record.description));
    if (record.message) nodes.push(el("p.muted", {}, record.message));
    for (const text of (record.warnings ?? []).slice(0, 4)) nodes.push(el("p.warning", {}, text));
    nodes.push(this.#foot(card, record));
    card.answer.replaceChildren(...nodes);
    announce(spoken(title, record));
    if (record.ids?.length) this.#highlight(card);
  }

  #verdict(card, record) {
    const nodes = [];
    if (typeof record.value === "number") nodes.push(el("strong", {}, String(record.value)));
    const find = (id) => card.objects.get(id) ?? this.page.sightings.get(id);
    nodes.push(...(record.ids ?? []).slice(0, 32).map((id) => chip(id, find, this.page.choose)));
    const times = record.intervals ?? [];
    if (times.length) {
      const texts = times.slice(0, 3).map(([a, b]) => `${a.toFixed(1)}–${b.toFixed(1)} s`);
      if (times.length > 3) texts.push(`and ${times.length - 3} more`);
      nodes.push(el("span.muted", {}, texts.join(", ")));
    }
    return nodes;
  }

  #foot(card, record) {
    const notes = [];
    if (Number.isFinite(record.ms?.total)) notes.push(milliseconds(record.ms.total));
    if (record.tokens?.total) notes.push(`${record.tokens.total} tokens`);
    if (Number.isFinite(record.age_ms)) notes.push(`frame ${milliseconds(record.age_ms)} old`);
    const foot = el("div.foot", {}, el("span.muted", {}, notes.join(" · ")));
    if (record.ids?.length) {
      const text = "Show in video";
      card.toggle = el("button.small", { type: "button", "aria-pressed": "false" }, text);
      card.toggle.addEventListener("click", () => {
        if (this.shown === card) this.page.highlight(null);
        else this.#highlight(card);
      });
      foot.append(card.toggle);
    }
    return foot;
  }

  #highlight(card) {
    const ids = new Set(card.record.ids);
    const masks = card.record.masks ?? {};
    this.page.highlight({ ids, colour: card.colour, masks, of: card });
  }

  // The page says what stands out now: an answer's objects, an event's, or nothing.
  highlighted(highlight) {
    this.shown?.toggle?.setAttribute("aria-pressed", "false");
    this.shown = highlight?.of ?? null;
    this.shown?.toggle?.setAttribute("aria-pressed", "true");
  }

  #failed(card, error) {
    const stopped = error.name === "AbortError";
    const text = stopped ? "Stopped." : `Could not answer: ${error.message}.`;
    const nodes = [el("p.verdict", {}, el(`span.badge.${stopped ? "plain" : "bad"}`, {}, text))];
    if (error.retryAfterS) nodes.push(el("p.muted", {}, `Try again in ${seconds(error.retryAfterS)}.`));
    card.answer.replaceChildren(...nodes);
    announce(text);
    if (error.status === 401) toast("Sign in to ask.", "error");
  }

  #newCard(question) {
    const colour = COLOURS[this.count % COLOURS.length];
    this.count += 1;
    const card = { text: "", plan: [], results: [], objects: new Map(), colour };
    card.thinking = el("p.thinking", {});
    card.steps = el("div.steps");
    card.answer = el("div.result-of");
    const heading = el("h3.asked", {}, question);
    card.node = el("article.answer.pending", { "aria-busy": "true" }, heading);
    card.node.append(card.thinking, card.steps, card.answer);
    card.node.style.setProperty("--answer", colour);
    this.list.prepend(card.node);
    while (this.list.childElementCount > MOST_ANSWERS) this.list.lastElementChild.remove();
    this.#toggleEmpty();
    return card;
  }

  #toggleEmpty() {
    byId("ask-empty").hidden = this.list.childElementCount > 0;
    byId("new-session").hidden = this.list.childElementCount === 0;
  }

  #busy(busy) {
    setText(byId("ask"), busy ? "Stop" : "Ask");
    byId("ask").classList.toggle("stop", busy);
  }
}

function listFrom(data, name) {
  const list = Array.isArray(data) ? data : data?.[name];
  return Array.isArray(list) ? list : [];
}

// The thinking without the marks of the protocol: what stands in <reason>, or before any mark.
export function readable(text) {
  const reasons = [...text.matchAll(/<(?:reason|explain|describe|description)>([^<]*)/g)].map((m) => m[1].trim());
  if (reasons.length) return reasons.join(" ");
  return text.replace(/<(plan|results|answer)>[^<]*(<\/\1>)?/g, "").replace(/<\/?[a-z]*>?$/, "").trim();
}

function spoken(title, record) {
  const names = (record.objects ?? []).slice(0, 8).map((o) => `${nameOf(o)}, number ${o.id}`);
  const value = typeof record.value === "number" ? `${record.value}.` : "";
  return [`${title}.`, value, names.join("; "), record.status === "error" ? record.message : ""]
    .filter(Boolean)
    .join(" ");
}
