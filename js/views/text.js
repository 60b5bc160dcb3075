// The lines of Face Similarity, on the node itself.

import { element } from "./files.js";

export function textView() {
  const root = element("pre", "clrface-view clrface-text");
  return {
    element: root,
    minHeight: 48,
    show(output) {
      const text = [output?.text ?? []].flat().join("\n");
      root.textContent = text;
      return text !== "";
    },
  };
}
