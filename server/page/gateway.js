// Requests to the gateway that served this page. Where keys are set, asks for one once and keeps it for this tab.
const SLOT = "parsing-rcnn-key";
const SUBPROTOCOL = "parsing-rcnn.v1";
const PATIENCE = 5; // seconds without an answer, after which that is said
// Seconds for a body to be sent, and bytes a second that give it more, as the gateway has them: of a body that it refused
// for that a browser says nothing, and sends it again on its other connections, one after the other.
const UPLOAD = { seconds: 30, rate: 8 * 1024 };
let ask = async () => null; // set by askWith
let waiting = 0; // requests without an answer
let answers = 0;
const uploads = new Set(); // bodies that are on their way
let tell = () => {}; // set by tellSending

export const key = () => sessionStorage.getItem(SLOT);

export function askWith(prompt) {
  let open = null; // one prompt, however many requests wait for it
  ask = (detail) => (open ??= prompt(detail).finally(() => (open = null)));
}

// tell(share) is called every second while `listen` listens: of what is being sent, or null where nothing is
export const tellSending = (told) => (tell = told);

// A proxy answers for a gateway that is away, and knows nothing of it.
const foreign = (status) => ([502, 503, 504].includes(status) ? `The gateway is not reached (${status}): it may be starting again` : `HTTP status ${status}`);

// reason: what is wrong; wait: seconds after which the same may succeed (undefined: time does not heal it);
// passes: the same, asked again, may succeed
export class Problem extends Error {
  constructor(document, status, header = null) {
    const text = document.title ? `${document.title}: ${document.detail}` : document.detail ?? foreign(status);
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
      response = await (init.body ? send : fetch)(path, { ...init, headers });
    } catch (error) {
      throw error instanceof Problem ? error : new Problem({ detail: "The gateway does not answer. Is it still running?" });
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

// As `fetch`, which does not tell how much of a body has left.
function send(path, { method, headers, body, signal }) {
  const sent = new XMLHttpRequest();
  const upload = { begun: performance.now(), share: 0, until: Infinity };
  return new Promise((done, fail) => {
    sent.open(method, path);
    for (const [name, value] of Object.entries(headers)) sent.setRequestHeader(name, value);
    sent.responseType = "blob";
    sent.upload.addEventListener("progress", ({ loaded, total }) => {
      upload.share = loaded / total;
      if ((performance.now() - upload.begun) / 1000 < UPLOAD.seconds + loaded / UPLOAD.rate) return;
      fail(new Problem({ detail: "The connection is too slow to send the photo. Try a smaller one." }, 408));
      sent.abort();
    });
    // the system has the rest then, and may take as long again to send it
    sent.upload.addEventListener("load", () => (upload.until = 2 * performance.now() - upload.begun));
    sent.addEventListener("load", () => done(new Response(sent.response, { status: sent.status, headers: headersOf(sent) })));
    for (const kind of ["error", "abort"]) sent.addEventListener(kind, fail);
    signal?.addEventListener("abort", () => sent.abort());
    if (signal?.aborted) return fail();
    uploads.add(upload);
    sent.send(body);
  }).finally(() => uploads.delete(upload));
}

const headersOf = (sent) => sent.getAllResponseHeaders().trim().split("\r\n").filter(Boolean).map((line) => line.split(/: ?(.*)/s, 2));

// share of what is being sent, null where nothing is
function sending() {
  const shares = [...uploads].filter(({ until }) => performance.now() < until).map(({ share }) => share);
  return shares.length > 0 ? Math.min(...shares) : null;
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

  // one second more, or an end of it; why: what may be the reason
  count(silent, why = "") {
    this.seconds = silent ? this.seconds + 1 : 0;
    if (this.seconds > 0 && this.seconds % PATIENCE === 0) this.say(`${this.text}${why}.`);
  }
}

// Calls say(text) every few seconds while requests are without an answer, which none has before it was sent; call the
// result to end that.
export function listen(say) {
  const silence = new Silence(say);
  let heard = answers;
  const clock = setInterval(() => {
    // how much the system has not sent of what it has taken is not known here
    const why = uploads.size > 0 ? ": it is busy, or the photo is still on its way" : "";
    silence.count(waiting > 0 && heard === answers && sending() === null, why);
    heard = answers;
    tell(sending());
  }, 1000);
  return () => {
    clearInterval(clock);
    tell(sending());
  };
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
