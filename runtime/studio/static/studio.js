// The studio: six steps from a source to a saved product. While the page is visible, it asks the server for the state
// repeatedly. Everything that comes from the server (names, messages) is shown as text, never as markup.
import { $, alarm, ask, logIn, make } from "./common.js";
import { collect } from "./collect.js";
import { products } from "./products.js";
import { region } from "./region.js";
import { settle } from "./settle.js";
import { stage } from "./stage.js";
import { preferred, speak, t } from "./text.js";

const PERIOD = 1000; // milliseconds between two requests
const STEPS = ["source", "region", "collect", "teach", "settle", "products"];

const app = {
  state: null, // the server's last answer
  product: null, // the id of the open product
  step: "source",
  acting: Promise.resolve(), // the last action, which the next one waits for

  // Does an action on the server, after all earlier actions. Returns the server's answer; if the server refuses, shows
  // the reason and returns undefined. action: the request's content, or a function that makes it from the newest state.
  act(path, action = {}) {
    const act = async () => {
      const answer = await this.doing(ask(path, typeof action === "function" ? action() : action, 60000));
      await this.refresh();
      return answer === null ? true : answer;
    };
    this.acting = this.acting.then(act, act);
    return this.acting;
  },

  // Waits for a request and returns its answer; if it fails, shows the reason and returns undefined.
  async doing(promise) {
    try {
      const answer = await promise;
      $("#refused").textContent = "";
      return answer;
    } catch (error) {
      $("#refused").textContent = error.status === 409 ? t("stale", { text: error.message }) : error.message;
      return undefined;
    }
  },

  // Opens a product, by its id.
  async open(product) {
    this.product = product;
    settle.scores = null;
    settle.forget();
    collect.last = null;
    if (product) sessionStorage.setItem("product", product);
    await this.refresh();
  },

  // Goes to a step, and ends the activity of the step before.
  go(step) {
    this.step = step;
    collect.pause();
    settle.gathering = 0;
    $("#refused").textContent = "";
    stage.plain = region.active = step === "region";
    for (const panel of document.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== step;
    document.body.dataset.step = step;
    $("#take").hidden = !["collect", "settle"].includes(step);
    $("#stage").focus({ preventScroll: true });
    if (this.state) this.show();
    stage.redraw();
  },

  // Asks for the state and shows it. If no product is open, opens the one that was open last, or the first.
  async refresh() {
    const { product } = this;
    const state = await ask(product ? `state?product=${encodeURIComponent(product)}` : "state");
    if (product !== this.product) return undefined; // another product was opened meanwhile; its state was asked for
    if (!state.product && state.products.length) {
      const known = sessionStorage.getItem("product");
      this.product = (state.products.find((one) => one.id === known) ?? state.products[0]).id;
      return this.refresh();
    }
    this.state = state;
    if (!state.product) this.product = null;
    this.show();
    return settle.update(this.step);
  },

  show() {
    const { state } = this;
    $("#about").textContent = state.about;
    this.showSteps();
    this.showSource();
    for (const part of [products, region, collect, settle]) part.show();
    if (state.product?.error) $("#refused").textContent = state.product.error;
    const next = STEPS[STEPS.indexOf(this.step) + 1];
    $("#onward").hidden = !next || !state.product
      || !(isDone(this.step, state) || ["region", "settle"].includes(this.step));
    $("#onward button").textContent = next ? t("onward", { step: t(`step.${next}`) }) : "";
  },

  showSteps() {
    const { state } = this;
    [...$("#steps").children].forEach((button, index) => {
      const step = STEPS[index];
      button.ariaCurrent = step === this.step ? "step" : "false";
      button.disabled = !state.product && step !== "source";
      $("b", button).textContent = isDone(step, state) ? "✓" : String(index + 1);
      $("span", button).textContent = t(`step.${step}`);
      $("small", button).textContent = summary(step, state);
    });
  },

  showSource() {
    const { source, named, devices, line, product } = this.state;
    $("#address").hidden = line;
    $("[data-panel=source] h2").textContent = t(product ? "source.title" : "source.first");
    const offers = [...new Set([...named, ...devices])];
    const key = JSON.stringify([offers, source?.address, document.documentElement.lang]);
    if (key !== this.offered) {
      this.offered = key;
      $("#offered").replaceChildren(...offers.map((address) => {
        const button = make("button", address, "offer");
        button.ariaPressed = String(source?.address === address);
        button.addEventListener("click", () => this.act("choose", { address }));
        return button;
      }));
    }
    $("#playing").hidden = !source || !product;
    $("#playing p").textContent = source ? source.error || t("source.playing", { name: source.name }) : "";
    $("#playing p").hidden = Boolean(source?.error && $("#refused").textContent); // shows only the newer of two errors
    $("#playing p").className = source?.error ? "refused" : "note";
  },
};

// Returns whether a step is done, by the state.
function isDone(step, { source, product }) {
  const recipe = product?.recipe;
  return {
    source: Boolean(source?.age !== undefined && source?.age !== null && product), region: Boolean(product?.frame),
    collect: (product?.pictures.good.length ?? 0) > 0, teach: Boolean(recipe?.fresh),
    settle: Boolean(recipe) && product.pictures.settle.length > 0, products: Boolean(recipe),
  }[step];
}

// Returns the short text below the name of a step.
function summary(step, { source, product }) {
  if (step === "source") return source?.name ?? "";
  if (!product) return "";
  const { roi, polygon, pictures, recipe } = product;
  return {
    region: t(polygon?.length ? "region.polygon" : roi ? "region.rectangle" : "region.whole"),
    collect: t("collect.count", { count: pictures.good.length }),
    teach: recipe ? t(recipe.fresh ? "products.taught" : "teach.again") : "",
    settle: recipe ? t("collect.parts", { count: pictures.settle.length + pictures.bad.length }) : "",
    products: product.name,
  }[step];
}

// Refreshes the page, or shows the login or the alarm. Repeats this after a while.
async function poll() {
  try {
    if (!document.hidden) {
      await app.refresh();
      $("#login").hidden = true;
      $("main").hidden = false;
      alarm("");
    }
  } catch (error) {
    const locked = error.status === 401;
    $("#login").hidden = !locked;
    if (locked) $("main").hidden = true;
    alarm(locked ? "" : t("alarm"));
  }
  setTimeout(poll, PERIOD);
}

const KEYS = {
  " ": () => collect.take("good"), b: () => collect.take("bad"), u: () => collect.take("settle"),
  z: () => collect.back(),
  h: () => $("#heat").click(), t: () => settle.teach(),
  arrowright: () => $("#next").click(), arrowleft: () => $("#previous").click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !app.state) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog")) return;
  const key = event.key.toLowerCase();
  if (key === " " && event.target.closest("button, a, summary, input")) return; // space presses this element
  const takes = " buz".includes(key);
  if (takes && $("#take").hidden) return;
  if (key === "t" && app.step !== "teach") return;
  const step = STEPS[Number(key) - 1];
  if (step && !$("#steps").children[Number(key) - 1].disabled) app.go(step);
  else if (KEYS[key] && !event.repeat) KEYS[key]();
  else return;
  event.preventDefault();
});

