// Requests to the gateway that served this page. Where keys are set, asks for one once and keeps it for this tab.
const SLOT = "parsing-rcnn-key";
const SUBPROTOCOL = "parsing-rcnn.v1";
let ask = async () => null; // set by askWith

export const key = () => sessionStorage.getItem(SLOT);

export function askWith(prompt) {
  let open = null; // one prompt, however many requests wait for it
  ask = (detail) => (open ??= prompt(detail).finally(() => (open = null)));
}

export class Problem extends Error {
  constructor(document, status) {
    super(document.title ? `${document.title}: ${document.detail}` : document.detail ?? `HTTP status ${status}`);
    this.status = status;
  }
}

export async function request(path, init = {}) {
  for (;;) {
    const used = key();
    const headers = { ...init.headers, ...(used ? { Authorization: `Bearer ${used}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch {
      throw new Problem({ detail: "The gateway does not answer. Is it still running?" });
    }
    if (response.ok) return response;
    const problem = new Problem(await response.json().catch(() => ({})), response.status);
    if (response.status !== 401) throw problem;
    if (used !== key()) continue; // another request was given a key meanwhile
    const given = await ask(used ? problem.message : "Whoever runs it can give you one. This tab keeps it, and forgets it when it is closed.");
    if (!given) throw problem;
    sessionStorage.setItem(SLOT, given);
  }
}

export const get = async (path) => (await request(path)).json();

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
