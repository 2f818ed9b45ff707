// What is seen of the answer: the picture with its layers, the legend, and the name of what is pointed at.
import { write } from "./curl.js";
import { at, before, visible } from "./layers.js";
import { aloud } from "./messages.js";
import { $, least, shown, state, words } from "./state.js";

const LAYERS = ["parts", "iuv", "contours"];

export function draw() {
  const canvas = $("canvas");
  if (!state.photo) return tell(shown()); // the browser cannot show it
  if (canvas.width !== state.photo.width) canvas.width = state.photo.width;
  if (canvas.height !== state.photo.height) canvas.height = state.photo.height;
  for (const side of ["width", "height"]) canvas.style.setProperty(`--${side}`, (state.picture ?? state.photo)[side]);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // under what is transparent, as the gateway has it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(state.photo, 0, 0);
  const people = shown();
  paint(context, people);
  if (state.probe) ring(context, state.probe, unit());
  tell(people);
  hint(people);
}

// pixels of the photo to one of the screen
const unit = () => ($("canvas").clientWidth ? state.photo.width / $("canvas").clientWidth : 1);

// People over a photo, in its coordinates.
export function paint(context, people) {
  // lines belong to the picture; boxes, their numbers and the ring to the screen, where they are as large as its text
  const lines = Math.max(1, Math.round(Math.max(state.photo.width, state.photo.height) / 700));
  const look = { palette: state.palette, highlight: state.highlight, width: lines };
  context.globalAlpha = Number($("opacity").value) / 100;
  for (const kind of LAYERS.filter((kind) => $(kind).checked)) {
    for (const one of people) {
      const picture = visible(one, people, kind, look);
      if (picture) context.drawImage(picture, ...one.offset);
    }
  }
  context.globalAlpha = 1;
  if (!$("boxes").checked) return;
  const named = (one) => people.length > 1 || one.person.tracker_id;
  const worstFirst = [...people].sort((a, b) => a.person.confidence - b.person.confidence); // labels cover each other
  for (const one of worstFirst) box(context, one, named(one));
}

function box(context, { person, name }, named) {
  const [x1, y1, x2, y2] = person.bbox;
  const colour = `hsl(${(210 + (name - 1) * 137.5) % 360} 95% 68%)`;
  const small = $("canvas").clientWidth < 500;
  const size = (small ? 10 : 12) * unit();
  context.lineWidth = (small ? 1.5 : 2) * unit();
  context.strokeStyle = colour;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.font = `600 ${size}px system-ui, sans-serif`;
  const width = (text) => context.measureText(text).width + 8 * unit();
  const score = person.confidence.toFixed(2);
  const long = named ? `${name} · ${score}` : score;
  const text = named && width(long) > x2 - x1 ? `${name}` : long; // what is wider than the box lies on the next one's
  const height = 1.4 * size;
  const top = y1 >= height ? y1 - height : y2 - height; // above the box, or on the feet: never on the face
  const left = Math.max(0, Math.min(x1, state.photo.width - width(text))); // in the picture, however narrow the box
  context.fillStyle = colour;
  context.fillRect(left, top, width(text), height);
  context.fillStyle = "#10141c";
  context.textBaseline = "middle";
  context.fillText(text, left + 4 * unit(), top + height / 2);
}

function ring(context, [x, y], unit) {
  for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
    context.beginPath();
    context.arc(x, y, 7 * unit, 0, 2 * Math.PI);
    context.lineWidth = width * unit;
    context.strokeStyle = colour;
    context.stroke();
  }
}

function tell(people) {
  const score = least().toFixed(2);
  if ($("score-value").textContent !== score) $("score-value").textContent = $("score").ariaValueText = score;
  write();
  if (!state.answer) return;
  const summary = people.length === 0 ? "Nobody found" : people.length === 1 ? "1 person" : `${people.length} people`;
  if ($("summary").textContent !== summary) {
    $("summary").textContent = summary;
    aloud(summary);
  }
  const named = $("parts").checked ? people.flatMap(({ person }) => person.parts ?? []) : [];
  const present = new Map(named.map((part) => [part.class_id, part.class]));
  const wanted = [...present].sort((a, b) => a[0] - b[0]);
  const explained = ["iuv", "contours"].filter((kind) => $(kind).checked && people.some(({ iuv }) => iuv));
  for (const kind of ["iuv", "contours"]) $(`${kind}-words`).hidden = !explained.includes(kind);
  $("legend-box").hidden = wanted.length + explained.length === 0;
  const [old, now] = [$("legend").dataset.of, JSON.stringify(wanted.map(([id, name]) => [id, name, state.palette[id]]))];
  if (old !== now) $("legend").replaceChildren(...wanted.map(([id, name]) => entry(id, name)));
  $("legend").dataset.of = now;
  for (const item of $("legend").children) item.classList.toggle("on", state.highlight === Number(item.dataset.id));
}

