// Takes a photo or the webcam, asks the gateway once for each picture, and draws everything here: layers, opacity and
// higher scores then cost no request.
import { Camera } from "./camera.js";
import { download } from "./downloads.js";
import { Problem, askWith, get, key, listen, request } from "./gateway.js";
import { decodeAll } from "./layers.js";
import { busy, fail, forget, notice, noticed, patiently } from "./messages.js";
import { due, offer, same, tell } from "./models.js";
import { choose, mend, read, still } from "./picture.js";
import { $, LEAST, least, query, sized, state, trained } from "./state.js";
import { draw } from "./view.js";

async function start() {
  $("model").textContent = "connecting…";
  try {
    const [model] = await whenReady();
    const taxonomies = await get("/v1/taxonomies");
    const own = taxonomies.find((t) => JSON.stringify(t.classes) === JSON.stringify(model.classes)) ?? taxonomies[0];
    state.palette = own.palette;
    state.classes = model.classes;
    state.charts = taxonomies.find((t) => t.name === "densepose").classes;
    if (same(model, state.model)) state.model = model; // what it offers may be something else
    else replace(model);
    offer();
    for (const element of document.querySelectorAll("[data-needs]")) {
      element.hidden = !element.dataset.needs.split(" ").some((task) => model.tasks[task]);
    }
  } catch (error) {
    $("model").textContent = error.status === 401 ? "a key is needed" : "not connected";
    throw error;
  }
}

// What is shown of the model before has other names and colours. Where there are no parts to be seen, IUV is.
function replace(model) {
  const parts = (tasks) => tasks?.parsing ?? true;
  if (parts(state.model?.tasks) !== parts(model.tasks)) $("iuv").checked = !parts(model.tasks);
  Object.assign(state, { model, people: [], answer: null, highlight: 0 });
  $("panel").hidden = true;
  draw();
}

const CHANGES = 3; // of models in a row, after which waiting for one that stays is given up
const unsteady = () => new Problem({ detail: "The gateway answers with one model and then with another. Try again in a moment." });

let reason = ""; // why the gateway is not ready
const awaited = () => Boolean(state.camera) || !$("busy").hidden;
const explain = (text) => text && awaited() && notice(text);
async function whenReady() {
  for (;;) {
    try {
      const models = await get("/v1/models");
      reason = "";
      return models;
    } catch (error) {
      if (error.status === 401) throw error;
      $("model").textContent = error.reason;
      reason = `${error.reason}${/[.?]$/.test(error.reason) ? "" : "."} This page asks again each second.`;
      explain(reason);
      await new Promise((done) => setTimeout(done, 700));
    }
  }
}

askWith((detail) => {
  keyed();
  $("key-detail").textContent = detail;
  $("key").value = "";
  $("key-dialog").showModal();
  return new Promise((done) => {
    $("key-dialog").addEventListener("close", () => done($("key-dialog").returnValue === "use" ? $("key").value.trim() : null), { once: true });
  });
});
// a link cannot carry a key
const keyed = () => (document.querySelector("[href='/metrics']").hidden = true);
if (key()) keyed();
let started = start();
const again = () => ready().catch((error) => fail(error, again));
started.catch((error) => fail(error, again));

// `anew`: another model has answered
async function ready(anew = false) {
  const end = listen(explain);
  explain(reason);
  try {
    if (anew) await (started = start());
    else await started.catch(() => (started = start())); // the key was refused before; ask again
  } finally {
    end();
    notice("");
  }
}

// Whether the model that is chosen is none of the gateway's any more, as where that was started again: then its own is
// chosen.
async function gone() {
  const { model } = sized();
  if (!model) return false;
  await ready(true);
  return sized().model !== model;
}
// what was refused for that model can be asked for once more
const mendable = async (error) => error.status === 422 && (await gone());

const INCLUDE = { parsing: ["parts", "label_map"], densepose: ["iuv"] };
const maps = () => ({ include: [...trained().flatMap((task) => INCLUDE[task]), ...(trained().length ? ["inds"] : [])].join(","), mask_format: "none" });
const followed = () => ({ ...maps(), track: "true" }); // numbers and colours stay with people from frame to frame

