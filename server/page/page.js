// Takes a photo, a video or the webcam, asks the gateway once for each picture, and draws everything here: layers,
// opacity and higher scores then cost no request.
import { analyze, followed, lower, show, vouched } from "./analysis.js";
import { AnotherModel, download } from "./downloads.js";
import { Film } from "./film.js";
import { Problem } from "./gateway.js";
import { busy, fail, forget, notice } from "./messages.js";
import { tell } from "./models.js";
import { choose, read } from "./picture.js";
import { CHANGES, mendable, ready, unsteady } from "./ready.js";
import { $, least, query, state } from "./state.js";
import { beside, films, leave, playing, seek, watch } from "./watching.js";
import { Webcam } from "./webcam.js";

let opening = new AbortController(); // of the file that came last
async function open(files) {
  const { file, chosen, film } = choose([...files]);
  if (!file) return;
  opening.abort();
  const { signal } = (opening = new AbortController());
  busy(!film, "file");
  if (film) {
    state.stream?.stop();
    return watch(new Film(file, chosen)); // what is seen stays until its first frame does
  }
  const { stream } = state;
  forget();
  const picture = await readable(file, chosen, signal);
  if (signal.aborted) return;
  busy(false, "file");
  if (!picture) return;
  state.refused = null;
  if (state.stream === stream || state.live) state.stream?.stop();
  leave();
  state.work.abort(); // whoever waits for the photo before is not there any more
  forget();
  notice("", 0);
  if (!$("panel").hidden) $("lost").textContent = ""; // it was read
  $("summary").textContent = "";
  show(picture);
  return analyze(picture, ++state.ticket, least());
}

// The file as a picture that may take the place of what is seen; or null, and what is wrong with it is said.
async function readable(file, chosen, signal) {
  let again = state.refused?.again;
  try {
    const picture = await read(file, chosen);
    again = () => open([file]);
    if (!picture.photo && (state.photo || state.stream)) await vouched(picture, signal);
    return picture;
  } catch (error) {
    if (!signal.aborted) fail(error, again);
    return null;
  }
}

$("file").addEventListener("change", (event) => {
  open(event.target.files);
  event.target.value = "";
});
// it is not to be seen: its label may be below what is
$("file").addEventListener("focus", ({ target }) => {
  const label = $("drop").hidden ? $("another") : $("drop").querySelector(".button");
  if (target.matches(":focus-visible")) label.scrollIntoView({ block: "nearest" });
});
for (const button of document.querySelectorAll("[data-action=webcam]")) {
  button.addEventListener("click", () => {
    const other = !state.stream || films();
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
  const paused = !playing();
  const { wanted } = state.film;
  state.stream?.stop();
  if (paused) watch(state.film);
  else if (wanted !== null) seek(wanted); // what is seen is of another place
});
const place = () => Number($("seek").value);
$("seek").addEventListener("input", () => {
  if (!playing()) return;
  const seconds = place();
  if (!state.stream.ended) return void state.film.move(seconds);
  state.stream.stop(); // no frame of there would come
  seek(seconds);
});
$("seek").addEventListener("change", () => playing() || seek(place()));
// a page that is left may be kept for who comes back, with its stream, which would be another visitor's
addEventListener("pagehide", () => state.stream?.stop());
$("score").addEventListener("input", () => lower());
// what is seen is asked for anew: the webcam's next frames, and a photo that they have not replaced
for (const id of ["size", "small"]) $(id).addEventListener("change", () => {
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
document.addEventListener("paste", ({ clipboardData, target }) => target === $("key") || given(clipboardData));
// Files are taken, links answered, also where they come as text; other text is left to the field of the key, and nothing
// else has a place here.
function drag(event) {
  const { dataTransfer, target, type } = event;
  const [files, link, text] = ["Files", "text/uri-list", "text/plain"].map((kind) => dataTransfer.types.includes(kind));
  if (target === $("key") && !files) return;
  event.preventDefault(); // of a link the browser would leave this page
  const comes = type === "dragenter" || type === "dragover";
  document.body.classList.toggle("over", comes && files);
  if (comes && !files && !link && !text) dataTransfer.dropEffect = "none";
  if (type === "drop") given(dataTransfer);
}

function given(data) {
  const link = data.types.includes("text/uri-list") || /^\s*(https?|file|data|blob):\S+\s*$/i.test(data.getData("text/plain"));
  if (data.files.length > 0) open(data.files);
  else if (link) beside(new Problem({ detail: "That is a link, not a photo: save the picture first, or copy and paste it." }));
}
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) document.addEventListener(kind, drag);
