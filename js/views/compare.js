// Before and after on Restore Faces: one picture over the other, with a border that the pointer or the arrow keys move;
// every face by itself, then the whole picture, of one picture after the other.

import { address, element, shownHeight } from "./files.js";
import { notesOf } from "./notes.js";
import { pager } from "./pager.js";
import { words } from "./words.js";

const BAR = 40; // height of the words under the picture, which may take two lines

export function compareView(node, grow) {
  const root = element("div", "clrface-view clrface-compare");
  const frame = element("div", "clrface-frame");
  const before = element("img", "clrface-picture", { draggable: false });
  const after = element("img", "clrface-picture clrface-after", { draggable: false });
  const border = element("div", "clrface-border");
  const range = element("input", "clrface-range", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const left = element("span", "clrface-label clrface-left");
  const right = element("span", "clrface-label clrface-right");
  const bar = element("div", "clrface-bar");
  frame.append(before, after, border, left, right, range);
  root.append(frame, bar);
  let sent = null;
  let pairs = [];
  let shown = 0;

  const divide = () => frame.style.setProperty("--clrface-cut", `${range.value}%`);
  range.addEventListener("input", divide);
  range.addEventListener("pointermove", (event) => {
    const box = range.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    divide();
  });
  divide();
  after.addEventListener("load", grow); // only now are its sides known
  after.addEventListener("error", () => {
    root.hidden = true; // the server has thrown its temporary files away
    grow();
  });

  function draw() {
    const { before: beforeWord, after: afterWord, divide: divideWord } = words();
    const pair = pairs[shown];
    Object.assign(before, { src: address(pair.before), alt: beforeWord });
    Object.assign(after, { src: address(pair.after), alt: afterWord });
    left.textContent = beforeWord;
    right.textContent = afterWord;
    range.setAttribute("aria-label", divideWord);
    const turn = (by) => {
      shown = (shown + by + pairs.length) % pairs.length;
      draw();
    };
    const note = notesOf(sent);
    bar.replaceChildren(
      ...(pairs.length > 1 ? pager(label(pair), turn) : []),
      ...(note ? [element("span", "clrface-note", { textContent: note })] : []),
    );
  }

  function label({ frame: number, face }) {
    const frames = sent.clrface_frames?.[0] ?? 1;
    const what = face === null ? words().whole : words().face(face);
    return frames > 1 ? `${words().picture(number + 1, frames)} · ${what}` : what;
  }

  return {
    element: root,
    height(column) {
      if (!after.naturalWidth) return 0;
      return shownHeight(column, [after.naturalWidth, after.naturalHeight]) + (bar.childElementCount ? BAR : 0);
    },
    show(output) {
      if (!output?.clrface_pairs?.length) return false;
      sent = output;
      pairs = facesFirst(output.clrface_pairs);
      shown = Math.min(shown, pairs.length - 1);
      draw();
      return true;
    },
  };
}

// Of every picture its faces, and then the whole.
function facesFirst(pairs) {
  const rank = ({ frame, face }) => [frame, face === null ? Infinity : pairs.findIndex((p) => p.frame === frame && p.face === face)];
  return [...pairs].sort((a, b) => {
    const [frameA, faceA] = rank(a);
    const [frameB, faceB] = rank(b);
    return frameA - frameB || (faceA === faceB ? 0 : faceA - faceB);
  });
}