function entry(id, name) {
  const item = document.createElement("li");
  item.tabIndex = 0;
  item.dataset.id = id;
  const [r, g, b] = state.palette[id];
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name, value] of [["width", 14], ["height", 14], ["aria-hidden", true]]) svg.setAttribute(name, value);
  const square = document.createElementNS(space, "rect");
  for (const [name, value] of [["width", 14], ["height", 14], ["fill", `rgb(${r},${g},${b})`]]) square.setAttribute(name, value);
  svg.append(square);
  const text = document.createElement("span");
  text.textContent = state.told(name);
  item.append(svg, text);
  return item;
}

function highlight(id) {
  if (state.highlight === id) return;
  state.highlight = id;
  draw();
}

// names what is under a pixel of the photo; numbers are left out where there are others with every frame
function name([x, y], people) {
  for (const one of before(people, x, y)) {
    const found = at(one, x, y);
    if (!found) continue;
    const parts = [];
    if (found.label) parts.push(state.told(state.classes[found.label]));
    const score = one.person.parts?.find(({ class_id }) => class_id === found.label)?.score;
    if (score !== undefined && !state.live) parts.push(`score ${score.toFixed(2)}`);
    const place = state.live ? "" : `, U\u00a0${found.u.toFixed(2)} V\u00a0${found.v.toFixed(2)}`;
    if (found.part) parts.push(words(state.charts[found.part]) + place);
    const sure = state.live ? "" : ` (${one.person.confidence.toFixed(2)})`;
    if (people.length > 1) parts.push(`person ${one.name}${sure}`);
    return parts.join(" · ");
  }
  return "";
}

// of the pixel that was pointed at last, in the picture as it is now; written when it changes, because it is read aloud
function hint(people = shown()) {
  const { pointed, probe, answer } = state;
  const nobody = pointed === probe && answer ? "nobody here" : "";
  const text = pointed ? name(pointed, people) || nobody : "";
  if ($("hint").textContent !== text) $("hint").textContent = text;
}

function point(pixel) {
  state.pointed = pixel;
  hint();
}

function under(event) {
  const canvas = $("canvas");
  const area = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - area.left) / area.width) * canvas.width);
  const y = Math.floor(((event.clientY - area.top) / area.height) * canvas.height);
  return [x, y];
}

// where the ring comes from: the middle of the first person, of the picture where there is nobody
function start({ width, height }) {
  const [x1, y1, x2, y2] = shown()[0]?.person.bbox ?? [0, 0, width, height];
  return [Math.round((x1 + x2) / 2), Math.round((y1 + y2) / 2)];
}

// the arrow keys are to the picture what the mouse is: a ring that names what it is on
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function move(event) {
  const step = STEPS[event.key];
  const canvas = $("canvas");
  if (event.key === "Escape") state.probe = null;
  else if (!step) return;
  else {
    event.preventDefault();
    const far = Math.max(1, Math.round((Math.max(canvas.width, canvas.height) * (event.shiftKey ? 5 : 1)) / 100));
    const from = state.probe ?? start(canvas);
    const limits = [canvas.width - 1, canvas.height - 1];
    state.probe = from.map((value, axis) => Math.min(limits[axis], Math.max(0, value + far * step[axis])));
  }
  state.pointed = state.probe;
  draw();
}

window.addEventListener("resize", draw);
for (const id of ["parts", "iuv", "contours", "boxes", "opacity", "score"]) $(id).addEventListener("input", draw);
for (const kind of ["mouseover", "focusin"]) $("legend").addEventListener(kind, (event) => highlight(Number(event.target.closest("li")?.dataset.id ?? 0)));
for (const kind of ["mouseleave", "focusout"]) $("legend").addEventListener(kind, () => highlight(0));
$("canvas").addEventListener("mousemove", (event) => point(under(event)));
$("canvas").addEventListener("mouseleave", () => point(null));
$("canvas").addEventListener("keydown", move);
$("canvas").addEventListener("blur", () => move({ key: "Escape" }));
