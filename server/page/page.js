// Takes a photo or the webcam, asks the gateway once for each picture, and draws everything here: layers, opacity and
// higher scores then cost no request.
import { askWith, get, request } from "./gateway.js";
import { Camera } from "./camera.js";
import { at, before, decodeAll, visible } from "./layers.js";

const $ = (id) => document.getElementById(id);
const state = { file: null, photo: null, people: [], answer: null, asked: 1, tasks: {}, palette: [], classes: [], charts: [], highlight: 0, ticket: 0, probe: null, camera: null, live: false, work: new AbortController() };

async function start() {
  const [taxonomies, [model]] = await Promise.all([get("/v1/taxonomies"), whenReady()]);
  const own = taxonomies.find((t) => JSON.stringify(t.classes) === JSON.stringify(model.classes)) ?? taxonomies[0];
  state.palette = own.palette;
  state.classes = model.classes;
  state.charts = taxonomies.find((t) => t.name === "densepose").classes;
  state.tasks = model.tasks;
  $("model").textContent = `${model.name} ${model.version} · ${model.runtime}`;
  for (const element of document.querySelectorAll("[data-needs]")) element.hidden = !model.tasks[element.dataset.needs];
}

async function whenReady() {
  for (;;) {
    try {
      return await get("/v1/models");
    } catch (error) {
      if (error.status === 401) throw error;
      $("model").textContent = error.message;
      await new Promise((done) => setTimeout(done, 700));
    }
  }
}

askWith((detail) => {
  $("key-detail").textContent = detail;
  $("key").value = "";
  $("key-dialog").showModal();
  return new Promise((done) => {
    $("key-dialog").addEventListener("close", () => done($("key-dialog").returnValue === "use" ? $("key").value.trim() : null), { once: true });
  });
});
let started = start();
started.catch(fail);

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
}

// What passes by itself. Fixed, so that nothing below moves; and slow to go, so that it does not flicker where it comes
// again and again.
let fading = 0;
function notice(text, linger = 1500) {
  clearTimeout(fading);
  if (text) $("notice").textContent = text;
  else fading = setTimeout(() => ($("notice").textContent = ""), linger);
}

const least = () => Number($("score").value) / 100;
const LEAST = 0.05; // of the slider
const LAYERS = ["parts", "iuv", "contours"];
const INCLUDE = { parsing: ["parts", "label_map"], densepose: ["iuv"] };
const trained = () => Object.keys(INCLUDE).filter((task) => state.tasks[task]);
const maps = () => ({ include: [...trained().flatMap((task) => INCLUDE[task]), ...(trained().length ? ["inds"] : [])].join(","), mask_format: "none" });

function query(confidence, extra = {}) {
  return new URLSearchParams({ tasks: trained().join(","), confidence: confidence.toFixed(2), ...extra });
}

async function open(file) {
  if (!file) return;
  state.camera?.stop();
  const ticket = ++state.ticket;
  $("error").hidden = true;
  $("busy").hidden = false;
  let photo = null;
  try {
    photo = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    // the gateway says better what is wrong with it
  }
  if (ticket !== state.ticket) return;
  Object.assign(state, { file, photo, people: [], answer: null, probe: null });
  $("drop").hidden = Boolean(photo);
  $("viewer").hidden = $("another").hidden = !photo;
  $("panel").hidden = true;
  draw();
  await analyze(file, ticket, least());
}

async function ready() {
  try {
    await started;
  } catch {
    started = start(); // the key was refused before; ask again
    await started;
  }
}

async function analyze(file, ticket, confidence) {
  let done = false;
  state.work.abort(); // whoever waits for the photo before is not there any more
  const { signal } = (state.work = new AbortController());
  $("busy").hidden = false;
  try {
    await ready();
    const begin = performance.now();
    const response = await request(`/v1/analyze?${query(confidence, { ...maps(), exact: "true" })}`, { method: "POST", body: file, signal });
    const answer = await response.json();
    const people = await decodeAll(answer);
    if (ticket !== state.ticket) return;
    Object.assign(state, { answer, people, asked: confidence });
    const [server, all] = [1000 * answer.time, performance.now() - begin].map((ms) => ms.toFixed(0));
    $("figures").textContent = `${server} ms on the server, ${all} in all`;
    $("panel").hidden = false;
    draw();
    done = true;
  } catch (error) {
    if (ticket === state.ticket) fail(error);
  } finally {
    if (ticket === state.ticket) $("busy").hidden = true;
  }
  if (done) await lower(); // it may have been moved meanwhile
}

// Who is below the slider was not asked for: the faint cost as much as the certain. Moved lower, it asks once more, for
// everybody it can show.
async function lower() {
  if (!state.answer || least() >= state.asked) return;
  if (state.live) {
    state.asked = LEAST;
    state.camera.ask(query(LEAST, maps()));
  } else if ($("busy").hidden) {
    $("error").hidden = true;
    const ticket = ++state.ticket;
    await analyze(await state.file, ticket, LEAST);
  }
}

