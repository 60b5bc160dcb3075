// The lines of Face Similarity, on the node itself.

import { element } from "./files.js";

export function textView() {
  const root = element("pre", "clrface-view clrface-text");
  return {
    element: root,
    height: () => Math.min(240, 8 + 30 * root.textContent.split("\n").length), // lines may break once
    show(output) {
      const text = [output?.text ?? []].flat().join("\n");
      root.textContent = text;
      return text !== "";
    },
  };
}
