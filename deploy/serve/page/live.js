// What the server tells by itself: one WebSocket, opened again with growing pauses when it ends.

const FIRST_MS = 500;
const MOST_MS = 10_000;
const SILENT_MS = 20_000; // a status comes every few seconds: longer silence is a dead connection

export class Live {
  // heard(message) for each message; changed(state, waitMs) with "connecting", "open", "lost".
  constructor(heard, changed) {
    this.heard = heard;
    this.changed = changed;
    this.streams = [];
    this.wait = FIRST_MS;
    this.wanted = false;
  }

  open(streams) {
    this.close();
    this.streams = streams;
    this.wanted = true;
    this.wait = FIRST_MS;
    this.#connect();
  }

  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.socket?.close();
    this.socket = null;
  }

  // Try at once, for a person who does not want to wait.
  again() {
    if (this.wanted && !this.socket) {
      clearTimeout(this.timer);
      this.#connect();
    }
  }

  #connect() {
    const query = this.streams.map((id) => `stream=${encodeURIComponent(id)}`).join("&");
    const url = new URL(`api/ws?${query}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.socket = socket;
    this.changed("connecting", 0);
    this.#watch(socket);
    socket.addEventListener("message", (event) => {
      if (this.socket !== socket) return;
      this.#watch(socket);
      this.#take(event.data);
    });
    socket.addEventListener("open", () => {
      if (this.socket === socket) this.changed("open", 0);
    });
    socket.addEventListener("close", () => this.#ended(socket));
  }

  #take(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return; // not ours: the server sends nothing but JSON
    }
    this.wait = FIRST_MS; // a connection that speaks is a good one
    this.heard(message);
  }

  #watch(socket) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      socket.close();
      this.#ended(socket);
    }, SILENT_MS);
  }

  #ended(socket) {
    if (this.socket !== socket || !this.wanted) return;
    clearTimeout(this.silence);
    this.socket = null;
    const pause = this.wait * (0.8 + 0.4 * Math.random());
    this.wait = Math.min(MOST_MS, this.wait * 2);
    this.changed("lost", pause);
    this.timer = setTimeout(() => this.#connect(), pause);
  }
}