async function webcam() {
  if (state.camera) return state.camera.stop();
  $("error").hidden = true;
  const pace = { last: null, interval: null, latency: null };
  const smooth = (old, now) => (old === null ? now : 0.9 * old + 0.1 * now);
  let newest = -1;
  let confidence;
  const answered = async (answer, photo, milliseconds) => {
    const people = await decodeAll(answer);
    if (state.camera !== camera || newest > answer.frame_id) return;
    newest = answer.frame_id;
    if (!state.live) goLive(confidence);
    const now = performance.now();
    if (pace.last !== null) pace.interval = smooth(pace.interval, now - pace.last);
    pace.last = now;
    pace.latency = smooth(pace.latency, milliseconds);
    state.photo?.close();
    Object.assign(state, { photo, people, answer });
    $("viewer").hidden = $("another").hidden = $("panel").hidden = false;
    $("drop").hidden = true;
    const fps = pace.interval === null ? "–" : (1000 / pace.interval).toFixed(1);
    $("figures").textContent = `${fps} fps · ${pace.latency.toFixed(0)} ms from camera to picture · ${camera.skipped + camera.dropped} frames left out`;
    draw();
    lower();
  };
  const camera = (state.camera = new Camera(answered, notice, stopped));
  showCamera(true);
  try {
    await ready();
    confidence = least();
    await camera.start(query(confidence, maps()));
  } catch (error) {
    camera.stop(error);
  }
}

// With the first frame that was answered, and no earlier, the webcam takes the place of a photo: it may be refused.
function goLive(confidence) {
  state.ticket++; // an answer to the photo comes too late now
  state.work.abort();
  Object.assign(state, { file: null, asked: confidence, probe: null, live: true });
  $("busy").hidden = true;
  document.body.classList.add("live");
}

function showCamera(running) {
  for (const button of document.querySelectorAll("[data-action=webcam]")) button.textContent = running ? "Stop the webcam" : "Open the webcam";
}

// The last frame stays, as a photo that can be downloaded and analysed again.
function stopped(error) {
  const { live } = state;
  Object.assign(state, { camera: null, live: false });
  document.body.classList.remove("live");
  showCamera(false);
  notice("", 0);
  if (error) fail(error);
  if (!live) return;
  const canvas = new OffscreenCanvas(state.photo.width, state.photo.height);
  canvas.getContext("2d").drawImage(state.photo, 0, 0);
  state.file = canvas.convertToBlob({ type: "image/png" }).then((blob) => new File([blob], "webcam.png"));
}

function shown() {
  return state.people.filter(({ person }) => person.confidence >= least());
}

function draw() {
  const canvas = $("canvas");
  if (!state.photo) return;
  if (canvas.width !== state.photo.width) canvas.width = state.photo.width;
  if (canvas.height !== state.photo.height) canvas.height = state.photo.height;
  for (const side of ["width", "height"]) canvas.style.setProperty(`--${side}`, canvas[side]);
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.drawImage(state.photo, 0, 0);
  const people = shown();
  // lines belong to the picture; boxes, their numbers and the ring to the screen, where they are as large as its text
  const lines = Math.max(1, Math.round(Math.max(canvas.width, canvas.height) / 700));
  const look = { palette: state.palette, highlight: state.highlight, width: lines };
  const unit = canvas.clientWidth ? canvas.width / canvas.clientWidth : 1;
  context.globalAlpha = Number($("opacity").value) / 100;
  for (const kind of LAYERS.filter((kind) => $(kind).checked)) {
    for (const one of people) {
      const picture = visible(one, people, kind, look);
      if (picture) context.drawImage(picture, ...one.offset);
    }
  }
  context.globalAlpha = 1;
  if ($("boxes").checked) people.forEach(({ person }, index) => box(context, person, index, unit));
  if (state.probe) ring(context, state.probe, unit);
  tell(people);
}

function box(context, person, index, unit) {
  const [x1, y1, x2, y2] = person.bbox;
  const colour = `hsl(${(210 + index * 137.5) % 360} 95% 68%)`;
  const size = (context.canvas.clientWidth < 500 ? 10 : 12) * unit;
  context.lineWidth = (context.canvas.clientWidth < 500 ? 1.5 : 2) * unit;
  context.strokeStyle = colour;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.font = `600 ${size}px system-ui, sans-serif`;
  const text = person.confidence.toFixed(2);
  const height = 1.4 * size;
  const top = y1 >= height ? y1 - height : y2 - height; // above the box, or on the feet: never on the face
  context.fillStyle = colour;
  context.fillRect(x1, top, context.measureText(text).width + 8 * unit, height);
  context.fillStyle = "#10141c";
  context.textBaseline = "middle";
  context.fillText(text, x1 + 4 * unit, top + height / 2);
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
  $("score-value").textContent = $("score").ariaValueText = least().toFixed(2);
  if (!state.answer) return;
  $("summary").textContent = people.length === 0 ? "Nobody found" : people.length === 1 ? "1 person" : `${people.length} people`;
  const named = $("parts").checked ? people.flatMap(({ person }) => person.parts ?? []) : [];
  const present = new Map(named.map((part) => [part.class_id, part.class]));
  const wanted = [...present].sort((a, b) => a[0] - b[0]);
  const explained = ["iuv", "contours"].filter((kind) => $(kind).checked && people.some(({ iuv }) => iuv));
  for (const kind of ["iuv", "contours"]) $(`${kind}-words`).hidden = !explained.includes(kind);
  $("legend-box").hidden = wanted.length + explained.length === 0;
  const [old, now] = [$("legend").dataset.of, wanted.map(([id]) => id).join()];
  if (old !== now) $("legend").replaceChildren(...wanted.map(([id, name]) => entry(id, name)));
  $("legend").dataset.of = now;
  for (const item of $("legend").children) item.classList.toggle("on", state.highlight === Number(item.dataset.id));
}

