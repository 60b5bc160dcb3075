// Where the browser finds a picture that a node left in ComfyUI's temporary folder.

import { api } from "../../../scripts/api.js";

export function address({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

// The height at which a picture of these sides is shown in a column of this width. clrface.css has the same limit.
export function shownHeight(column, [width, height]) {
  return Math.min(480, (column * height) / width, height);
}

export function element(tag, className, attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.className = className;
  return made;
}
