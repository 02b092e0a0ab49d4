// Collects pictures: from the live picture by a key, a click or every few seconds, and from dropped photos. Also shows
// the list of the collected pictures, and the dialog with a large one.
import { $, Refused, make } from "./common.js";
import { stage } from "./stage.js";
import { t } from "./text.js";

export const KINDS = ["good", "bad", "settle", "removed"];
export const SIGNS = { good: "✓", bad: "✕", settle: "?", removed: "–" };
const LARGEST = 32 * 2 ** 20; // bytes of the largest photo

// Returns the address of a collected picture. With its version in it, the browser may cache the picture.
export const addressOf = (product, kind, picture, how) =>
  `picture/${how}.jpg?product=${encodeURIComponent(product)}&kind=${kind}&name=${encodeURIComponent(picture.name)}` +
  (how === "heat" ? "" : `&v=${picture.version}`);

export const noteText = (note) => note.text ?? t(`note.${note.code}`, { other: note.other });

// The photos that were dropped onto the live picture. They are shown one after another instead of it.
const tray = {
  files: [], index: 0,

  async open(files) {
    this.files = files;
    await this.go(0);
  },

  // Shows the photo with this index; nothing happens beyond the last one.
  async go(index) {
    if (!this.files[index]) return;
    this.index = index;
    await upload(this.files[index], "show");
    this.show();
  },

  show() {
    const shown = this.files.length > 0 && collect.app.state?.source?.address === "photos:";
    $("#tray").hidden = !shown;
    if (!shown) return;
    $("#position").textContent = t("tray.position", { number: this.index + 1, count: this.files.length });
    $("#previous").disabled = this.index === 0;
    $("#next").disabled = this.index + 1 >= this.files.length;
  },
};

