// Where the browser finds a picture that a node left in ComfyUI's temporary folder.

import { api } from "../../../scripts/api.js";

export function address({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

export function element(tag, className, attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.className = className;
  return made;
}