for (const step of STEPS) {
  const button = make("button");
  button.append(make("b"), make("span"), make("small"));
  button.addEventListener("click", () => app.go(step));
  $("#steps").append(button);
}
$("#onward button").addEventListener("click", () => app.go(STEPS[STEPS.indexOf(app.step) + 1]));
$("#address").addEventListener("submit", (event) => {
  event.preventDefault();
  app.act("choose", { address: event.target.address.value.trim() });
});
document.addEventListener("invalid", ({ target }) => { // the browser did not send a form, because of this field
  const field = target.labels[0].innerText.trim();
  const isEmpty = !target.value.trim();
  $("#refused").textContent = isEmpty ? t("empty.field", { field }) : `${field}: ${target.validationMessage}`;
}, true);
$("#close").addEventListener("click", () => app.act("close"));
$("#login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("#token").value;
  $("#token").value = "";
  await logIn(token, $("#login .refused"));
});
$("#language").addEventListener("change", async (event) => {
  await speak(event.target.value);
  if (app.state) app.show();
});

await speak(preferred());
$("#language").value = document.documentElement.lang;
for (const part of [products, region, collect, settle, stage]) part.start(app);
app.go("source");
const token = location.hash.slice(1); // browsers do not send this part of the address; it is removed now
if (token) {
  history.replaceState(null, "", location.pathname);
  await logIn(decodeURIComponent(token), $("#login .refused"));
}
poll();