async function open(files) {
  const { file, chosen } = choose([...files]);
  if (!file) return;
  state.refused = null;
  state.camera?.stop();
  const ticket = ++state.ticket;
  state.work.abort(); // whoever waits for the photo before is not there any more
  forget();
  notice("", 0);
  busy(true);
  if (!$("panel").hidden) $("lost").textContent = ""; // it was read
  let error = null;
  const picture = await read(file, chosen).catch((reason) => ((error = reason), null));
  if (ticket !== state.ticket) return;
  state.photo?.close?.();
  Object.assign(state, { picture, photo: picture?.photo, people: [], answer: null, probe: null, pointed: null });
  $("drop").hidden = Boolean(state.photo);
  $("viewer").hidden = $("another").hidden = !state.photo;
  $("panel").hidden = true;
  draw();
  if (picture) return analyze(picture, ticket, least());
  busy(false);
  fail(error);
}

async function analyze(picture, ticket, confidence) {
  let done = false;
  const { signal } = (state.work = new AbortController());
  const about = () => [picture.chosen, picture.converted].filter(Boolean).join(". ");
  state.refused = null;
  busy(true);
  try {
    await ready();
    notice(about(), 0);
    const begin = performance.now();
    const send = async () => request(`/v1/analyze?${query(confidence, { ...maps(), exact: "true" })}`, { method: "POST", body: await picture.small, signal });
    let wanted;
    const ask = () => {
      wanted = due();
      return patiently(send, signal).catch((error) => {
        if (!mend(picture, error)) throw error;
        notice(about());
        return patiently(send, signal);
      });
    };
    let response = await ask().catch(async (error) => {
      if (!(await mendable(error)) || ticket !== state.ticket) throw error;
      return ask();
    });
    let answer = await response.json();
    for (let change = 1; !same(answer.model, wanted); change++) {
      if (change > CHANGES) throw unsteady();
      await ready(true);
      if (ticket !== state.ticket) return;
      response = await ask(); // of the tasks of this model
      answer = await response.json();
    }
    const people = await decodeAll(answer);
    if (ticket !== state.ticket) return;
    Object.assign(state, { answer, people, asked: confidence });
    const [, there] = /\btotal;dur=([\d.]+)/.exec(response.headers.get("Server-Timing")) ?? [];
    const all = (picture.took + performance.now() - begin).toFixed(0);
    picture.took = 0; // it is not read again
    $("figures").textContent = there ? `${Number(there).toFixed(0)} ms on the server, ${all} in all` : `${all} ms in all`;
    for (const name of ["chosen", "converted"]) $(name).textContent = picture[name];
    $("panel").hidden = false;
    draw();
    done = true;
  } catch (error) {
    if (ticket === state.ticket) {
      const again = () => analyze(picture, ++state.ticket, Math.min(confidence, least()));
      fail(error, again);
      if (!state.answer) state.refused = { error, again: error.passes ? again : null };
    }
  } finally {
    if (ticket === state.ticket) {
      busy(false);
      notice("", noticed() === about() ? 3000 : 0); // what is said of the photo can be read
    }
  }
  if (done) await lower(); // it may have been moved meanwhile
}

// Who is below the slider was not asked for: the faint cost as much as the certain. Moved lower, it asks once more, for
// everybody it can show.
async function lower() {
  if (!state.answer || least() >= state.asked) return;
  if (state.live) {
    state.asked = LEAST;
    state.camera.ask(query(LEAST, followed()));
  } else if ($("busy").hidden) {
    forget();
    await analyze(state.picture, ++state.ticket, LEAST);
  }
}

async function webcam() {
  if (state.camera) return state.camera.stop();
  forget();
  const pace = { last: null, interval: null, latency: null };
  const smooth = (old, now) => (old === null ? now : 0.9 * old + 0.1 * now);
  let newest = -1;
  let confidence;
  let changes = 0;
  let renewal = null;
  // the same webcam for another model, whose tasks may be others
  async function renew() {
    try {
      if (++changes > CHANGES) throw unsteady();
      await ready(true);
      if (!camera.stopped) camera.ask(query(state.live ? state.asked : confidence, followed()));
    } catch (error) {
      camera.stop(error);
    } finally {
      renewal = null;
    }
  }
  const answered = async (answer, photo, milliseconds) => {
    const wanted = due(); // what is asked for may be another one when it is decoded
    const people = await decodeAll(answer);
    if (state.camera !== camera || newest > answer.frame_id) return;
    newest = answer.frame_id;
    if (!same(answer.model, wanted)) return (renewal ??= renew());
    if (renewal) return; // of the tasks of the model before
    changes = 0;
    if (!state.live) goLive(confidence);
    const now = performance.now();
    if (pace.last !== null) pace.interval = smooth(pace.interval, now - pace.last);
    pace.last = now;
    pace.latency = smooth(pace.latency, milliseconds);
    state.photo?.close?.();
    Object.assign(state, { photo, people, answer });
    $("viewer").hidden = $("another").hidden = $("panel").hidden = false;
    $("drop").hidden = true;
    const fps = pace.interval === null ? "–" : (1000 / pace.interval).toFixed(1);
    $("figures").textContent = `${fps} fps · ${pace.latency.toFixed(0)} ms from camera to picture · ${camera.skipped + camera.dropped} frames left out`;
    draw();
    lower();
  };
  const anew = async () => ((await gone()) ? query(state.live ? state.asked : confidence, followed()) : null);
  const camera = (state.camera = new Camera(answered, notice, stopped, anew));
  showCamera(true);
  try {
    await ready();
    confidence = least();
    await camera.start(query(confidence, followed()));
    const several = await camera.several();
    $("turn").hidden = !several || state.camera !== camera;
  } catch (error) {
    camera.stop(error);
  }
}

