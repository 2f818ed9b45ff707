// A photo as the page needs it: small enough to be drawn and analysed soon, and whole for the downloads.
import { Problem } from "./gateway.js";

const LONGEST = 2048; // pixels of a side: no screen shows more of a photo, and their answers take seconds
const QUALITY = 0.95;
const ROUGH = { longest: 1024, quality: 0.6 }; // where the connection is slow: people are found all the same
const HELD = 2 ** 28; // bytes: what is larger is no photo, which the gateway says
const SIGNS = { JPEG: /^\xff\xd8\xff/, PNG: /^\x89PNG/, WebP: /^RIFF[^]{4}WEBP/ }; // what the gateway reads

// The first of what was dropped or pasted that looks like a photo, or else the first video, and how many were left out.
// Types that the browser does not know have no name here: it is tried where there is nothing better.
export function choose(files) {
  const [photos, films] = ["image/", "video/"].map((kind) => files.filter(({ type }) => type.startsWith(kind)));
  const [file] = [...photos, ...films, ...files];
  const others = files.length - 1;
  const chosen = others > 0 ? `Only ${file.name} was opened; ${others === 1 ? "1 other was" : `${others} others were`} left out.` : "";
  return { file, chosen, film: films.includes(file) };
}

// {file: its bytes, name, width, height (upright, of all of it), photo: what is drawn (null: only the gateway may know
// what it is), small: what is analysed, whole: what the downloads are of instead of the file, chosen and converted:
// what the visitor should know of it, took: milliseconds}
export async function read(source, chosen) {
  const begin = performance.now();
  const file = await held(source);
  const picture = { file, name: source.name, photo: null, small: file, whole: null, chosen, converted: "", took: 0 };
  try {
    const all = await bitmap(file);
    const { width, height } = all;
    Object.assign(picture, { width, height, photo: all });
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    const foreign = await reasonToConvert(file);
    if (scale < 1 || foreign) {
      picture.photo = shrunk(all, width, height);
      picture.small = jpeg(picture.photo);
      all.close();
    }
    if (foreign) picture.converted = `Converted by your browser: ${foreign}.`;
    if (foreign && scale === 1) picture.whole = picture.small;
  } catch {
    // the gateway says better what is wrong with it
  }
  picture.took = performance.now() - begin;
  return picture;
}

// The bytes as they are now: what is saved later is of the photo that is shown, whatever becomes of the file.
async function held(file) {
  if (file.size > HELD) return file;
  try {
    return new Blob([await file.arrayBuffer()], { type: file.type });
  } catch {
    const why = "it is a folder, or was changed or removed since";
    throw new Problem({ detail: `“${file.name}” cannot be read: ${why}. Choose the photo again.` });
  }
}

// a frame of the webcam or of a video, as it is shown or as the video has it
export function still(frame, name) {
  const sides = frame instanceof HTMLVideoElement ? [frame.videoWidth, frame.videoHeight] : [frame.width, frame.height];
  const photo = shrunk(frame, ...sides);
  const small = photo.convertToBlob({ type: "image/png" });
  return { file: null, name, width: photo.width, height: photo.height, photo, small, whole: small, chosen: "", converted: "", took: 0 };
}

// What the downloads are of: the file, or all of it as the browser has decoded it.
export async function whole(picture) {
  if (!picture.converted && picture.file) return picture.file;
  if (!picture.whole) {
    const own = bitmap(picture.file).then((all) => jpeg(drawn(all, all.width, all.height)));
    own.catch(() => picture.whole === own && (picture.whole = null)); // the next download tries again
    picture.whole = own;
  }
  return picture.whole;
}

// The photo in its own size, as it is drawn.
export async function full({ file, photo, width }) {
  return file && photo.width < width ? bitmap(file) : photo;
}

// Whether a request for `picture` that was refused may succeed now: what is too large or not known to the gateway, whose
// limits are not known here, is sent as it is shown; what took too long to send, with fewer
// pixels, which are then all that is known of it.
export function mend(picture, error) {
  if (![408, 413, 415].includes(error.status) || !picture.photo) return false;
  if (error.status === 408) return roughen(picture);
  const { photo } = picture;
  if (!picture.file && !picture.converted) {
    picture.small = picture.whole = jpeg(photo);
    picture.converted = "Sent as JPEG: the gateway refuses it as PNG.";
    return true;
  }
  if (picture.whole === picture.small) return false;
  if (picture.small === picture.file) picture.small = jpeg(drawn(photo, photo.width, photo.height));
  picture.whole = picture.small;
  Object.assign(picture, { width: photo.width, height: photo.height }); // of all downloads
  picture.converted = `Converted by your browser: the gateway refuses the file. ${downloads(photo)}`;
  return true;
}

function roughen(picture) {
  if (picture.rough) return false;
  const { width, height } = picture.photo;
  const photo = shrunk(picture.photo, width, height, ROUGH.longest);
  const small = jpeg(photo, ROUGH.quality);
  const converted = `Sent as a smaller JPEG: the connection is slow. ${downloads(photo)}`;
  Object.assign(picture, { rough: true, photo, small, whole: small, width: photo.width, height: photo.height, converted });
  return true;
}

const downloads = ({ width, height }) => `Downloads have ${width} × ${height} pixels.`;

// "" where the gateway sees what the browser shows. A WebP that says how it is to be turned is turned by the gateway, and
// not by every browser.
async function reasonToConvert(file) {
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 21).arrayBuffer()));
  if (!Object.values(SIGNS).some((sign) => sign.test(head))) return "the gateway does not read this kind of file";
  const exif = SIGNS.WebP.test(head) && head.startsWith("VP8X", 12) && head.charCodeAt(20) & 8;
  return exif ? "the gateway may turn this kind of file in another way" : "";
}

const bitmap = (file) => createImageBitmap(file, { imageOrientation: "from-image" });

function shrunk(image, width, height, longest = LONGEST) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return drawn(image, ...[width, height].map((side) => Math.max(1, Math.round(side * scale))));
}

// on white, as the gateway puts what is transparent
function drawn(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  return canvas;
}

const jpeg = (canvas, quality = QUALITY) => canvas.convertToBlob({ type: "image/jpeg", quality });
