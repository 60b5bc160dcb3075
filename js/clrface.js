// CLR-Face in the browser: each view is a DOM widget on one kind of node, filled with what that node sends when it ran.

import { app } from "../../scripts/app.js";

import { compareView } from "./views/compare.js";
import { pickerView } from "./views/picker.js";
import { textView } from "./views/text.js";

const VIEWS = {
  CLRFaceDetectAlign: pickerView,
  CLRFaceRestoreFaces: compareView,
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

  async nodeCreated(node) {
    const makeView = VIEWS[node.comfyClass];
    if (!makeView) return;
    const view = makeView(node, grow);
    const widget = node.addDOMWidget("clrface_view", "clrface_view", view.element, {
      serialize: false,
      hideOnZoom: false,
      hideInPanel: true, // the panel of a selected node would take the element away from the node
      getMinHeight: () => (view.element.hidden ? 0 : view.height(node.size[0] - MARGIN)),
    });
    widget.serialize = false; // the view is no setting: graphs are saved without it
    view.element.hidden = true;
    node.clrfaceShow = (output) => {
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
      this.clrfaceShow(output);
    };
  },

  // What nodes sent before, when a graph is opened again.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      app.rootGraph?.getNodeById(id)?.clrfaceShow?.(output);
    }
  },
});
