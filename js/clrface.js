// CLR-Face in the browser: each view is a DOM widget on one kind of node, filled with what that node sends when it ran.

import { app } from "../../scripts/app.js";

import { bringSamples } from "./samples.js";
import { compareView } from "./views/compare.js";
import { recall, remember } from "./views/memory.js";
import { notesView } from "./views/notes.js";
import { pickerView } from "./views/picker.js";
import { textView } from "./views/text.js";

const VIEWS = {
  CLRFaceDetectAlign: pickerView,
  CLRFaceRestoreFaces: compareView,
  CLRFaceFacePaste: notesView,
  CLRFaceFaceSimilarity: textView,
};

const MARGIN = 20; // what the classic renderer leaves free beside a widget, on both sides together

app.registerExtension({
  name: "CLR-Face.Views",

  async setup() {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("./clrface.css", import.meta.url).href;
    document.head.append(style);
  },

  async beforeConfigureGraph(graph) {
    if (await bringSamples(graph)) await app.refreshComboInNodes?.(); // so that Load Image offers them
  },

  async nodeCreated(node) {
    const makeView = VIEWS[node.comfyClass];
    if (!makeView) return;
    const view = makeView(node, grow);
    const height = () => (view.element.hidden ? 0 : view.height(node.size[0] - MARGIN));
    const widget = node.addDOMWidget("clrface_view", "clrface_view", view.element, {
      serialize: false,
      hideOnZoom: false,
      hideInPanel: true, // the panel of a selected node would take the element away from the node
      getMinHeight: height,
    });
    widget.serialize = false; // the view is no setting: graphs are saved without it
    view.element.hidden = true;
    node.clrfaceMount = () => mount(node, view.element);
    node.clrfaceShow = (output) => {
      node.clrfaceMount();
      if (!view.show(output)) return;
      view.element.hidden = false;
      grow();
    };
    // Room for the view. The Vue renderer lets nodes grow by themselves.
    function grow() {
      if (!LiteGraph.vueNodesMode) {
        const [width, height] = node.computeSize();
        node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
      }
      node.setDirtyCanvas(true, true);
    }
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      remember(node, output);
      this.clrfaceShow(output);
    };
    // A graph is opened without what its nodes showed, so it is saved without the room for that.
    const serialized = node.onSerialize;
    node.onSerialize = function (saved) {
      serialized?.apply(this, arguments);
      const shown = LiteGraph.vueNodesMode ? 0 : height();
      if (shown && saved.size) saved.size = [saved.size[0], Math.max(saved.size[1] - shown, 60)];
    };
  },

  // After a graph was opened, and after Undo, which opens one: what each node showed before.
  loadedGraphNode(node) {
    if (!node.clrfaceShow) return;
    const output = recall(node);
    if (output) node.clrfaceShow(output);
    soon(node.clrfaceMount);
  },

  onNodeOutputsUpdated(outputs) {
    for (const [where, output] of Object.entries(outputs)) nodeAt(where)?.clrfaceShow?.(output);
  },
});

// A node of the graph, by its number, or of a subgraph, by "subgraph:number".
function nodeAt(where) {
  const [subgraph, number] = where.includes(":") ? where.split(":") : [null, where];
  const graph = subgraph === null ? app.rootGraph : app.rootGraph?.subgraphs?.get(subgraph);
  return graph?.getNodeById(Number(number)) ?? graph?.getNodeById(number);
}

// After Undo the Vue renderer shows the new node in the elements of the old one, whose view still stands there.
function mount(node, element) {
  if (!LiteGraph.vueNodesMode || node.graph !== app.canvas?.graph) return;
  for (const old of document.querySelectorAll(`[data-node-id="${node.id}"] .clrface-view`)) {
    if (old !== element) old.replaceWith(element);
  }
}

// Once the renderer has drawn the graph, which takes it some frames.
function soon(act, frames = 20) {
  act();
  if (frames) requestAnimationFrame(() => soon(act, frames - 1));
}
