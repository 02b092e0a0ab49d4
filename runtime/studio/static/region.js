// The region, a rectangle or a polygon that the user draws on the live picture, and the size of the smallest defect.
import { $ } from "./common.js";
import { stage } from "./stage.js";
import { t } from "./text.js";

const NEAR = 14; // the pointer takes hold of a corner within this distance, in screen pixels
const LEAST = 8; // the smallest side of a rectangle, in frame pixels

export const region = {
  tool: "rectangle", // or "polygon" or "defect"
  corners: [], // the corners of a polygon that is being drawn
  drag: null, // start and end of a rectangle or defect, or the corner that is moved; null while nothing is dragged
  active: false, // whether the user can draw now

  start(app) {
    this.app = app;
    stage.changed.push((pen, scale) => this.draw(pen, scale));
    for (const tool of ["rectangle", "polygon"]) $(`#${tool}`).addEventListener("click", () => this.take(tool));
    $("#show-defect").addEventListener("click", () => this.take(this.tool === "defect" ? "rectangle" : "defect"));
    $("#whole").addEventListener("click", () => this.send({ roi: null, polygon: [] }));
    $("#no-defect").addEventListener("click", () => this.send({ smallest_defect: null }));
    $("#defect").addEventListener("change", () => {
      const side = Math.round($("#defect").valueAsNumber);
      if (side > 0) this.send({ smallest_defect: side });
    });
    const canvas = $("#drawing");
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.up());
    canvas.addEventListener("pointercancel", () => this.drop());
  },

  get product() {
    return this.app.state?.product;
  },

  // Chooses a tool, and drops an unfinished drawing of another tool.
  take(tool) {
    this.tool = tool;
    this.drop();
    this.corners = [];
    for (const name of ["rectangle", "polygon"]) $(`#${name}`).ariaPressed = String(name === tool);
    $("#show-defect").ariaPressed = String(tool === "defect");
    this.show();
    stage.redraw();
  },

  // Drops an unfinished drag.
  drop() {
    this.drag = null;
    stage.redraw();
  },

  // Begins a rectangle or a defect, adds a corner, takes hold of a corner, or closes the polygon.
  down(event) {
    if (!this.active || !stage.frame || !this.product) return;
    event.preventDefault();
    $("#drawing").setPointerCapture(event.pointerId);
    const point = stage.at(event);
    const near = NEAR / stage.place().scale;
    const close = ([x, y]) => Math.hypot(x - point[0], y - point[1]) <= near;
    if (this.tool === "polygon") {
      const saved = this.product.polygon;
      if (!this.corners.length && saved.some(close)) {
        this.corners = saved.map((corner) => [...corner]);
        this.drag = { corner: this.corners.findIndex(close), closed: true };
      } else if (this.corners.length >= 3 && close(this.corners[0])) {
        this.send({ roi: null, polygon: this.corners });
        this.corners = [];
      } else this.corners.push(point);
    } else this.drag = { from: point, to: point };
    stage.redraw();
  },

  move(event) {
    if (!this.drag) return;
    const point = stage.at(event);
    if (this.drag.closed) this.corners[this.drag.corner] = point;
    else this.drag.to = point;
    stage.redraw();
  },

  // Ends a drag and sends its result to the server.
  up() {
    const { drag } = this;
    if (!drag) return;
    this.drag = null;
    if (drag.closed) {
      this.send({ roi: null, polygon: this.corners });
      this.corners = [];
    } else {
      const box = boxOf(drag);
      const side = Math.max(box.width, box.height);
      if (this.tool === "defect" && side > 0) {
        this.send({ smallest_defect: side });
        this.take("rectangle");
      } else if (this.tool === "rectangle" && Math.min(box.width, box.height) >= LEAST) {
        this.send({ roi: box, polygon: [] });
      }
    }
    stage.redraw();
  },

  // Sends changes of the region or the smallest defect. A region that was drawn on frames of another size is dropped.
  send(changes) {
    if (!this.product || !stage.frame) return;
    const { width, height } = stage.frame;
    this.app.act("region", () => {
      const { product } = this;
      const fits = product.frame && product.frame[0] === width && product.frame[1] === height;
      const { roi, polygon, smallest_defect } = { ...product, ...(fits ? {} : { roi: null, polygon: [] }), ...changes };
      return { product: product.id, seen: product.revision, frame: [width, height], roi, polygon, smallest_defect };
    });
  },

  show() {
    const { product } = this;
    if (!product) return;
    const { roi, polygon, tiles, patch, smallest_defect: side } = product;
    const passes = tiles ? tiles[0] * tiles[1] : 1;
    $("#drawn").textContent = this.tool === "defect" ? t("region.drawDefect")
      : this.tool === "polygon" ? t(this.corners.length ? "region.close" : "region.corners")
      : polygon?.length ? t("region.isPolygon", { count: polygon.length })
      : roi ? t("region.isRectangle", { width: roi.width, height: roi.height }) : t("region.isWhole");
    if (document.activeElement !== $("#defect")) $("#defect").value = side ?? "";
    $("#no-defect").disabled = side === null;
    $("#tiles").textContent = !patch ? "" :
      t(passes > 1 ? "region.tiles" : "region.oneTile",
        { rows: tiles[0], columns: tiles[1], count: passes, width: patch[0], height: patch[1] })
      + (side && Math.max(...patch) > side ? ` ${t("region.tooSmall")}` : "");
    $("#reteach").hidden = !(product.recipe && !product.recipe.fresh);
  },

  // Draws the region and the smallest defect over the frame.
  draw(pen, scale) {
    const { product } = this;
    const frame = stage.frame;
    const fits = product?.frame && product.frame[0] === frame.width && product.frame[1] === frame.height;
    const line = (width, colour) => { pen.lineWidth = width / scale; pen.strokeStyle = colour; pen.stroke(); };
    const outline = () => { line(4, "#000"); line(2, "#fff"); };
    const corners = this.corners.length ? this.corners : fits ? product.polygon : [];
    const drawing = this.drag && !this.drag.closed ? boxOf(this.drag) : null;
    const roi = this.tool === "rectangle" && drawing ? drawing : fits && !corners.length ? product.roi : null;
    const shape = () => {
      pen.beginPath();
      if (roi) pen.rect(roi.x, roi.y, roi.width, roi.height);
      else corners.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    };
    const open = this.corners.length && !this.drag;
    if (roi || corners.length) {
      if (this.active && !open) { // darkens everything outside the region
        shape();
        pen.rect(0, 0, frame.width, frame.height);
        pen.fillStyle = "rgb(0 0 0 / .5)";
        pen.fill("evenodd");
      }
      shape();
      if (!roi && !open) pen.closePath();
      outline();
      if (this.active) for (const [x, y] of roi ? [] : corners) {
        pen.beginPath();
        pen.arc(x, y, 6 / scale, 0, 7);
        pen.fillStyle = "#fff";
        pen.fill();
        line(2, "#000");
      }
    }
    if (!this.active) return;
    const side = product?.smallest_defect;
    if (this.tool === "defect" && drawing) {
      pen.beginPath();
      pen.rect(drawing.x, drawing.y, drawing.width, drawing.height);
      outline();
    } else if (side) { // shows the size of the smallest defect in a corner of the frame
      pen.beginPath();
      pen.rect(12 / scale, frame.height - side - 12 / scale, side, side);
      pen.fillStyle = "#ffe14d";
      pen.fill();
      line(2, "#000");
    }
  },
};

// Returns the rectangle between two points.
function boxOf({ from, to }) {
  const [x, y] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
  return { x, y, width: Math.abs(from[0] - to[0]), height: Math.abs(from[1] - to[1]) };
}
