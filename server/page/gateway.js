// Requests to the gateway that served this page. Where keys are set, asks for one once and keeps it for this tab.
const SLOT = "parsing-rcnn-key";
const SUBPROTOCOL = "parsing-rcnn.v1";
const PATIENCE = 5; // seconds without an answer, after which that is said
let ask = async () => null; // set by askWith
let waiting = 0; // requests without an answer
let answers = 0;

export const key = () => sessionStorage.getItem(SLOT);

export function askWith(prompt) {
  let open = null; // one prompt, however many requests wait for it
  ask = (detail) => (open ??= prompt(detail).finally(() => (open = null)));
}

// reason: what is wrong; wait: seconds after which the same may succeed (undefined: time does not heal it);
// passes: the same, asked again, may succeed
export class Problem extends Error {
  constructor(document, status, header = null) {
    const text = document.title ? `${document.title}: ${document.detail}` : document.detail ?? `HTTP status ${status}`;
    const reason = text.replace(/: come back .*/, ""); // who asks again, and when, the page says itself
    const wait = document.retry_after ?? (header === null ? undefined : Number(header));
    super(wait ? `${reason}. Try again in ${wait} s.` : reason);
    Object.assign(this, { status, reason, wait, passes: !status || [401, 408, 429].includes(status) || status >= 500 });
  }
}

export async function request(path, init = {}) {
  for (;;) {
    const used = key();
    const headers = { ...init.headers, ...(used ? { Authorization: `Bearer ${used}` } : {}) };
    let response;
    waiting++;
    try {
      response = await fetch(path, { ...init, headers });
    } catch {
      throw new Problem({ detail: "The gateway does not answer. Is it still running?" });
    } finally {
      waiting--;
      answers++;
    }
    if (response.ok) return response;
    const problem = new Problem(await response.json().catch(() => ({})), response.status, response.headers.get("Retry-After"));
    if (response.status !== 401) throw problem;
    if (used !== key()) continue; // another request was given a key meanwhile
    const given = await ask(used ? problem.message : "Whoever runs it can give you one. This tab keeps it, and forgets it when it is closed.");
    if (!given) throw new Problem({ detail: "This gateway asks for a key. Whoever runs it can give you one." }, 401);
    sessionStorage.setItem(SLOT, given);
  }
}

export const get = async (path) => (await request(path)).json();

// Seconds, counted one by one, because a computer that slept is not a gateway that is silent.
export class Silence {
  constructor(say) {
    Object.assign(this, { say, seconds: 0 });
  }

  get text() {
    return `The gateway has not answered for ${this.seconds} s`;
  }

  // one second more, or an end of it
  count(silent) {
    this.seconds = silent ? this.seconds + 1 : 0;
    if (this.seconds > 0 && this.seconds % PATIENCE === 0) this.say(`${this.text}.`);
  }
}

// Calls say(text) every few seconds while requests are without an answer; call the result to end that.
export function listen(say) {
  const silence = new Silence(say);
  let heard = answers;
  const clock = setInterval(() => {
    silence.count(waiting > 0 && heard === answers);
    heard = answers;
  }, 1000);
  return () => clearInterval(clock);
}

export function stream(query) {
  const address = new URL(`/v1/stream?${query}`, location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, key() ? [SUBPROTOCOL, `key.${key()}`] : [SUBPROTOCOL]);
  socket.binaryType = "arraybuffer";
  return socket;
}

export function frame(number, jpeg) {
  const bytes = new Uint8Array(8 + jpeg.byteLength);
  new DataView(bytes.buffer).setUint32(0, number, true);
  bytes.set(new Uint8Array(jpeg), 8);
  return bytes;
}
