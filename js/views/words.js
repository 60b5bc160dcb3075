// The few words that the views say themselves; all others come from ComfyUI's own translation files in locales/.

import { app } from "../../../scripts/app.js";

const WORDS = {
  en: {
    face: (number) => `Face ${number}`,
    picture: (number, count) => `Picture ${number} of ${count}`,
    none: "No face was found here.",
    pick: "Click faces to choose them.",
    connect: "Connect a Select Faces node, and click faces to choose them.",
    before: "Before",
    after: "After",
    divide: "Move the border between before and after",
    whole: "Whole picture",
    notes: {
      no_faces: "No face was found: the picture is unchanged.",
      black_mask: "The mask is black where the faces are: nothing was changed.",
      left_alone: "Nothing was changed: the faces are clean, blurred beside a sharp one, or would have moved.",
    },
  },
  zh: {
    face: (number) => `人脸 ${number}`,
    picture: (number, count) => `第 ${number} 张，共 ${count} 张`,
    none: "此处未找到人脸。",
    pick: "点击人脸进行选择。",
    connect: "连接“选择人脸”节点后，点击人脸进行选择。",
    before: "修复前",
    after: "修复后",
    divide: "移动前后对比的分界线",
    whole: "整张图像",
    notes: {
      no_faces: "未找到人脸：图像保持不变。",
      black_mask: "人脸处的遮罩为黑色：没有任何改动。",
      left_alone: "没有任何改动：人脸本来清晰、在清晰人脸旁虚化，或修复后会移位。",
    },
  },
  ja: {
    face: (number) => `顔 ${number}`,
    picture: (number, count) => `画像 ${number} / ${count}`,
    none: "顔は見つかりませんでした。",
    pick: "顔をクリックして選択します。",
    connect: "「顔の選択」ノードを接続し、顔をクリックして選択します。",
    before: "復元前",
    after: "復元後",
    divide: "復元前と復元後の境界を動かす",
    whole: "画像全体",
    notes: {
      no_faces: "顔が見つかりませんでした。画像は元のままです。",
      black_mask: "顔の部分のマスクが黒いため、何も変更されていません。",
      left_alone: "何も変更されていません。顔がもともと鮮明か、鮮明な顔の横でぼけているか、復元で位置がずれるためです。",
    },
  },
};

export function words() {
  const locale = app.ui?.settings?.getSettingValue?.("Comfy.Locale") ?? "en";
  return WORDS[locale.split("-")[0]] ?? WORDS.en;
}
