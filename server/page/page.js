// Takes a photo, a video or the webcam, asks the gateway once for each picture, and draws everything here: layers,
// opacity and higher scores then cost no request.
import { AnotherModel, download } from "./downloads.js";
import { Film } from "./film.js";
import { Problem, request } from "./gateway.js";
import { decodeAll } from "./layers.js";
import { Live } from "./live.js";
import { busy, fail, forget, notice, noticed, patiently } from "./messages.js";
import { due, same, tell } from "./models.js";
import { choose, mend, read, still } from "./picture.js";
import { CHANGES, gone, mendable, ready, unsteady } from "./ready.js";
import { $, LEAST, least, query, state, trained } from "./state.js";
import { draw } from "./view.js";
import { Webcam } from "./webcam.js";

const INCLUDE = { parsing: ["parts", "label_map"], densepose: ["iuv"] };
const maps = () => ({ include: [...trained().flatMap((task) => INCLUDE[task]), ...(trained().length ? ["inds"] : [])].join(","), mask_format: "none" });
const followed = () => ({ ...maps(), track: "true" }); // numbers and colours stay with people from frame to frame

async function open(files) {
  const { file, chosen, film } = choose([...files]);
  if (!file) return;
  if (!film) state.refused = null;
  state.stream?.stop();
  leave();
  if (film) return watch((state.film = new Film(file)));
  const ticket = ++state.ticket;
  state.work.abort(); // whoever waits for the photo before is not there any more
  forget();
  notice("", 0);
  busy(true);
  if (!$("panel").hidden) $("lost").textContent = ""; // it was read
  let error = null;
  const picture = await read(file, chosen).catch((reason) => ((error = reason), null));
  if (ticket !== state.ticket) return;
  show(picture);
  if (picture) return analyze(picture, ticket, least());
  busy(false);
  fail(error);
}

// null: there is nothing to be seen
function show(picture) {
  state.photo?.close?.();
  Object.assign(state, { picture, photo: picture?.photo, people: [], answer: null, probe: null, pointed: null });
  $("drop").hidden = Boolean(state.photo);
  $("viewer").hidden = $("another").hidden = !state.photo;
  $("panel").hidden = true;
  draw();
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
    state.stream.ask(query(LEAST, followed()));
  } else if ($("busy").hidden) {
    forget();
    await analyze(state.picture, ++state.ticket, LEAST);
  }
}

// The webcam, or a video (`source`), until it is stopped or has come to its end.
async function watch(source) {
  forget();
  const pace = { last: null, interval: null, latency: null };
  const smooth = (old, now) => (old === null ? now : 0.9 * old + 0.1 * now);
  let newest = -1;
  let confidence;
  let changes = 0;
  let renewal = null;
  // the same source for another model, whose tasks may be others
  async function renew() {
    try {
      if (++changes > CHANGES) throw unsteady();
      await ready(true);
      if (!stream.stopped) stream.ask(query(state.live ? state.asked : confidence, followed()));
    } catch (error) {
      stream.stop(error);
    } finally {
      renewal = null;
    }
  }
  const answered = async (answer, photo, milliseconds) => {
    const wanted = due(); // what is asked for may be another one when it is decoded
    const people = await decodeAll(answer);
    if (state.stream !== stream || newest > answer.frame_id) return;
    newest = answer.frame_id;
    if (!same(answer.model, wanted)) return (renewal ??= renew());
    if (renewal) return; // of the tasks of the model before
    changes = 0;
    if (!state.live) goLive(source, confidence);
    const now = performance.now();
    if (pace.last !== null) pace.interval = smooth(pace.interval, now - pace.last);
    pace.last = now;
    pace.latency = smooth(pace.latency, milliseconds);
    state.photo?.close?.();
    Object.assign(state, { photo, people, answer });
    $("viewer").hidden = $("another").hidden = $("panel").hidden = false;
    $("drop").hidden = true;
    const fps = pace.interval === null ? "–" : (1000 / pace.interval).toFixed(1);
    $("figures").textContent = `${fps} fps · ${pace.latency.toFixed(0)} ms from frame to picture · ${stream.skipped + stream.dropped} frames left out`;
    draw();
    lower();
  };
  const anew = async () => ((await gone()) ? query(state.live ? state.asked : confidence, followed()) : null);
  const stream = (state.stream = new Live(source, answered, notice, stopped, anew));
  showSource();
  try {
    await ready();
    confidence = least();
    await stream.start(query(confidence, followed()));
    const several = await source.several?.();
    $("turn").hidden = !several || state.stream !== stream;
  } catch (error) {
    stream.stop(error);
  }
}

