// What the page knows now; every module reads it here.
export const $ = (id) => document.getElementById(id);

// picture: of the photo, or of the last frame of the webcam when that was stopped (picture.js); photo: what is drawn;
// refused: {error, again} of the photo, when it was not analysed; model: as /v1/models has it, null before that was read;
// probe: the pixel where the ring is; pointed: that, or the mouse's, whichever moved last
export const state = { picture: null, photo: null, people: [], answer: null, refused: null, asked: 1, model: null, palette: [], classes: [], charts: [], highlight: 0, ticket: 0, probe: null, pointed: null, camera: null, live: false, work: new AbortController() };

export const least = () => Number($("score").value) / 100;
export const LEAST = 0.05; // of the slider

export const shown = () => state.people.filter(({ person }) => person.confidence >= least());

export const trained = () => ["parsing", "densepose"].filter((task) => state.model?.tasks[task]);

// which of the gateway's models is asked for: {} where that is the one that answers anyway
export const sized = () => ([state.model?.model, ""].includes($("size").value) ? {} : { model: $("size").value });

export function query(confidence, extra = {}) {
  return new URLSearchParams({ tasks: trained().join(","), confidence: confidence.toFixed(2), ...sized(), ...extra });
}
