// The command that has the gateway do to a file what this page has it do.
import { key } from "./gateway.js";
import { notice } from "./messages.js";
import { $, least, sized, state } from "./state.js";

// as a shell reads it; a name that all shells read as it is stays so
const quoted = (name) => (/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);

// the picture that is most like what is seen
const rendered = () => ($("contours").checked ? "contour" : $("parts").checked || !$("iuv").checked ? "overlay" : "iuv");

// what the browser has converted, or the webcam has seen, is no file that the gateway reads
const named = ({ picture }) => (picture?.file && !picture.converted ? picture.name : "photo.jpg");

export function command() {
  const name = named(state);
  const stem = name.replace(/\.[^.]+$/, "");
  const line = (extra, header, out) => {
    const query = new URLSearchParams({ confidence: least().toFixed(2), ...sized(), exact: "true", ...extra });
    const headers = [...header, ...(key() ? ['"Authorization: Bearer $PARSING_RCNN_API_KEY"'] : [])].map((one) => ` -H ${one}`);
    return `curl --data-binary @${quoted(name)} "${location.origin}/v1/analyze?${query}"${headers.join("")} -o ${quoted(out)}`;
  };
  const render = rendered();
  return [line({}, [], `${stem}.json`), line({ render }, ['"Accept: image/png"'], `${stem}_${render}.png`)].join("\n\n");
}

export function write() {
  const text = command();
  if ($("curl").textContent !== text) $("curl").textContent = text;
}

// pages on http that are not this computer's have no clipboard: there it is marked, and the keyboard does the rest
async function copy() {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    notice("Copied.");
  } catch {
    getSelection().selectAllChildren($("curl"));
    notice("Marked: copy it with the keyboard.");
  }
  notice("", 3000);
}

$("copy").addEventListener("click", copy);
