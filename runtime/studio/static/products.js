// The products: making, naming, choosing and copying them, and signing, exporting and undoing their recipes.
import { $, confirmed, make } from "./common.js";
import { addressOf } from "./collect.js";
import { number, t } from "./text.js";

export const products = {
  listed: "", // the products and the language that are shown

  start(app) {
    this.app = app;
    $("#rename").addEventListener("submit", (event) => {
      event.preventDefault();
      const { product } = app.state;
      app.act("rename", { product: product.id, name: event.target.name.value, seen: product.revision });
    });
    $("#copy").addEventListener("click", () => this.copy());
    $("#new").addEventListener("click", () => this.make());
    $("#sign").addEventListener("click", () => this.change("sign"));
    $("#undo").addEventListener("click", async () => {
      const what = t(`what.${app.state.product.recipe.undo}`);
      if (await confirmed(t("products.undoSure", { what }))) this.change("undo");
    });
    $("#product").addEventListener("change", (event) => app.open(event.target.value));
    $("#create").addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = event.target.name.value;
      event.target.reset();
      await this.create(name);
    });
  },

  // Makes a product on the server and opens it. Returns its id; undefined if the server refused.
  async create(name) {
    const id = await this.app.act("create", { name });
    if (id !== undefined) await this.app.open(id);
    return id;
  },

  // Asks for a name, makes a product and goes to the first step.
  async make() {
    const name = await named(t("source.name"), "");
    if (name && (await this.create(name)) !== undefined) this.app.go("source");
  },

  async copy() {
    const { product } = this.app.state;
    const name = await named(t("products.copyName"), t("products.copyOf", { name: product.name }));
    const id = name ? await this.app.act("copy", { product: product.id, name }) : undefined;
    if (id !== undefined) await this.app.open(id);
  },

  // Does an action on the recipe: "sign" or "undo".
  change(what) {
    const { product } = this.app.state;
    return this.app.act(what, { product: product.id, seen: product.recipe.digest });
  },

  show() {
    const { state } = this.app;
    const { product } = state;
    $("#switch").hidden = !state.products.length;
    const names = JSON.stringify([state.products, this.app.product, document.documentElement.lang]);
    if (names !== this.listed) {
      this.listed = names;
      $("#product").replaceChildren(...state.products.map((one) => {
        const option = make("option", one.name);
        option.value = one.id;
        option.selected = one.id === this.app.product;
        return option;
      }));
      $("#list").replaceChildren(...state.products.map((one) => this.card(one)));
    }
    $("#create").hidden = Boolean(product);
    $("#choose").hidden = !product;
    if (!product) return;
    if (document.activeElement !== $("#rename input")) $("#rename input").value = product.name;
    const { recipe } = product;
    $("#saved").textContent = recipe
      ? t("products.saved", { path: product.path, size: number(recipe.bytes / 1e6, 1), count: recipe.shots })
      : t("products.untaught", { path: product.path });
    const link = $("#export");
    link.hidden = $("#sign").hidden = !recipe;
    link.href = `recipe?product=${encodeURIComponent(product.id)}`;
    link.download = `${product.id}.safetensors`;
    $("#sign").disabled = !state.can_sign || !recipe || recipe.signed;
    $("#signing").textContent = !recipe ? "" : recipe.signed ? t("products.signed")
      : state.can_sign ? "" : t("products.noKey");
    $("#undo").hidden = !recipe?.undo;
    $("#undo").textContent = recipe?.undo ? t("products.undo", { what: t(`what.${recipe.undo}`) }) : "";
  },

  // Returns the button that opens a product.
  card(one) {
    const card = make("button", "", "card");
    card.ariaCurrent = String(one.id === this.app.product);
    card.append(one.picture
      ? Object.assign(new Image(), { alt: "", src: addressOf(one.id, "good", one.picture, "small") })
      : make("span", "", "blank"));
    const text = make("span");
    const counts = t("products.counts", { good: one.counts.good, bad: one.counts.bad, settle: one.counts.settle });
    const taught = t(one.taught ? "products.taught" : "products.notTaught");
    text.append(make("b", one.name), make("small", `${counts} · ${taught}`));
    card.append(text);
    card.addEventListener("click", () => this.app.open(one.id));
    return card;
  },
};

// Asks the user for a name in a dialog, and returns it; null if the user cancelled.
function named(question, proposal) {
  const dialog = $("#naming");
  $("span", dialog).textContent = question;
  $("input", dialog).value = proposal;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close",
    () => resolve(dialog.returnValue === "yes" ? $("input", dialog).value : null), { once: true }));
}
