// What the page knows now; every module reads it here.
export const $ = (id) => document.getElementById(id);

// picture: of the photo, or of the last frame of the webcam or video when that was stopped (picture.js); photo: what is
// drawn; stream: the webcam or video that runs (live.js); live: its frames are shown; film: the video that is open;
// refused: {error, again} of the photo, when it was not analysed; model: as /v1/models has it, null before that was read;
// told(class): its name, in words where it is of the method's data sets; probe: the pixel where the ring is; pointed: that,
// or the mouse's, whichever moved last
export const state = { picture: null, photo: null, people: [], answer: null, refused: null, asked: 1, model: null, palette: [], classes: [], told: words, charts: [], highlight: 0, ticket: 0, probe: null, pointed: null, stream: null, film: null, live: false, work: new AbortController() };

// "UpperClothes" and "Torso-skin" alike: the first letter is a capital; a "T-shirt" stays one
export function words(name) {
  const text = name.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/(?<=..)-/g, " ");
  return text[0] + text.slice(1).toLowerCase();
}

export const least = () => Number($("score").value) / 100;
export const LEAST = 0.05; // of the slider

export const shown = () => state.people.filter(({ person }) => person.confidence >= least());

export const trained = () => ["parsing", "densepose"].filter((task) => state.model?.tasks[task]);

// which of the gateway's models is asked for, and whether in tiles, of no more than it allows: {} where that is what it
// does anyway
export function sized() {
  const own = [state.model?.model, ""].includes($("size").value);
  const tiles = $("small").checked ? Math.min(3, state.model?.max_tiles ?? 1) : 1;
  return { ...(own ? {} : { model: $("size").value }), ...(tiles > 1 ? { tiles: String(tiles) } : {}) };
}

export function query(confidence, extra = {}) {
  return new URLSearchParams({ tasks: trained().join(","), confidence: confidence.toFixed(2), ...sized(), ...extra });
}
