// What a visitor has chosen on this page, kept over a reload by the browser, where it keeps anything.
import { $ } from "./state.js";

const SLOT = "parsing-rcnn-choices";
const KEPT = ["parts", "iuv", "contours", "boxes", "opacity", "score", "size", "small", "hiding"];

// what was kept may be of another time, or nothing: it may be refused in private windows and by settings
function stored() {
  try {
    return { ...JSON.parse(localStorage.getItem(SLOT)) };
  } catch {
    return {};
  }
}

// one choice; another tab may have kept others meanwhile
function store(id) {
  try {
    localStorage.setItem(SLOT, JSON.stringify({ ...stored(), [id]: choices[id] }));
  } catch {
    // then they last as long as the page
  }
}

const choices = stored();

// undefined where the visitor has chosen nothing
export const chosen = (id) => choices[id];

export function drop(id) {
  delete choices[id];
  store(id);
}

function restore(control, value) {
  if (control.type === "checkbox") return void (control.checked = value === true || (value !== false && control.checked));
  const before = control.value;
  control.value = value;
  if (control.value !== value) control.value = before; // there is no such value any more
}

for (const id of KEPT) if (id in choices) restore($(id), choices[id]);
document.addEventListener("change", ({ target }) => {
  if (!KEPT.includes(target.id)) return;
  choices[target.id] = target.type === "checkbox" ? target.checked : target.value;
  store(target.id);
});
