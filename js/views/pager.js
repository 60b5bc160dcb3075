// ‹ 2 of 5 ›: buttons that turn to the one before and the one after.

import { element } from "./files.js";

// `label` is what is shown now, `turn` is told the step, -1 or 1.
export function pager(label, turn) {
  const button = (by, sign) => {
    const made = element("button", "clrface-turn", { type: "button", textContent: sign });
    made.addEventListener("click", () => turn(by));
    return made;
  };
  return [button(-1, "‹"), element("span", "", { textContent: label }), button(1, "›")];
}
