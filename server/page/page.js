// Takes a photo, asks /v1/analyze once, and draws everything here: layers and opacity then cost no request.
const $ = (id) => document.getElementById(id);
const state = { file: null, photo: null, people: [], answer: null, taxonomy: null, trained: {}, highlight: null, ticket: 0 };

async function start() {
  const [taxonomies, models] = await Promise.all([get("/v1/taxonomies"), whenReady()]);
  const model = models[0];
  const known = (name) => taxonomies.find((t) => t.classes.length === model.classes.length && t.classes[5] === name);
  state.taxonomy = known(model.classes[5]) ?? taxonomies[0];
  state.trained = model.tasks;
  $("model").textContent = `${model.name} ${model.version} · ${model.runtime}`;
  $("iuv-label").hidden = !model.tasks.densepose;
}

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.json();
}

async function whenReady() {
  for (;;) {
    try {
      return await get("/v1/models");
    } catch (error) {
      $("model").textContent = error.message;
      await new Promise((done) => setTimeout(done, 700));
    }
  }
}
const started = start();

async function open(file) {
  if (!file) return;
  const ticket = ++state.ticket;
  state.file = file;
  $("error").hidden = true;
  try {
    state.photo = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    state.photo = null; // the server says better what is wrong with it
  }
  state.people = [];
  state.answer = null;
  $("drop").hidden = Boolean(state.photo);
  $("viewer").hidden = !state.photo;
  $("panel").hidden = true;
  draw();
  $("busy").hidden = false;
  try {
    await started;
    await analyze(file, ticket);
  } catch (error) {
    if (ticket !== state.ticket) return;
    $("error").textContent = error.message;
    $("error").hidden = false;
  } finally {
    if (ticket === state.ticket) $("busy").hidden = true;
  }
}

function query(extra = {}) {
  const tasks = state.trained.densepose ? "parsing,densepose" : "parsing";
  return new URLSearchParams({ tasks, confidence: "0.05", ...extra });
}

async function analyze(file, ticket) {
  const begin = performance.now();
  const response = await fetch(`/v1/analyze?${query({ include: "parts,label_map,iuv", mask_format: "none", exact: "true" })}`, { method: "POST", body: file });
  const answer = await response.json();
  if (ticket !== state.ticket) return;
  if (!response.ok) throw new Error(`${answer.title}: ${answer.detail}`);
  state.answer = answer;
  state.people = await Promise.all(answer.predictions.map(layers));
  state.milliseconds = performance.now() - begin;
  $("panel").hidden = false;
  draw();
}

