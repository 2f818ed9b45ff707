// The answer for one photo as files.
import { request } from "./gateway.js";
import { notice, patiently } from "./messages.js";
import { due, same } from "./models.js";
import { full, mend, whole } from "./picture.js";
import { $, least, query, shown, state } from "./state.js";
import { paint } from "./view.js";

// with the edges that are seen here; an npz has the maps as they were computed
const DOWNLOADS = {
  json: ["application/json", { exact: "true" }, ".json"],
  npz: ["application/x-npz", {}, ".npz"],
  parts: ["image/png", { exact: "true", render: "parts", tasks: "parsing" }, "_parts.png"],
  cutout: ["image/png", { exact: "true", render: "cutout" }, "_cutout.png"],
  anonymised: ["image/jpeg", { render: "anonymise" }, "_anonymised.jpg"],
  iuv: ["image/png", { exact: "true", render: "iuv", tasks: "densepose" }, "_IUV.png"],
};

// the gateway was started again with a model whose names, colours and tasks are not known here
export class AnotherModel extends Error {}

// `picture`: what it is of; the overlay is of what is seen
export async function download(kind, words, picture) {
  const own = Symbol(kind);
  const say = (text, linger) => notice(text, linger, own);
  say(`Making the ${words}…`);
  try {
    const stem = (picture?.name || state.stream?.source.name || "photo").replace(/\.[^.]+$/, "");
    if (kind === "png") save(await overlay(), `${stem}_overlay.png`);
    else save(await analysed(picture, kind, say), `${stem}${DOWNLOADS[kind][2]}`);
  } finally {
    say("", 0);
  }
}

// what is seen, at the size of the photo, which is put under it last: another one may come while it is read again
async function overlay() {
  const { photo, picture } = state;
  const { width, height } = picture ?? photo;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.scale(width / photo.width, height / photo.height);
  paint(context, shown());
  context.resetTransform();
  context.globalCompositeOperation = "destination-over";
  context.drawImage(picture ? await full(picture) : photo, 0, 0);
  context.fillStyle = "#fff"; // as it is seen
  context.fillRect(0, 0, width, height);
  return canvas.convertToBlob({ type: "image/png" });
}

async function analysed(picture, kind, say) {
  const [accept, extra] = DOWNLOADS[kind];
  const hiding = kind === "anonymised" ? Object.fromEntries(new URLSearchParams($("hiding").value)) : {};
  const path = `/v1/analyze?${query(least(), { ...extra, ...hiding })}`;
  const wanted = due();
  let body;
  const send = async () => {
    body = await whole(picture);
    return request(path, { method: "POST", body, headers: { Accept: accept } });
  };
  const response = await patiently(send, null, say).catch(async (error) => {
    const mended = body !== (await whole(picture)); // by another download, or it could not be read just then
    if (!mended && !mend(picture, error)) throw error;
    if (picture === state.picture) $("converted").textContent = picture.converted;
    return patiently(send, null, say);
  });
  const [name, version] = (response.headers.get("X-Model") ?? "").split("/").map(decodeURIComponent);
  if (!same({ name, version }, wanted)) throw new AnotherModel();
  return response.blob();
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
