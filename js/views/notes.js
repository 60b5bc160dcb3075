// Why a picture came out as it went in, in words, on the node itself.

import { element } from "./files.js";
import { words } from "./words.js";

export function notesOf(output) {
  return (output?.clrface_notes ?? []).map((note) => words().notes[note]).join(" ");
}

export function notesView() {
  const root = element("div", "clrface-view clrface-notes");
  return {
    element: root,
    height: () => (root.textContent ? 40 : 0), // lines may break once
    show(output) {
      root.textContent = notesOf(output);
      return Boolean(output?.clrface_notes);
    },
  };
}
