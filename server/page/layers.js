// People of an answer as pixels: decoded once, painted once for each way to look at them.
const LEVELS = 10;
// lines of equal U and of equal V, from 0 to 1: parula and spring, the colours of DensePose's own viewer
const U_COLOURS = ["#352a87", "#0f5cdd", "#1481d6", "#06a4ca", "#2eb7a4", "#87bf77", "#d1bb59", "#fec832", "#f9fb0e", "#f9fb0e"];
const V_COLOURS = ["#ff00ff", "#ff1ce3", "#ff39c6", "#ff55aa", "#ff718e", "#ff8e71", "#ffaa55", "#ffc639", "#ffe31c", "#ffff00"];

// little endian RGBA, as ImageData has it
const packed = ([r, g, b], a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
const hex = (text) => packed([1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));

async function pixels(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

async function decode(person, index) {
  const [labels, iuv] = await Promise.all([
    person.parts_png && pixels(person.parts_png),
    person.densepose && pixels(person.densepose.labels_uv_str),
  ]);
  const name = person.tracker_id ?? index + 1; // the number in `inds` is another one
  return { person, number: index + 1, name, offset: person.offset, labels, iuv, owners: null, painted: new Map(), hidden: {} };
}

// Where people overlap, each has who owns a pixel, `owners`: the number of one of them, by row of the photo.
export async function decodeAll(answer) {
  const people = await Promise.all(answer.predictions.map(decode));
  const crowd = people.filter((one) => people.some((other) => other !== one && common(one, other)));
  if (crowd.length === 0 || !answer.inds_png) return people;
  const { width, data } = await pixels(answer.inds_png);
  const numbers = new Uint8Array(data.length / 4).map((_, i) => data[4 * i]);
  for (const one of crowd) one.owners = { width, numbers };
  return people;
}

function paint(size, fill) {
  const canvas = new OffscreenCanvas(size.width, size.height);
  const image = new ImageData(size.width, size.height);
  fill(new Uint32Array(image.data.buffer), size.data);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function parts({ labels }, palette, highlight) {
  const colours = new Uint32Array(256);
  palette.forEach((rgb, label) => (colours[label] = label ? packed(rgb, highlight && highlight !== label ? 50 : 255) : 0));
  return paint(labels, (out, data) => {
    for (let i = 0; i < out.length; i++) out[i] = colours[data[4 * i]];
  });
}

// the colours of an _IUV.png, with I spread over the range
function iuv({ iuv }) {
  return paint(iuv, (out, data) => {
    for (let i = 0; i < out.length; i++) if (data[4 * i]) out[i] = packed([data[4 * i] * 10, data[4 * i + 1], data[4 * i + 2]]);
  });
}

// a pixel is on a line where a neighbour of the same part is on another level; `width` pixels apart, so that lines of
// large photos can be seen
function contours({ iuv }, width) {
  const colours = [U_COLOURS.map(hex), V_COLOURS.map(hex)];
  const levels = iuv.width * width;
  return paint(iuv, (out, data) => {
    for (let i = 0; i < out.length; i++) {
      const part = data[4 * i];
      if (!part) continue;
      out[i] = packed([0, 0, 0], 90); // dimmed, so that lines show on white clothes too
      for (const channel of [2, 1]) {
        const level = Math.floor((data[4 * i + channel] * LEVELS) / 256);
        for (const other of [i + width, i + levels]) {
          if (data[4 * other] !== part) continue;
          const beside = Math.floor((data[4 * other + channel] * LEVELS) / 256);
          if (beside !== level) out[i] = colours[channel - 1][Math.max(level, beside)];
        }
      }
    }
  });
}

// A canvas of one layer of one person, or null where the answer has none.
function layer(one, kind, { palette, highlight, width }) {
  if (!(kind === "parts" ? one.labels : one.iuv)) return null;
  const name = kind === "parts" ? `parts ${highlight}` : kind;
  if (!one.painted.has(name)) {
    if (one.painted.size > 8) one.painted.clear();
    one.painted.set(name, kind === "parts" ? parts(one, palette, highlight) : kind === "iuv" ? iuv(one) : contours(one, width));
  }
  return one.painted.get(name);
}

// The same without what others among `people` hide of it: nothing shows through them, however faint they are.
export function visible(one, people, kind, look) {
  const picture = layer(one, kind, look);
  const others = picture ? people.filter((other) => other !== one && common(one, other)) : [];
  if (others.length === 0) return picture;
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(hidden(one, others, kind === "parts" ? "labels" : "iuv"), 0, 0);
  return canvas;
}

// Where others are in front: a pixel's owner where it is among them, else the better scores.
function hidden(one, others, map) {
  const name = `${map} behind ${others.map(({ number }) => number)}`;
  if (one.hidden[map]?.name === name) return one.hidden[map].canvas;
  const gone = packed([0, 0, 0]);
  const canvas = paint(one[map], (out) => {
    for (const other of others) {
      const { left, top, right, bottom } = common(one, other);
      for (let y = top; y < bottom; y++) {
        const [mine, theirs] = [one, other].map(({ offset, [map]: size }) => (y - offset[1]) * size.width - offset[0]);
        for (let x = left; x < right; x++) {
          if (!other[map].data[4 * (theirs + x)]) continue;
          const who = owner(one, x, y);
          if (who === other.number || (who !== one.number && other.number < one.number)) out[mine + x] = gone;
        }
      }
    }
  });
  one.hidden[map] = { name, canvas };
  return canvas;
}

const owner = ({ owners }, x, y) => owners?.numbers[y * owners.width + x] ?? 0;

// The pixels of the photo that are in both people's maps, or null.
function common(...two) {
  const [a, b] = two.map(({ offset: [x, y], labels, iuv }) => ({ x, y, right: x + (labels ?? iuv)?.width, bottom: y + (labels ?? iuv)?.height }));
  const [left, top, right, bottom] = [Math.max(a.x, b.x), Math.max(a.y, b.y), Math.min(a.right, b.right), Math.min(a.bottom, b.bottom)];
  return left < right && top < bottom ? { left, top, right, bottom } : null;
}

// People as they stand before a pixel of the photo: its owner first, then by score.
export function before(people, x, y) {
  const owns = (one) => owner(one, x, y) === one.number;
  return [...people].sort((a, b) => owns(b) - owns(a));
}

// What a person has at a pixel of the photo: {label, part, u, v}, or null.
export function at({ offset, labels, iuv }, x, y) {
  const size = labels ?? iuv;
  const [column, row] = [x - (offset?.[0] ?? 0), y - (offset?.[1] ?? 0)];
  if (!size || column < 0 || row < 0 || column >= size.width || row >= size.height) return null;
  const i = 4 * (row * size.width + column);
  const [label, part] = [labels?.data[i] ?? 0, iuv?.data[i] ?? 0];
  return label || part ? { label, part, u: part ? iuv.data[i + 1] / 255 : 0, v: part ? iuv.data[i + 2] / 255 : 0 } : null;
}
