// The video: a multipart stream of JPEG pictures, read by hand so that every picture comes with
// its frame's index and can be drawn together with that frame's outlines.

const MOST = 32 * 2 ** 20; // bytes held: a picture may be large, a stream without end of one not
const FIRST_MS = 500;
const MOST_MS = 8_000;

export class Video {
  // drawn(bitmap, index): index is null if the server does not say it; refused(message): why no
  // picture comes, "" when they come again.
  constructor(drawn, refused) {
    this.drawn = drawn;
    this.refused = refused;
    this.url = null;
  }

  open(url) {
    this.close();
    this.url = url;
    this.abort = new AbortController();
    this.#keep(this.abort.signal);
  }

  close() {
    this.abort?.abort();
    this.abort = null;
    this.next = null;
  }

  async #keep(signal) {
    let pause = FIRST_MS;
    while (!signal.aborted) {
      try {
        await this.#read(signal, () => {
          pause = FIRST_MS;
          this.refused("");
        });
      } catch (error) {
        if (signal.aborted) return;
        console.debug("video ended:", error.message); // it is opened again below
      }
      await slept(pause, signal);
      pause = Math.min(MOST_MS, pause * 2);
    }
  }

  async #read(signal, came) {
    const response = await fetch(this.url, { signal, cache: "no-store" });
    if (!response.ok || !response.body) {
      const { error } = await response.json().catch(() => ({})); // a proxy's page has no reason
      const why = error?.message ?? `status ${response.status}`;
      this.refused(String(why).slice(0, 200));
      throw new Error(why);
    }
    const reader = response.body.getReader();
    const parts = new Parts();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const part of parts.feed(value)) {
        came();
        this.#show(part, signal);
      }
    }
  }

  // Decode one picture at a time; of those that come meanwhile only the newest is kept.
  async #show(part, signal) {
    if (this.decoding) {
      this.next = part;
      return;
    }
    this.decoding = true;
    try {
      for (let now = part; now && !signal.aborted; now = this.next) {
        this.next = null;
        const blob = new Blob([now.body], { type: "image/jpeg" });
        const bitmap = await createImageBitmap(blob).catch(() => null); // damaged: the next one
        if (bitmap && !signal.aborted) this.drawn(bitmap, now.index);
        bitmap?.close();
      }
    } finally {
      this.decoding = false;
    }
  }
}

// Cuts multipart/x-mixed-replace into parts; every part has a Content-Length.
export class Parts {
  constructor() {
    this.held = new Uint8Array(0);
  }

  feed(bytes) {
    const held = new Uint8Array(this.held.length + bytes.length);
    held.set(this.held);
    held.set(bytes, this.held.length);
    if (held.length > MOST) throw new Error("a picture of the video is too large");
    const parts = [];
    let start = 0;
    for (;;) {
      const end = headEnd(held, start);
      if (end < 0) break;
      const head = new TextDecoder("latin1").decode(held.subarray(start, end));
      const length = Number(field(head, "content-length"));
      if (!Number.isInteger(length) || length <= 0) throw new Error("a part without a length");
      if (end + length > held.length) break;
      const index = field(head, "x-frame-index");
      parts.push({
        body: held.slice(end, end + length),
        index: index === "" ? null : Number(index),
      });
      start = end + length;
    }
    this.held = held.slice(start);
    return parts;
  }
}

function headEnd(bytes, start) {
  const last = Math.min(bytes.length - 3, start + 4096);
  for (let i = start; i < last; i += 1) {
    if (bytes[i] === 13 && bytes[i + 1] === 10 && bytes[i + 2] === 13 && bytes[i + 3] === 10) {
      if (i > start) return i + 4;
    }
  }
  return -1;
}

function field(head, name) {
  for (const line of head.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0 && line.slice(0, colon).trim().toLowerCase() === name) {
      return line.slice(colon + 1).trim();
    }
  }
  return "";
}

function slept(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });
}
