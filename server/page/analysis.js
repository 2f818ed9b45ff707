// One picture: asked for once, drawn here, and asked for again where the slider goes lower.
import { request } from "./gateway.js";
import { decodeAll } from "./layers.js";
import { aloud, busy, fail, forget, isBusy, notice, noticed, patiently } from "./messages.js";
import { due, same } from "./models.js";
import { mend } from "./picture.js";
import { CHANGES, mendable, ready, unsteady } from "./ready.js";
import { $, LEAST, least, query, state, trained } from "./state.js";
import { draw } from "./view.js";

const INCLUDE = { parsing: ["parts", "label_map"], densepose: ["iuv"] };
const maps = () => ({ include: [...trained().flatMap((task) => INCLUDE[task]), ...(trained().length ? ["inds"] : [])].join(","), mask_format: "none" });
export const followed = () => ({ ...maps(), track: "true" }); // numbers and colours stay with people from frame to frame

const address = (confidence) => `/v1/analyze?${query(confidence, { ...maps(), exact: "true" })}`;

// Throws what is wrong with a file that only the gateway may know.
export async function vouched({ small }, signal) {
  await ready();
  await patiently(() => request(address(least()), { method: "POST", body: small, signal }), signal);
}

// null: there is nothing to be seen
export function show(picture) {
  state.photo?.close?.();
  Object.assign(state, { picture, photo: picture?.photo, people: [], answer: null, probe: null, pointed: null });
  $("drop").hidden = Boolean(state.photo);
  $("viewer").hidden = $("another").hidden = !state.photo;
  $("panel").hidden = true;
  draw();
}

export async function analyze(picture, ticket, confidence) {
  let done = false;
  const { signal } = (state.work = new AbortController());
  const about = () => [picture.chosen, picture.converted].filter(Boolean).join(" ");
  state.refused = null;
  busy(true);
  try {
    await ready();
    notice(about(), 0);
    const begin = performance.now();
    const send = async () => request(address(confidence), { method: "POST", body: await picture.small, signal });
    let wanted;
    const ask = () => {
      wanted = due();
      return patiently(send, signal).catch((error) => {
        if (!mend(picture, error)) throw error;
        notice(about());
        return patiently(send, signal);
      });
    };
    let response = await ask().catch(async (error) => {
      if (!(await mendable(error)) || ticket !== state.ticket) throw error;
      return ask();
    });
    let answer = await response.json();
    for (let change = 1; !same(answer.model, wanted); change++) {
      if (change > CHANGES) throw unsteady();
      await ready(true);
      if (ticket !== state.ticket) return;
      response = await ask(); // of the tasks of this model
      answer = await response.json();
    }
    const people = await decodeAll(answer);
    if (ticket !== state.ticket) return;
    Object.assign(state, { answer, people, photo: picture.photo, asked: confidence }); // which may be a smaller one now
    const [, there] = /\btotal;dur=([\d.]+)/.exec(response.headers.get("Server-Timing")) ?? [];
    const all = (picture.took + performance.now() - begin).toFixed(0);
    picture.took = 0; // it is not read again
    $("figures").textContent = there ? `${Number(there).toFixed(0)} ms on the server, ${all} in all` : `${all} ms in all`;
    for (const name of ["chosen", "converted"]) $(name).textContent = picture[name];
    $("panel").hidden = false;
    draw();
    aloud($("summary").textContent); // the same number may be another result
    done = true;
  } catch (error) {
    if (ticket === state.ticket) {
      const again = () => analyze(picture, ++state.ticket, Math.min(confidence, least()));
      fail(error, again);
      if (!state.answer) {
        state.refused = { error, again: error.passes ? again : null };
        $("panel").hidden = true; // that of another frame of a video
      }
    }
  } finally {
    if (ticket === state.ticket) {
      busy(false);
      notice("", noticed() === about() ? 3000 : 0); // what is said of the photo can be read
    }
  }
  if (done) await lower(); // it may have been moved meanwhile
}

// Who is below the slider was not asked for: the faint cost as much as the certain. Moved lower, it asks once more, for
// everybody it can show.
export async function lower() {
  if (!state.answer || least() >= state.asked) return;
  if (state.live) {
    state.asked = LEAST;
    state.stream.ask(query(LEAST, followed()));
  } else if (!isBusy()) {
    forget();
    await analyze(state.picture, ++state.ticket, LEAST);
  }
}
