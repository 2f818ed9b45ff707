// The connection to the gateway: its model, whose names, colours and tasks the page has, and the key it asks for.
import { Problem, askWith, get, key, listen } from "./gateway.js";
import { fail, notice } from "./messages.js";
import { offer, same } from "./models.js";
import { $, sized, state, words } from "./state.js";
import { draw } from "./view.js";

async function start() {
  $("model").textContent = "connecting…";
  try {
    const [model] = await whenReady();
    const taxonomies = await get("/v1/taxonomies");
    const known = taxonomies.find((t) => JSON.stringify(t.classes) === JSON.stringify(model.classes));
    state.palette = (known ?? taxonomies[0]).palette;
    state.classes = model.classes;
    state.told = ["cihp", "mhp"].includes(known?.name) ? words : (name) => name; // who has named classes chose how
    state.charts = taxonomies.find((t) => t.name === "densepose").classes;
    if (same(model, state.model)) state.model = model; // what it offers may be something else
    else replace(model);
    offer();
    for (const element of document.querySelectorAll("[data-needs]")) {
      element.hidden = !element.dataset.needs.split(" ").some((task) => model.tasks[task]);
    }
  } catch (error) {
    $("model").textContent = error.status === 401 ? "a key is needed" : "not connected";
    throw error;
  }
}

// What is shown of the model before has other names and colours. Where there are no parts to be seen, IUV is.
function replace(model) {
  const parts = (tasks) => tasks?.parsing ?? true;
  if (parts(state.model?.tasks) !== parts(model.tasks)) $("iuv").checked = !parts(model.tasks);
  Object.assign(state, { model, people: [], answer: null, highlight: 0 });
  $("panel").hidden = true;
  draw();
}

export const CHANGES = 3; // of models in a row, after which waiting for one that stays is given up
export const unsteady = () => new Problem({ detail: "The gateway answers with one model and then with another. Try again in a moment." });

let reason = ""; // why the gateway is not ready
const awaited = () => Boolean(state.stream) || !$("busy").hidden;
const explain = (text) => text && awaited() && notice(text);
async function whenReady() {
  for (;;) {
    try {
      const models = await get("/v1/models");
      reason = "";
      return models;
    } catch (error) {
      if (error.status === 401) throw error;
      $("model").textContent = error.reason;
      reason = `${error.reason}${/[.?]$/.test(error.reason) ? "" : "."} This page asks again each second.`;
      explain(reason);
      await new Promise((done) => setTimeout(done, 700));
    }
  }
}

askWith((detail) => {
  keyed();
  $("key-detail").textContent = detail;
  $("key").value = "";
  $("key-dialog").showModal();
  return new Promise((done) => {
    $("key-dialog").addEventListener("close", () => done($("key-dialog").returnValue === "use" ? $("key").value.trim() : null), { once: true });
  });
});
// a link cannot carry a key
const keyed = () => (document.querySelector("[href='/metrics']").hidden = true);
if (key()) keyed();
// nor does it help where a proxy keeps that address for others
else fetch("/metrics", { method: "HEAD" }).then(({ status }) => [401, 403, 404].includes(status) && keyed()).catch(() => {});
let started = start();
const again = () => ready().catch((error) => fail(error, again));
started.catch((error) => fail(error, again));

// `anew`: another model has answered
export async function ready(anew = false) {
  const end = listen(explain);
  explain(reason);
  try {
    if (anew) await (started = start());
    else await started.catch(() => (started = start())); // the key was refused before; ask again
  } finally {
    end();
    notice("");
  }
}

// Whether the model that is chosen is none of the gateway's any more, or so many tiles are not, as where that was started
// again: then its own is chosen, and as many as it allows.
export async function gone() {
  const { model, tiles } = sized();
  if (!model && !tiles) return false;
  await ready(true);
  return sized().model !== model || sized().tiles !== tiles;
}
// what was refused for that can be asked for once more
export const mendable = async (error) => error.status === 422 && (await gone());
