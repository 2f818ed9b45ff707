// What the page says: errors, which stay, notices, which pass, and that it works.
import { $ } from "./state.js";
import { listen, tellSending } from "./gateway.js";

let repeat = null; // of the error that is shown

// `again` does the same once more; it is offered where that may help
export function fail(error, again = null) {
  repeat = again;
  $("error-text").textContent = error.message;
  $("again").hidden = !(again && error.passes);
  $("error").hidden = false;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("error").scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

export function forget() {
  $("error").hidden = true;
}

$("again").addEventListener("click", () => {
  forget();
  ($("viewer").hidden ? $("file") : $("canvas")).focus({ preventScroll: true }); // the button is gone, and its focus with it
  repeat();
});

// Fixed, so that nothing below moves; and slow to go, so that it does not flicker where it comes again and again.
// Several may wait at once: each takes back its own alone, and the newest that is left is shown.
const notices = new Map();
let fading = 0;
export function notice(text, linger = 1500, whose = "page") {
  clearTimeout(fading);
  notices.delete(whose);
  if (text) notices.set(whose, text);
  const newest = [...notices.values()].at(-1) ?? "";
  if (newest || linger === 0) show(newest);
  else fading = setTimeout(show, linger, "");
}

function show(text) {
  if ($("notice").textContent !== text) $("notice").textContent = text;
}

export const noticed = () => $("notice").textContent;

// What is read aloud of the work and its result: an element that is always there, as others are not heard when they come.
export function aloud(text) {
  if ($("aloud").textContent !== text) $("aloud").textContent = text;
}

const LOOKING = "looking for people…";
const SENDING = "sending the photo…";

// it may be of a photo, of a video that is to take its place, and of a file that is to take the place of both
const works = new Set();
export function busy(on, whose = "photo") {
  works[on ? "add" : "delete"](whose);
  $("busy").hidden = works.size === 0;
  if (on) aloud($("busy-words").textContent);
  else if (works.size === 0 && [LOOKING, SENDING].includes($("aloud").textContent)) aloud("");
}

let told = false; // of a download, that it is being sent
tellSending((share) => {
  const words = share === null ? LOOKING : SENDING;
  $("sent").textContent = share === null ? "" : `${Math.floor(100 * share)} %`;
  const tell = share !== null && works.size === 0;
  if (tell !== told) notice(tell ? SENDING : "", 0, "sending");
  told = tell;
  if ($("busy-words").textContent === words) return;
  $("busy-words").textContent = words;
  if (works.size > 0) aloud(words);
});

export const isBusy = (whose = "photo") => works.has(whose);

// Says so while the gateway is silent; what `work` returns.
async function heed(work, say) {
  const end = listen(say);
  try {
    return await work();
  } finally {
    end();
  }
}

const BEARABLE = 30; // seconds that a visitor is kept waiting for what was refused, before it is an error
// Asks again by itself where the gateway says when to, and that is soon; `signal` ends that.
export async function patiently(ask, signal = null, say = notice) {
  for (let left = BEARABLE; ; ) {
    try {
      return await heed(ask, say);
    } catch (error) {
      const wait = Math.max(1, error.wait); // NaN where time does not heal
      if (!(wait <= left) || signal?.aborted) throw error;
      left -= wait;
      say(`${error.reason}. The photo is sent again in ${wait} s.`);
      await new Promise((done) => {
        setTimeout(done, 1000 * wait);
        signal?.addEventListener("abort", done);
      });
      if (signal?.aborted) throw error;
    }
  }
}
