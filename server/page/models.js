// Which of the gateway's models is asked for: the same weights at other sizes, so names, colours and tasks are the same.
import { chosen, drop } from "./choices.js";
import { write } from "./curl.js";
import { notice } from "./messages.js";
import { $, sized, state } from "./state.js";

// {name, version} of the answers to what is asked for now
export function due() {
  const { card, name, version } = state.model;
  const { model } = sized();
  return { name: model ? `${card.name} ${model}` : name, version };
}

// whether an answer, or what the gateway says of itself, is of the model whose names, colours and tasks are known here
export const same = (one, other) => one?.name === other?.name && one?.version === other?.version;

// What there is to choose. A choice stays where the model behind this page is another one that has it, too; else it is
// given up, which is said.
export function offer() {
  const { models, model, max_tiles } = state.model;
  const wanted = chosen("size");
  const before = $("size").value || wanted;
  const several = models.length > 1 ? models : [];
  $("size").replaceChildren(...several.map((name) => new Option(name, name)));
  $("models").hidden = several.length === 0;
  $("tiles").hidden = max_tiles === 1;
  if (several.length > 0) $("size").value = several.includes(before) ? before : model ?? several[0];
  tell();
  if (wanted !== undefined && !several.includes(wanted)) giveUp(wanted);
}

const READ = 6; // seconds that it takes to read a sentence where nobody looked
function giveUp(wanted) {
  const text = `The gateway does not have the model “${wanted}” any more: it is “${$("size").value || due().name}” now.`;
  drop("size");
  $("lost").textContent = text;
  notice(text, 0, "lost");
  setTimeout(() => notice("", 0, "lost"), 1000 * READ);
}

// what runs, and what the one that is chosen is good for
export function tell() {
  const { card, version, runtime } = state.model;
  $("model").textContent = `${due().name} ${version} · ${runtime}`;
  const words = card.models?.[$("size").value]?.summary ?? "";
  $("size-words").textContent = words;
  $("size-words").hidden = !words;
  write();
}
