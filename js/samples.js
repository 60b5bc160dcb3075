// The pictures and the video of the example graphs, which the server puts into the input folder when such a graph is opened.

import { api } from "../../scripts/api.js";

const LOADERS = new Set(["LoadImage", "LoadVideo"]);
const SAMPLES = new Set([
  "grace-hopper.jpg", "astronaut.jpg", "grace-hopper-clean.jpg", "astronaut-clean.jpg", "two-faces.mp4",
]);

export async function bringSamples(graph) {
  const wanted = (graph?.nodes ?? []).some((node) => LOADERS.has(node.type) && SAMPLES.has(node.widgets_values?.[0]));
  if (!wanted || !graph.nodes.some((node) => node.type?.startsWith("CLRFace"))) return false;
  const answer = await api.fetchApi("/clrface/samples", { method: "POST" });
  return answer.ok && (await answer.json()).length > 0;
}