// Sends a photo to the server, and returns the answer.
async function upload(file, path, query = {}) {
  if (file.size > LARGEST) throw new Refused(413, t("collect.tooLarge", { name: file.name }));
  const asked = new URLSearchParams({ ...query, name: file.name.slice(-80) });
  const answer = await fetch(`${path}?${asked}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream", "X-Goodparts": "1" },
    body: file,
  });
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  return answer.json();
}

export const collect = {
  last: null, // the picture that "Take back" removes; null for none
  timer: null, // runs while pictures are collected every few seconds
  shown: "", // the product, pictures and language that are shown

  start(app) {
    this.app = app;
    for (const button of $("#take").querySelectorAll("[data-kind]"))
      button.addEventListener("click", () => this.take(button.dataset.kind));
    $("#back").addEventListener("click", () => this.back());
    $("#previous").addEventListener("click", () => app.doing(tray.go(tray.index - 1)));
    $("#next").addEventListener("click", () => app.doing(tray.go(tray.index + 1)));
    $("#every").addEventListener("submit", (event) => {
      event.preventDefault();
      const form = event.target;
      if (this.timer) this.pause();
      else this.run(form.seconds.valueAsNumber, async () => { await this.take(form.kind.value); });
      this.show();
    });
    accept($("#view"), (files) => app.doing(tray.open(files)));
    const drop = $("[data-drop=show]");
    accept(drop, (files) => app.doing(tray.open(files)));
    $("input", drop).addEventListener("change", (event) => {
      app.doing(tray.open([...event.target.files]));
      event.target.value = "";
    });
    for (const kind of KINDS) $("#groups").append(this.group(kind));
  },

  // Makes the empty list of the pictures of one kind.
  group(kind) {
    const group = make("details", "", "group");
    group.dataset.kind = kind;
    group.open = kind !== "removed";
    const add = make("label", "", "button");
    const input = Object.assign(make("input"), { type: "file", multiple: true, accept: "image/*" });
    input.addEventListener("change", () => {
      this.add([...input.files], kind);
      input.value = "";
    });
    add.append(make("span", ""), input);
    group.append(make("summary"), make("div", "", "tiles"), add);
    add.hidden = kind === "removed";
    if (kind !== "removed") accept(group, (files) => this.add(files, kind));
    return group;
  },

  // Calls a function every few seconds, until it is paused or the function returns false.
  run(seconds, action) {
    this.pause();
    const period = Math.max(0.2, seconds || 1) * 1000;
    let frame = null; // the number of the last frame that was collected, so that none is collected twice
    const next = async () => {
      const timer = this.timer;
      const isNew = !document.hidden && stage.frame && stage.frame.number !== frame;
      if (isNew) frame = stage.frame.number;
      const ended = isNew && (await action()) === false;
      if (this.timer === timer && !ended) this.timer = setTimeout(next, period);
      else if (this.timer === timer) this.pause();
    };
    this.timer = setTimeout(next, 0);
  },

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
  },

  // Collects the frame that is shown, and returns whether the server accepted it.
  async take(kind) {
    const { product } = this.app;
    if (!product || !stage.frame) return false;
    const name = await this.app.act("collect", { product, kind, frame: stage.frame.number });
    if (name === "") $("#refused").textContent = t("collect.kept");
    if (!name) return false;
    this.last = { name, source: kind };
    flash(kind);
    if (!$("#tray").hidden) await this.app.doing(tray.go(tray.index + 1));
    return true;
  },

  // Removes the picture that was collected last, even if it is still on its way to the server.
  async back() {
    await this.app.acting.catch(() => {}); // `doing` has shown the error of an action that failed
    if (!this.last) return;
    const { last } = this;
    this.last = null;
    await this.app.act("move", { product: this.app.product, ...last, target: "removed" });
  },

  // Collects photos that were dropped onto the list of a kind, or chosen for it.
  async add(files, kind) {
    for (const file of files) await this.app.doing(upload(file, "upload", { product: this.app.product, kind }));
    this.app.refresh();
  },

  show() {
    const { product } = this.app.state;
    tray.show();
    $("#back").disabled = !this.last;
    $("#every button").textContent = t(this.timer ? "collect.stop" : "collect.start");
    if (!product) return;
    const good = product.pictures.good.length;
    $("#advice").hidden = good >= 4;
    $("#advice").textContent = t("collect.advice", { count: good });
    const shown = JSON.stringify([product.id, product.pictures, document.documentElement.lang]);
    if (shown === this.shown) return; // nothing has changed, so the pictures need not be made again
    this.shown = shown;
    for (const group of $("#groups").children) {
      const { kind } = group.dataset;
      const pictures = product.pictures[kind];
      group.hidden = kind === "removed" && !pictures.length;
      $("summary", group).replaceChildren(
        make("i", SIGNS[kind]), ` ${t(`kind.${kind}`)} `, make("b", String(pictures.length)));
      $("label span", group).textContent = t("collect.add");
      const tiles = pictures.map((picture) => tile(product.id, kind, picture, () => this.view(kind, picture)));
      $(".tiles", group).replaceChildren(...(tiles.length ? tiles.reverse() : [make("p", t(`empty.${kind}`), "hint")]));
    }
  },

  // Opens the dialog with a large picture, its notes and the buttons that move it to another kind.
  view(kind, picture) {
    const dialog = $("#viewer");
    const product = this.app.state.product;
    const how = product.recipe ? ["plain", "heat"] : ["plain"];
    $(".caption", dialog).textContent = `${t(`kind.${kind}`)} · ${picture.name}`;
    $(".pair", dialog).replaceChildren(...how.map((one) =>
      Object.assign(new Image(), { alt: one, src: addressOf(product.id, kind, picture, one) })));
    const notes = picture.notes ?? [];
    $(".notes", dialog).replaceChildren(...notes.map((note) => make("li", noteText(note))));
    const targets = KINDS.filter((target) => target !== kind).map((target) => {
      const text = t(target === "removed" ? "viewer.remove" : "viewer.move", { kind: t(`kind.${target}`) });
      const button = make("button", text);
      button.value = target;
      return button;
    });
    $("form", dialog).replaceChildren(...targets, make("button", t("viewer.close")));
    dialog.onclose = () => {
      if (KINDS.includes(dialog.returnValue))
        this.app.act("move", { product: product.id, name: picture.name, source: kind, target: dialog.returnValue });
    };
    dialog.returnValue = "";
    dialog.showModal();
  },
};

// Returns a button with a small picture, short notes and a caption.
export function tile(product, kind, picture, view, caption = "") {
  const button = make("button", "", "tile");
  button.title = picture.name;
  const src = addressOf(product, kind, picture, "small");
  button.append(Object.assign(new Image(), { loading: "lazy", alt: picture.name, src }));
  const notes = picture.notes ?? [];
  if (notes.length) {
    button.classList.add("noted");
    const short = (note) => (note.code === "unfit" ? t("note.unfit") : t(`note.${note.code}.short`));
    button.append(make("span", notes.map(short).join(", "), "mark"));
  }
  if (caption) button.append(make("span", caption));
  button.addEventListener("click", view);
  return button;
}

// Lets files be dropped onto an element, and passes them to `take`.
function accept(element, take) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  });
}

// Lights up the frame's border for a moment, to confirm that a picture was collected.
function flash(kind) {
  const view = $("#view");
  view.dataset.flash = kind;
  setTimeout(() => delete view.dataset.flash, 250);
}

