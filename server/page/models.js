// Which of the gateway's models is asked for: the same weights at other sizes, so names, colours and tasks are the same.
import { $, sized, state } from "./state.js";

// {name, version} of the answers to what is asked for now
export function due() {
  const { card, name, version } = state.model;
  const { model } = sized();
  return { name: model ? `${card.name} ${model}` : name, version };
}

// whether an answer, or what the gateway says of itself, is of the model whose names, colours and tasks are known here
export const same = (one, other) => one?.name === other?.name && one?.version === other?.version;

// What there is to choose. A choice stays where the model behind this page is another one that has it, too.
export function offer() {
  const { models, model } = state.model;
  const before = $("size").value;
  const several = models.length > 1 ? models : [];
  $("size").replaceChildren(...several.map((name) => new Option(name, name)));
  $("models").hidden = several.length === 0;
  if (several.length > 0) $("size").value = several.includes(before) ? before : model ?? several[0];
  tell();
}

// what runs, and what the one that is chosen is good for
export function tell() {
  const { card, version, runtime } = state.model;
  $("model").textContent = `${due().name} ${version} · ${runtime}`;
  const words = card.models?.[$("size").value]?.summary ?? "";
  $("size-words").textContent = words;
  $("size-words").hidden = !words;
}
