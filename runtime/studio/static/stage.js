// The live picture in the middle. While the page is visible, it asks the server for the newest frame repeatedly.
import { $, ask } from "./common.js";
import { score, t } from "./text.js";

const PERIOD = 200; // milliseconds between two requests
const SIGNS = { good: "✓", review: "?", reject: "✕" };

export const stage = {
  frame: null, // the server's answer about the frame that is shown; null for none
  plain: false, // whether heat-maps are left out, as while a region is drawn
  pictured: "", // the address of the picture that is shown
  changed: [], // functions that draw over the frame; called whenever it changes

  // Begins to show frames. app: holds the product's id and the state.
  start(app) {
    this.app = app;
    $("#again").addEventListener("click", () => app.act("choose", { address: app.state.source.address }));
    new ResizeObserver(() => this.redraw()).observe($("#view"));
    this.poll();
  },

  async poll() {
    try {
      if (!document.hidden && this.app.state) await this.look();
    } catch {
      // The poll of the state (studio.js) reports that the server does not answer.
    }
    setTimeout(() => this.poll(), PERIOD);
  },

  // Asks for the newest frame, and shows its picture and verdict.
  async look() {
    const product = this.app.product;
    const query = product ? `?product=${encodeURIComponent(product)}` : "";
    const found = await ask(`live${query}`);
    if (found.number !== null) await this.picture(found, query);
    else if (this.frame) this.clear();
    this.describe(found);
  },

  // Loads and shows the picture of a frame, with its heat-map if the user wants it.
  async picture(found, query) {
    const how = $("#heat").checked && !this.plain && found.recipe ? "heat" : "plain";
    const address = `frame/${found.number}/${how}.jpg${query}${how === "heat" ? `&recipe=${found.recipe}` : ""}`;
    if (address !== this.pictured) {
      const next = new Image();
      next.src = address;
      try {
        await next.decode(); // the old picture stays until the new one is loaded
      } catch {
        return; // the frame is no longer kept; the next answer names a newer one
      }
      $("#live").src = next.src;
      this.pictured = address;
    }
    this.frame = found;
    $("#live").hidden = false;
    this.redraw();
  },

  clear() {
    this.frame = null;
    this.pictured = "";
    $("#live").hidden = true;
    $("#live").removeAttribute("src");
    this.redraw();
  },

  // Shows the verdict, the scene's change, and what is known about the frame and the source.
  describe(found) {
    const verdict = this.plain ? undefined : found.verdict;
    $("#verdict").hidden = !verdict;
    $("#verdict").className = verdict ?? "nothing";
    $("#verdict .sign").textContent = SIGNS[verdict] ?? "";
    $("#verdict .word").textContent = verdict ? t(`verdict.${verdict}`) : "";
    $("#verdict .number").textContent = verdict ? `${score(found.score)}\n${t("verdict.threshold")}` : "";
    $("#heating").hidden = !found.verdict || this.plain;
    const scene = !this.plain && (found.error || (found.scene && t("scene", { reason: t(`scene.${found.scene}`) })));
    $("#scene").hidden = !scene;
    $("#scene").textContent = scene || "";
    $("#live").alt = found.number === null ? "" : t("stage.alt", { name: found.name });
    const source = this.app.state.source;
    $("#empty").hidden = found.number !== null;
    $("#empty b").textContent = t(source ? "stage.waiting" : "stage.none");
    $("#empty p").textContent = source ? source.error || t("stage.waitingHint", { name: source.name })
      : t(this.app.product ? "stage.noneHint" : "stage.firstHint");
    const isOld = found.age > 5 && source?.address !== "photos:";
    $("#ended").hidden = !(isOld && source?.folder);
    const old = isOld && !source?.folder ? t("stage.old", { seconds: Math.round(found.age) }) : "";
    $("#said").textContent = found.number === null ? "" :
      [found.name, `${found.width}×${found.height}`, old, source?.error].filter(Boolean).join(" · ");
  },

  // Returns the scale from frame pixels to the canvas, the left and top of the picture in it, and the canvas's size.
  place() {
    const { clientWidth: width, clientHeight: height } = $("#drawing");
    const frame = this.frame ?? { width: 4, height: 3 };
    const scale = Math.min(width / frame.width, height / frame.height);
    return { scale, left: (width - scale * frame.width) / 2, top: (height - scale * frame.height) / 2, width, height };
  },

  // Returns the position of a pointer in frame pixels.
  at(event) {
    const box = $("#drawing").getBoundingClientRect();
    const { scale, left, top } = this.place();
    const inside = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
    return [inside((event.clientX - box.left - left) / scale, this.frame.width),
      inside((event.clientY - box.top - top) / scale, this.frame.height)];
  },

  redraw() {
    const canvas = $("#drawing");
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!this.frame) return;
    const pen = canvas.getContext("2d");
    const { scale, left, top } = this.place();
    pen.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    for (const draw of this.changed) draw(pen, scale);
  },
};
