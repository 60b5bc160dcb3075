// What each node showed last, kept in the browser's tab: it outlives Undo and a reload of the page.

import { app } from "../../../scripts/app.js";

const key = (node) => `clrface:${app.rootGraph?.id}:${node.graph?.id}:${node.id}`;

export function remember(node, output) {
  try {
    sessionStorage.setItem(key(node), JSON.stringify(output));
  } catch (error) {
    console.warn("CLR-Face: what this node shows is not kept, for the tab's storage is full.", error.name);
  }
}

export function recall(node) {
  const kept = sessionStorage.getItem(key(node));
  return kept && JSON.parse(kept);
}
