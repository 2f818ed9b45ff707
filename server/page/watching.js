// The webcam, or a video, as it is seen: from its first answer until it is stopped; and a place of a video as a photo.
import { analyze, followed, lower, show } from "./analysis.js";
import { Film, Unplayable, minutes } from "./film.js";
import { decodeAll } from "./layers.js";
import { Live } from "./live.js";
import { busy, fail, forget, notice } from "./messages.js";
import { due, same } from "./models.js";
import { still } from "./picture.js";
import { CHANGES, gone, ready, unsteady } from "./ready.js";
import { $, least, query, state } from "./state.js";
import { draw } from "./view.js";

// The webcam, or a video (`source`), until it is stopped or has come to its end.
export async function watch(source) {
  forget();
  if (source instanceof Film) busy(true, "film");
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
  const answered = async (answer, photo, milliseconds, place) => {
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
    source.seen?.(place);
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
  for (const whose of ["photo", "film"]) busy(false, whose);
  $("converted").textContent = "";
  $("chosen").textContent = source.chosen ?? "";
  if (source !== state.film) leave();
  if (source instanceof Film && !state.film) showFilm(source);
  showLive();
}

export const films = () => state.stream?.source instanceof Film; // it is no webcam
export const playing = () => Boolean(state.film) && state.stream?.source === state.film;

function showSource() {
  const { stream, film } = state;
  const stop = stream && !films() ? stream.source.stop : "Open the webcam";
  for (const button of document.querySelectorAll("[data-action=webcam]")) button.textContent = stop;
  $("play").textContent = playing() ? film.stop : "Play the video";
  if (!stream || films()) $("turn").hidden = true;
}

// files but the overlay are made by the gateway, of one picture
function showLive() {
  document.body.classList.toggle("live", state.live);
  document.body.classList.toggle("filming", state.live && !films()); // somebody is
  if (state.live) $("while-live").textContent = `${state.stream.source.stop} for the others: they are of its last frame.`;
  for (const button of document.querySelectorAll("[data-kind]:not([data-kind=png]), #hiding")) button.disabled = state.live;
}

// The last frame stays, as a photo that can be downloaded and analysed again.
function stopped(error) {
  const { live, film } = state;
  const { source } = state.stream;
  Object.assign(state, { stream: null, live: false });
  showLive();
  showSource();
  notice("", 0);
  busy(false, "film");
  forget();
  const begins = source instanceof Film && !live && !(error instanceof Unplayable);
  if (begins && error?.passes) fail(error, () => watch(source));
  else if (error ?? state.refused) beside(error ?? state.refused.error);
  if (live) state.picture = still(state.photo, source.name);
  if (source !== film) source.discard?.(); // nothing of it was seen
  else if (film) rest();
  draw();
}

const READ = 3; // seconds that it takes to read which file it is
// What a video is controlled by, from its first frame on until something else is opened.
function showFilm(film) {
  state.film = film;
  film.video.ontimeupdate = film.video.ondurationchange = showPlace;
  $("film").hidden = false;
  showPlace();
  showSource();
  if (!film.chosen) return;
  notice(film.chosen, 0, "chosen");
  setTimeout(() => notice("", 0, "chosen"), 1000 * READ);
}

function showPlace() {
  const { second, length } = state.film;
  const known = length !== null; // not of what a browser has recorded, before its end was seen
  $("seek").hidden = !known;
  if (known) Object.assign($("seek"), { max: length, value: second });
  const text = minutes(second) + (known ? ` of ${minutes(length)}` : "");
  if ($("when").textContent !== text) $("when").textContent = $("seek").ariaValueText = text;
}

function rest() {
  state.film.rest();
  showPlace();
}

export function leave() {
  const { film } = state;
  if (!film) return;
  film.video.ontimeupdate = film.video.ondurationchange = null;
  film.discard();
  state.film = null;
  $("film").hidden = true;
}

// The frame at the place that was chosen, as a photo, where the video is paused.
export async function seek(seconds) {
  const { film } = state;
  forget();
  const ticket = ++state.ticket;
  state.work.abort();
  try {
    const found = film.seek(seconds);
    showPlace(); // an answer may have taken the slider elsewhere
    const frame = await found;
    if (ticket !== state.ticket) return;
    film.seen(film.place());
    const picture = still(frame, film.name);
    show(picture);
    $("panel").hidden = false; // it comes again at once
    await analyze(picture, ticket, least());
  } catch (error) {
    if (ticket !== state.ticket) return;
    busy(false); // who waited before does not any more
    rest();
    fail(error);
  }
}

// An error that is not the photo's takes nothing from it: it can be tried again still.
export function beside(error) {
  fail(error, state.refused?.again);
}
