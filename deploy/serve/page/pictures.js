// Pictures and clips of events are written a moment after the event: asked for again a few times.

const TRIES = 6;
const PAUSE_MS = 1_500;

// Give a node (img or video) its address; gaveUp() after the last try.
export function lateMedia(node, address, gaveUp) {
  let tries = 0;
  node.addEventListener("error", () => {
    tries += 1;
    if (tries >= TRIES) gaveUp();
    else {
      setTimeout(() => {
        if (node.isConnected) node.setAttribute("src", `${address}?try=${tries}`);
      }, PAUSE_MS);
    }
  });
  node.setAttribute("src", address);
}
