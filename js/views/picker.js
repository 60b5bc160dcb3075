// The numbered preview of Detect & Align Faces: a click on a face adds its number to the Select Faces behind it, or takes
// it out again. Every face is a button, so that the keyboard reaches it too.

import { address, element, shownHeight } from "./files.js";
import { pager } from "./pager.js";
import { words } from "./words.js";

const ALIGNMENT = 1; // the output that a Select Faces node is connected to

const BAR = 40; // height of the words under the picture, which may take two lines

export function pickerView(node) {
  const root = element("div", "clrface-view clrface-picker");
  const frame = element("div", "clrface-frame");
  const image = element("img", "clrface-picture", { draggable: false, alt: "" });
  const buttons = element("div", "clrface-faces");
  const bar = element("div", "clrface-bar");
  frame.append(image, buttons);
  root.append(frame, bar);
  let found = null;
  let shown = 0;

  function draw() {
    const { clrface_pictures: pictures, clrface_faces: faces, clrface_ids: ids, clrface_size: size } = found;
    image.src = address(pictures[shown]);
    image.style.aspectRatio = `${size[0]} / ${size[1]}`;
    buttons.replaceChildren(...faces[shown].map((box, index) => faceButton(box, ids[shown][index], size)));
    const hint = !faces[shown].length ? words().none : selects(node).length ? words().pick : words().connect;
    const turn = (by) => {
      shown = (shown + by + pictures.length) % pictures.length;
      draw();
    };
    const turning = pictures.length > 1 ? pager(words().picture(shown + 1, pictures.length), turn) : [];
    bar.replaceChildren(...turning, element("span", "", { textContent: hint }));
    mark();
  }

  function faceButton([left, top, right, bottom], number, [width, height]) {
    const button = element("button", "clrface-face", { type: "button", title: words().face(number) });
    button.setAttribute("aria-label", words().face(number));
    button.dataset.number = number;
    Object.assign(button.style, {
      left: `${(100 * left) / width}%`,
      top: `${(100 * top) / height}%`,
      width: `${(100 * (right - left)) / width}%`,
      height: `${(100 * (bottom - top)) / height}%`,
    });
    button.addEventListener("click", () => {
      for (const select of selects(node)) toggle(select, number);
      mark();
    });
    return button;
  }

  // Numbers may also be typed into Select Faces, so the marks are taken from there.
  function mark() {
    const chosen = new Set(selects(node).flatMap(numbersOf));
    for (const button of buttons.children) {
      button.setAttribute("aria-pressed", String(chosen.has(Number(button.dataset.number))));
    }
  }

  image.addEventListener("error", () => {
    root.hidden = true; // the server has thrown its temporary files away
  });
  root.addEventListener("pointerenter", () => found && draw());
  return {
    element: root,
    height: (column) => (found ? shownHeight(column, found.clrface_size) + BAR : 0),
    show(output) {
      if (!output?.clrface_pictures?.length) return false;
      found = output;
      shown = Math.min(shown, output.clrface_pictures.length - 1);
      draw();
      return true;
    },
  };
}

// The Select Faces nodes that get this node's alignment, directly or through reroute nodes, and whose numbers are typed.
function selects(node, output = ALIGNMENT) {
  const targets = (node.outputs[output]?.links ?? []).map((id) => {
    const link = node.graph.getLink?.(id) ?? node.graph.links[id];
    return link && node.graph.getNodeById(link.target_id);
  });
  return targets.flatMap((target) => {
    if (target?.type === "Reroute") return selects(target, 0);
    return target?.comfyClass === "CLRFaceSelectFaces" && numbersWidget(target) ? [target] : [];
  });
}

function numbersWidget(select) {
  if (select.inputs?.find((input) => input.name === "faces")?.link != null) return null;
  return select.widgets?.find((widget) => widget.name === "faces");
}

// "0,2-4" is 0, 2, 3 and 4; "all" and "largest" name no face by its number.
function numbersOf(select) {
  const typed = String(numbersWidget(select).value ?? "").split(",");
  return typed.flatMap((part) => {
    const range = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(part);
    if (!range) return [];
    const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
    return Array.from({ length: Math.max(last - first + 1, 0) }, (_, step) => first + step);
  });
}

function toggle(select, number) {
  const chosen = new Set(numbersOf(select));
  if (!chosen.delete(number)) chosen.add(number);
  const widget = numbersWidget(select);
  widget.value = [...chosen].sort((a, b) => a - b).join(",") || "all";
  widget.callback?.(widget.value);
  select.graph?.setDirtyCanvas?.(true, true);
}