const words = (name) => name.replace(/([a-z])([A-Z])/g, "$1 $2").replace("-", " ");

function entry(id, name) {
  const item = document.createElement("li");
  item.tabIndex = 0;
  item.dataset.id = id;
  const [r, g, b] = state.palette[id];
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("width", "14");
  svg.setAttribute("height", "14");
  const square = document.createElementNS(space, "rect");
  for (const [name, value] of [["width", 14], ["height", 14], ["fill", `rgb(${r},${g},${b})`]]) square.setAttribute(name, value);
  svg.append(square);
  item.append(svg, words(name));
  return item;
}

function highlight(id) {
  if (state.highlight === id) return;
  state.highlight = id;
  draw();
}

// names what is under a pixel of the photo
function name([x, y]) {
  const people = shown();
  for (const one of before(people, x, y)) {
    const found = at(one, x, y);
    if (!found) continue;
    const parts = [];
    if (found.label) parts.push(words(state.classes[found.label]));
    if (found.part) parts.push(`${words(state.charts[found.part])}, U ${found.u.toFixed(2)} V ${found.v.toFixed(2)}`);
    return `${parts.join(" · ")}${people.length > 1 ? ` · person ${one.number}` : ""}`;
  }
  return "";
}

function under(event) {
  const canvas = $("canvas");
  const area = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - area.left) / area.width) * canvas.width);
  const y = Math.floor(((event.clientY - area.top) / area.height) * canvas.height);
  return [x, y];
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
    const from = state.probe ?? [Math.round(canvas.width / 2), Math.round(canvas.height / 2)];
    const limits = [canvas.width - 1, canvas.height - 1];
    state.probe = from.map((value, axis) => Math.min(limits[axis], Math.max(0, value + far * step[axis])));
  }
  draw();
  $("hint").textContent = state.probe ? name(state.probe) : "";
}

// with the edges that are seen here; an npz has the maps as they were computed
const DOWNLOADS = {
  json: ["application/json", { exact: "true" }, ".json"],
  npz: ["application/x-npz", {}, ".npz"],
  parts: ["image/png", { exact: "true", render: "parts", tasks: "parsing" }, "_parts.png"],
  iuv: ["image/png", { exact: "true", render: "iuv", tasks: "densepose" }, "_IUV.png"],
};

async function download(kind) {
  const picture = await state.file;
  const stem = (picture?.name || "webcam").replace(/\.[^.]+$/, "");
  let blob, file;
  if (kind === "png") {
    blob = await new Promise((done) => $("canvas").toBlob(done, "image/png"));
    file = `${stem}_overlay.png`;
  } else {
    const [accept, extra, ending] = DOWNLOADS[kind];
    if (!picture) throw new Error("Stop the webcam first: its last frame can then be downloaded.");
    const path = `/v1/analyze?${query(least(), extra)}`;
    blob = await (await request(path, { method: "POST", body: picture, headers: { Accept: accept } })).blob();
    file = `${stem}${ending}`;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-action=webcam]")) button.addEventListener("click", webcam);
window.addEventListener("resize", draw);
for (const id of ["parts", "iuv", "contours", "boxes", "opacity", "score"]) $(id).addEventListener("input", draw);
$("score").addEventListener("input", () => lower().catch(fail));
for (const kind of ["mouseover", "focusin"]) $("legend").addEventListener(kind, (event) => highlight(Number(event.target.closest("li")?.dataset.id ?? 0)));
for (const kind of ["mouseleave", "focusout"]) $("legend").addEventListener(kind, () => highlight(0));
$("canvas").addEventListener("mousemove", (event) => ($("hint").textContent = name(under(event))));
$("canvas").addEventListener("mouseleave", () => ($("hint").textContent = ""));
$("canvas").addEventListener("keydown", move);
$("canvas").addEventListener("blur", () => move({ key: "Escape" }));
$("downloads").addEventListener("click", ({ target }) => {
  if (!target.dataset.kind || target.ariaBusy === "true") return;
  $("error").hidden = true;
  target.ariaBusy = "true";
  download(target.dataset.kind).catch(fail).finally(() => (target.ariaBusy = "false"));
});
document.addEventListener("paste", (event) => open([...event.clipboardData.files][0]));
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => (event.preventDefault(), document.body.classList.add("over")));
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, (event) => (event.preventDefault(), document.body.classList.remove("over")));
document.addEventListener("drop", (event) => open(event.dataTransfer.files[0]));