// With the first frame that was answered, and no earlier, the source takes the place of a photo: it may be refused.
function goLive(source, confidence) {
  state.ticket++; // an answer to the photo comes too late now
  state.work.abort();
  Object.assign(state, { picture: null, asked: confidence, refused: null, probe: null, pointed: null, live: true });
  busy(false);
  for (const name of ["chosen", "converted"]) $(name).textContent = "";
  if (source === state.film) showFilm(state.film);
  else leave();
  showLive();
}

const filmed = () => state.stream?.source === state.film; // a video, not the webcam
function showSource() {
  const { stream, film } = state;
  const stop = stream && !filmed() ? stream.source.stop : "Open the webcam";
  for (const button of document.querySelectorAll("[data-action=webcam]")) button.textContent = stop;
  $("play").textContent = film && filmed() ? film.stop : "Play the video";
  if (!stream || filmed()) $("turn").hidden = true;
}

// files but the overlay are made by the gateway, of one picture
function showLive() {
  document.body.classList.toggle("live", state.live);
  document.body.classList.toggle("filming", state.live && !filmed()); // somebody is
  if (state.live) $("while-live").textContent = `${state.stream.source.stop} for the others: they are of its last frame.`;
  for (const button of document.querySelectorAll("[data-kind]:not([data-kind=png]), #hiding")) button.disabled = state.live;
}

// The last frame stays, as a photo that can be downloaded and analysed again.
function stopped(error) {
  const { live, stream, film } = state;
  Object.assign(state, { stream: null, live: false });
  showLive();
  showSource();
  notice("", 0);
  forget();
  if (error ?? state.refused) beside(error ?? state.refused.error);
  if (live) state.picture = still(state.photo, stream.source.name);
  if (film && $("film").hidden) leave(); // nothing of it was seen
  draw();
}

// What a video is controlled by, from its first frame on until something else is opened.
function showFilm({ video }) {
  $("film").hidden = false;
  const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const now = () => {
    const known = Number.isFinite(video.duration); // not of what a browser has recorded, before its end was seen
    $("seek").hidden = !known;
    if (known) Object.assign($("seek"), { max: video.duration, value: video.currentTime });
    $("when").textContent = minutes(video.currentTime) + (known ? ` of ${minutes(video.duration)}` : "");
    $("seek").ariaValueText = $("when").textContent;
  };
  video.ontimeupdate = video.ondurationchange = now;
  now();
}

function leave() {
  state.film?.discard();
  state.film = null;
  $("film").hidden = true;
}

// The frame at the place that was chosen, as a photo, where the video is paused.
async function seek() {
  const { film } = state;
  const seconds = Number($("seek").value);
  forget();
  const ticket = ++state.ticket;
  state.work.abort();
  try {
    const frame = await film.seek(seconds);
    if (ticket !== state.ticket) return;
    const picture = still(frame, film.name);
    show(picture);
    $("panel").hidden = false; // it comes again at once
    await analyze(picture, ticket, least());
  } catch (error) {
    fail(error);
  }
}

// An error that is not the photo's takes nothing from it: it can be tried again still.
function beside(error) {
  fail(error, state.refused?.again);
}

$("file").addEventListener("change", (event) => {
  open(event.target.files);
  event.target.value = "";
});
for (const button of document.querySelectorAll("[data-action=webcam]")) {
  button.addEventListener("click", () => {
    const other = !state.stream || filmed();
    state.stream?.stop();
    if (other) watch(new Webcam());
  });
}
$("turn").addEventListener("click", () => {
  const { stream } = state;
  $("turn").disabled = true;
  stream.source.turn().catch((error) => stream.stop(error)).finally(() => ($("turn").disabled = false));
});
$("play").addEventListener("click", () => {
  const playing = filmed();
  state.stream?.stop();
  if (!playing) watch(state.film);
});
$("seek").addEventListener("input", () => state.stream && (state.film.video.currentTime = $("seek").value));
$("seek").addEventListener("change", () => state.stream || seek());
$("score").addEventListener("input", () => lower());
// what is seen is asked for anew: the webcam's next frames, and a photo that they have not replaced
$("size").addEventListener("change", () => {
  tell();
  $("lost").textContent = "";
  state.stream?.ask(query(state.live ? state.asked : least(), followed()));
  if (!state.picture) return;
  state.work.abort();
  forget();
  analyze(state.picture, ++state.ticket, Math.min(least(), state.asked));
});
function load(button, picture = state.picture) {
  forget();
  button.ariaBusy = "true";
  const done = () => (button.ariaBusy = "false");
  let changes = 0;
  const make = () => download(button.dataset.kind, button.textContent, picture);
  const again = async (error) => {
    if (error instanceof AnotherModel) {
      if (++changes > CHANGES) throw unsteady();
      await ready(true);
    } else if (!(await mendable(error))) throw error;
    // what is saved is what is seen
    if (picture === state.picture) await analyze(picture, ++state.ticket, Math.min(least(), state.asked));
    return make().catch(again);
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