// PNG in base64 -> RGBA pixels
async function pixels(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

async function layers(person) {
  const result = { person, offset: person.offset };
  if (person.parts_png) result.labels = await pixels(person.parts_png);
  if (person.densepose) result.iuv = await pixels(person.densepose.labels_uv_str);
  return result;
}

function paint(size, colour) {
  const canvas = new OffscreenCanvas(size.width, size.height);
  const image = new ImageData(size.width, size.height);
  for (let i = 0; i < size.width * size.height; i++) {
    const rgb = colour(4 * i);
    if (rgb) image.data.set([rgb[0], rgb[1], rgb[2], rgb[3] ?? 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function partsLayer({ labels }) {
  const palette = state.taxonomy.palette;
  return paint(labels, (i) => {
    const label = labels.data[i];
    if (!label) return null;
    const dim = state.highlight !== null && state.highlight !== label;
    return [...palette[label], dim ? 50 : 255];
  });
}

function iuvLayer({ iuv }) {
  return paint(iuv, (i) => (iuv.data[i] ? [iuv.data[i] * 10, iuv.data[i + 1], iuv.data[i + 2]] : null));
}

function shown() {
  const least = Number($("score").value) / 100;
  return state.people.filter(({ person }) => person.confidence >= least);
}

function draw() {
  const canvas = $("canvas");
  if (!state.photo) return;
  [canvas.width, canvas.height] = [state.photo.width, state.photo.height];
  const context = canvas.getContext("2d");
  context.drawImage(state.photo, 0, 0);
  const people = shown();
  context.globalAlpha = Number($("opacity").value) / 100;
  // the best scores are drawn last, in front
  for (const one of [...people].reverse()) {
    if ($("parts").checked && one.labels) context.drawImage(partsLayer(one), one.offset[0], one.offset[1]);
    if ($("iuv").checked && one.iuv) context.drawImage(iuvLayer(one), one.offset[0], one.offset[1]);
  }
  context.globalAlpha = 1;
  if ($("boxes").checked) people.forEach((one, index) => box(context, one.person, index));
  tell(people);
}

function box(context, person, index) {
  const unit = Math.max(context.canvas.width, context.canvas.height) / 500;
  const [x1, y1, x2, y2] = person.bbox;
  const colour = `hsl(${(210 + index * 137.5) % 360} 95% 62%)`;
  context.lineWidth = Math.max(1.5, 1.2 * unit);
  context.strokeStyle = colour;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.font = `600 ${Math.max(11, 7.5 * unit)}px system-ui, sans-serif`;
  const text = person.confidence.toFixed(2);
  const height = Math.max(15, 10 * unit);
  const top = y1 >= height ? y1 - height : y1;
  context.fillStyle = colour;
  context.fillRect(x1, top, context.measureText(text).width + 3 * unit + 4, height);
  context.fillStyle = "#10141c";
  context.textBaseline = "middle";
  context.fillText(text, x1 + 1.5 * unit + 2, top + height / 2);
}

function tell(people) {
  if (!state.answer) return;
  const count = people.length === 0 ? "Nobody found" : people.length === 1 ? "1 person" : `${people.length} people`;
  const server = (1000 * state.answer.time).toFixed(0);
  $("summary").textContent = `${count} · ${server} ms on the server, ${state.milliseconds.toFixed(0)} ms in all`;
  $("score-value").textContent = (Number($("score").value) / 100).toFixed(2);
  const present = new Map();
  for (const { person } of people) for (const part of person.parts ?? []) present.set(part.class_id, part.class);
  $("legend-box").hidden = present.size === 0;
  $("legend").replaceChildren(...[...present].sort((a, b) => a[0] - b[0]).map(([id, name]) => entry(id, name)));
}

function entry(id, name) {
  const item = document.createElement("li");
  item.tabIndex = 0;
  item.dataset.id = id;
  item.classList.toggle("on", state.highlight === id);
  const [r, g, b] = state.taxonomy.palette[id];
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("width", "14");
  svg.setAttribute("height", "14");
  const square = document.createElementNS(space, "rect");
  for (const [key, value] of [["width", 14], ["height", 14], ["fill", `rgb(${r},${g},${b})`]]) square.setAttribute(key, value);
  svg.append(square);
  item.append(svg, name.replace(/([a-z])([A-Z])/g, "$1 $2"));
  return item;
}

function highlight(id) {
  if (state.highlight === id) return;
  state.highlight = id;
  draw();
}

function under(event) {
  const canvas = $("canvas");
  const area = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - area.left) / area.width) * canvas.width);
  const y = Math.floor(((event.clientY - area.top) / area.height) * canvas.height);
  for (const { person, offset, labels } of shown()) {
    if (!labels) continue;
    const [u, v] = [x - offset[0], y - offset[1]];
    if (u < 0 || v < 0 || u >= labels.width || v >= labels.height) continue;
    const label = labels.data[4 * (v * labels.width + u)];
    if (label) return `${state.taxonomy.classes[label]} · person ${Number(person.detection_id) + 1}`;
  }
  return "";
}

async function download(kind) {
  const stem = (state.file.name || "photo").replace(/\.[^.]+$/, "");
  const least = (Number($("score").value) / 100).toFixed(2);
  const plans = {
    json: ["application/json", {}, `${stem}.json`],
    npz: ["application/x-npz", {}, `${stem}.npz`],
    parts: ["image/png", { render: "parts", tasks: "parsing" }, `${stem}_parts.png`],
  };
  let blob, name;
  if (kind === "png") {
    blob = await new Promise((done) => $("canvas").toBlob(done, "image/png"));
    name = `${stem}_overlay.png`;
  } else {
    const [accept, extra, file] = plans[kind];
    const response = await fetch(`/v1/analyze?${query({ confidence: least, ...extra })}`, { method: "POST", body: state.file, headers: { Accept: accept } });
    if (!response.ok) {
      $("error").textContent = (await response.json()).detail;
      $("error").hidden = false;
      return;
    }
    [blob, name] = [await response.blob(), file];
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = "";
});
for (const id of ["parts", "boxes", "iuv", "opacity", "score"]) $(id).addEventListener("input", draw);
for (const name of ["mouseover", "focusin"]) $("legend").addEventListener(name, (e) => highlight(Number(e.target.closest("li")?.dataset.id ?? NaN) || null));
for (const name of ["mouseleave", "focusout"]) $("legend").addEventListener(name, () => highlight(null));
$("canvas").addEventListener("mousemove", (event) => ($("hint").textContent = under(event)));
$("canvas").addEventListener("mouseleave", () => ($("hint").textContent = ""));
$("downloads").addEventListener("click", (event) => event.target.dataset.kind && download(event.target.dataset.kind));
document.addEventListener("paste", (event) => open([...event.clipboardData.files][0]));
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => (event.preventDefault(), document.body.classList.add("over")));
for (const name of ["dragleave", "drop"]) document.addEventListener(name, (event) => (event.preventDefault(), document.body.classList.remove("over")));
document.addEventListener("drop", (event) => open(event.dataTransfer.files[0]));
