// What the page says: errors, which stay, notices, which pass, and that it works.
import { $ } from "./state.js";
import { listen } from "./gateway.js";

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
  repeat();
});

// Fixed, so that nothing below moves; and slow to go, so that it does not flicker where it comes again and again.
let fading = 0;
export function notice(text, linger = 1500) {
  clearTimeout(fading);
  if (text) $("notice").textContent = text;
  else fading = setTimeout(() => ($("notice").textContent = ""), linger);
}

export function busy(on) {
  $("busy").hidden = !on;
}

// Says so while the gateway is silent; what `work` returns.
async function heed(work) {
  const end = listen(notice);
  try {
    return await work();
  } finally {
    end();
  }
}

const BEARABLE = 30; // seconds that a visitor is kept waiting for what was refused, before it is an error
// Asks again by itself where the gateway says when to, and that is soon; `signal` ends that.
export async function patiently(ask, signal = null) {
  for (let left = BEARABLE; ; ) {
    try {
      return await heed(ask);
    } catch (error) {
      const wait = Math.max(1, error.wait); // NaN where time does not heal
      if (!(wait <= left) || signal?.aborted) throw error;
      left -= wait;
      notice(`${error.reason}. The photo is sent again in ${wait} s.`);
      await new Promise((done) => {
        setTimeout(done, 1000 * wait);
        signal?.addEventListener("abort", done);
      });
      if (signal?.aborted) throw error;
    }
  }
}
