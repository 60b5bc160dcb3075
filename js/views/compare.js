// Before and after on Restore Faces: one picture over the other, with a border that the pointer or the arrow keys move.

import { address, element, shownHeight } from "./files.js";
import { words } from "./words.js";

export function compareView(node, grow) {
  const root = element("div", "clrface-view clrface-compare");
  const frame = element("div", "clrface-frame");
  const before = element("img", "clrface-picture", { draggable: false });
  const after = element("img", "clrface-picture clrface-after", { draggable: false });
  const border = element("div", "clrface-border");
  const range = element("input", "clrface-range", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const left = element("span", "clrface-label clrface-left");
  const right = element("span", "clrface-label clrface-right");
  frame.append(before, after, border, left, right, range);
  root.append(frame);

  const divide = () => frame.style.setProperty("--clrface-cut", `${range.value}%`);
  range.addEventListener("input", divide);
  range.addEventListener("pointermove", (event) => {
    const box = range.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    divide();
  });
  divide();
  after.addEventListener("load", grow); // only now are its sides known

  return {
    element: root,
    height: (column) => (after.naturalWidth ? shownHeight(column, [after.naturalWidth, after.naturalHeight]) : 0),
    show(output) {
      const [was] = output?.clrface_before ?? [];
      const [is] = output?.clrface_after ?? [];
      if (!was || !is) return false;
      const { before: beforeWord, after: afterWord, divide: divideWord } = words();
      Object.assign(before, { src: address(was), alt: beforeWord });
      Object.assign(after, { src: address(is), alt: afterWord });
      left.textContent = beforeWord;
      right.textContent = afterWord;
      range.setAttribute("aria-label", divideWord);
      return true;
    },
  };
}
