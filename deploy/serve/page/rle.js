// Masks as compressed COCO run-length encoding (pycocotools): runs go down the columns and begin
// with background. A mask becomes an SVG path of one upright bar per run.

const MOST_RUNS = 60_000; // a mask of 1080p has some 4,000: more is not worth drawing

export function runs(counts) {
  const list = [];
  let place = 0;
  while (place < counts.length && list.length < MOST_RUNS) {
    let value = 0;
    let shift = 0;
    for (;;) {
      const code = counts.charCodeAt(place) - 48;
      if (!(code >= 0 && code < 64) || shift > 30) return []; // not a mask
      value += (code & 31) * 2 ** shift;
      shift += 5;
      place += 1;
      if (!(code & 32)) {
        if (code & 16) value -= 2 ** shift;
        break;
      }
    }
    if (list.length > 2) value += list[list.length - 2];
    list.push(value);
  }
  return list;
}

export function maskPath(rle) {
  if (!rle || typeof rle.counts !== "string" || !Array.isArray(rle.size)) return "";
  const height = rle.size[0];
  let at = 0;
  let inside = false;
  const bars = [];
  for (const run of runs(rle.counts)) {
    if (inside) bar(bars, at, run, height);
    at += run;
    inside = !inside;
  }
  return bars.join("");
}

// One run may go over the end of a column into the next ones.
function bar(bars, at, run, height) {
  let from = at;
  let left = run;
  while (left > 0 && bars.length < MOST_RUNS) {
    const y = from % height;
    const part = Math.min(left, height - y);
    bars.push(`M${Math.floor(from / height)} ${y}h1v${part}h-1z`);
    from += part;
    left -= part;
  }
}