// With the first frame that was answered, and no earlier, the webcam takes the place of a photo: it may be refused.
function goLive(confidence) {
  state.ticket++; // an answer to the photo comes too late now
  state.work.abort();
  Object.assign(state, { picture: null, asked: confidence, refused: null, probe: null, pointed: null, live: true });
  busy(false);
  for (const name of ["chosen", "converted"]) $(name).textContent = "";
  showLive();
}

function showCamera(running) {
  for (const button of document.querySelectorAll("[data-action=webcam]")) button.textContent = running ? "Stop the webcam" : "Open the webcam";
  if (!running) $("turn").hidden = true;
}

// files but the overlay are made by the gateway, of one picture
function showLive() {
  document.body.classList.toggle("live", state.live);
  for (const button of document.querySelectorAll("[data-kind]:not([data-kind=png]), #hiding")) button.disabled = state.live;
}

// The last frame stays, as a photo that can be downloaded and analysed again.
function stopped(error) {
  const { live } = state;
  Object.assign(state, { camera: null, live: false });
  showLive();
  showCamera(false);
  notice("", 0);
  forget();
  if (error ?? state.refused) beside(error ?? state.refused.error);
  if (live) state.picture = still(state.photo);
  draw();
}

// An error that is not the photo's takes nothing from it: it can be tried again still.
function beside(error) {
  fail(error, state.refused?.again);
}

$("file").addEventListener("change", (event) => {
  open(event.target.files);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-action=webcam]")) button.addEventListener("click", webcam);
$("turn").addEventListener("click", () => {
  const { camera } = state;
  $("turn").disabled = true;
  camera.turn().catch((error) => camera.stop(error)).finally(() => ($("turn").disabled = false));
});
$("score").addEventListener("input", () => lower());
// what is seen is asked for anew: the webcam's next frames, and a photo that they have not replaced
$("size").addEventListener("change", () => {
  tell();
  $("lost").textContent = "";
  state.camera?.ask(query(state.live ? state.asked : least(), followed()));
  if (!state.picture) return;
  state.work.abort();
  forget();
  analyze(state.picture, ++state.ticket, Math.min(least(), state.asked));
});
function load(button, picture = state.picture) {
  forget();
  button.ariaBusy = "true";
  const done = () => (button.ariaBusy = "false");
  const make = () => download(button.dataset.kind, button.textContent, picture);
  const again = async (error) => {
    if (!(await mendable(error))) throw error;
    // what is saved is what is seen
    if (picture === state.picture) await analyze(picture, ++state.ticket, Math.min(least(), state.asked));
    return make();
  };
  make().catch(again).catch((error) => fail(error, () => load(button, picture))).finally(done);
}
$("downloads").addEventListener("click", ({ target }) => {
  if (target.dataset.kind && target.ariaBusy !== "true") load(target);
});
document.addEventListener("paste", (event) => open(event.clipboardData.files));
// Files are taken, links answered; text is left to the field of the key, and nothing else has a place here.
function drag(event) {
  const { dataTransfer, target, type } = event;
  const [files, link] = ["Files", "text/uri-list"].map((kind) => dataTransfer.types.includes(kind));
  if (target === $("key") && !files) return;
  event.preventDefault(); // of a link the browser would leave this page
  const comes = type === "dragenter" || type === "dragover";
  document.body.classList.toggle("over", comes && files);
  if (comes && !files && !link) dataTransfer.dropEffect = "none";
  if (type === "drop") dropped(dataTransfer.files, link);
}

function dropped(files, link) {
  if (files.length > 0) open(files);
  else if (link) beside(new Problem({ detail: "That is a link, not a photo: save the picture first, or copy and paste it." }));
}
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) document.addEventListener(kind, drag);
