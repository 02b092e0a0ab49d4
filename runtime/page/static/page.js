// The live page: asks for /state again and again while it is looked at, and shows it. Whatever comes from the line
// (names, products, messages) becomes text, never markup.
import { drawChart, drawHistogram, formatScore, span } from "./chart.js";
import { $, alarm, ask, confirmed, logIn, make } from "./common.js";

const PERIOD = 500; // ms between two questions; twice that with many sources
const short = (value) => Number(value).toPrecision(3);
const times = (factor) => (factor === 1 ? "" : `${Number(factor.toPrecision(3))} × `);
const ago = (seconds) =>
  seconds < 1.5 ? "now" : seconds < 90 ? `${Math.round(seconds)} s ago`
  : seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : seconds < 129600 ? `${Math.round(seconds / 3600)} h ago`
  : `${Math.round(seconds / 86400)} days ago`;
const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;

// One source: what it sees, its scores, its threshold.
class Card {
  constructor(name) {
    this.name = name;
    this.root = $("#card").content.cloneNode(true).firstElementChild;
    this.asked = null; // a threshold that is looked at, and not applied
    this.pictured = "";
    const [slider, exact] = [this.part("slider"), this.part("exact")];
    slider.addEventListener("input", () => this.consider(slider.valueAsNumber));
    exact.addEventListener("input", () => this.consider(exact.valueAsNumber));
    this.part("cancel").addEventListener("click", () => this.consider(null));
    this.part("threshold").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.asked > 0) this.act("/threshold", { score: this.asked, seen: this.state.raw_threshold });
    });
    this.part("undo").addEventListener("click", () => this.act("/undo", { label: this.state.undo }));
    this.part("keep").addEventListener("click", () => this.keep());
    this.part("settling").addEventListener("submit", (event) => {
      event.preventDefault();
      this.act("/settle", { parts: this.part("parts").valueAsNumber });
    });
    this.part("take").addEventListener("click", () => this.take());
  }

  part(name) {
    return $(`.${name}`, this.root);
  }

  show(state) {
    this.state = state;
    $("h2", this.root).textContent = state.name;
    this.part("what").textContent = `${state.product} · ${state.recipe} · ${state.address}`;
    const shown = state.shown;
    const quiet = state.ended || !state.up;
    const kind = quiet || !shown || shown.decision === "error" ? "nothing" : shown.decision;
    this.root.className = kind;
    const words = { good: ["✓", "GOOD"], review: ["?", "REVIEW"], reject: ["✕", "REJECT"] };
    const [sign, word] = words[kind] ?? ["–", state.ended ? "ENDED" : state.lost_because ? "NO PICTURES" : !shown ? "WAITING" : quiet ? "NO PICTURES" : "NO VERDICT"];
    this.part("sign").textContent = sign;
    this.part("word").textContent = word;
    const scored = shown && shown.score !== undefined;
    this.part("number").textContent = scored ? `${formatScore(shown.score)}\nlimit 1.00` : "";
    this.part("said").textContent = [state.lost_because, shown ? this.describe(state, shown)
      : state.ended ? "it had no picture" : "no picture has come yet"].filter(Boolean).join(" · ");
    this.showScene(state);
    if (scored) this.picture(shown.frame);
    this.showThreshold();
    this.showSettling();
    if (this.asked !== null) this.preview();
  }

  describe(state, shown) {
    const parts = [`frame ${shown.frame}, ${ago(state.age)}`];
    const [n, m] = state.smoothing;
    if (shown.error) parts.push(shown.error);
    else if (m > 1) parts.push(`alone ${shown.verdict}, decided by ${n} of ${m}`);
    if (state.reject_age !== null) parts.push(`last reject ${ago(state.reject_age)}`);
    return parts.join(" · ");
  }

  // The verdicts go on, but nobody should trust them before this is looked at.
  showScene(state) {
    const lines = [state.scene && `Scene changed: ${state.scene.sentence}.`, state.drift && `Scores drift: ${state.drift}.`];
    const text = lines.filter(Boolean).join(" ");
    const scene = this.part("scene");
    scene.hidden = !text;
    if (scene.textContent !== text) scene.textContent = text;
  }

  async picture(frame) {
    const address = `frame/${this.name}/${frame}/${$("#heat").checked ? "heat" : "plain"}.jpg`;
    this.part("picture").classList.toggle("late", address !== this.pictured);
    if (address === this.pictured || this.loading) return;
    this.loading = true;
    const next = new Image();
    next.alt = `what ${this.name} sees`;
    next.src = address;
    try {
      await next.decode(); // the old picture stays until the new one is there
      this.part("picture").replaceChildren(next);
      this.part("picture").classList.remove("late");
      this.pictured = address;
    } catch {
      // gone already: the next state names another
    } finally {
      this.loading = false;
    }
  }

  showThreshold() {
    const { state } = this;
    const [low, high] = span(state.scores);
    const slider = this.part("slider");
    const pending = this.asked !== null;
    if (!pending) {
      [slider.min, slider.max] = [low, high];
      slider.value = 1;
      if (document.activeElement !== this.part("exact")) this.part("exact").value = "1.00";
      const origins = { recipe: "", line: ", from the line's settings", page: ", set on this page, until the line ends" };
      const review = state.review === null ? "" : `; to review from ${formatScore(state.review)}`;
      this.part("effect").textContent = `1.00 is ${times(state.threshold)}the recipe's limit${origins[state.origin]}${review}`;
    }
    this.part("apply").disabled = !(this.asked > 0);
    this.part("cancel").disabled = !pending;
    this.part("keep").hidden = state.origin !== "page" || pending;
    this.part("undo").hidden = state.undo === null || pending;
    this.part("undo").textContent = `Undo: ${state.undo}`;
    drawChart(this.part("scores"), state, this.asked);
  }

  // Look at what another threshold would do, or (null) at the one in use again.
  consider(threshold) {
    this.asked = Number.isNaN(threshold) ? null : threshold;
    this.part("refused").textContent = "";
    if (this.asked !== null) {
      if (document.activeElement === this.part("slider")) this.part("exact").value = Number(threshold.toPrecision(5));
      else this.part("slider").value = threshold;
      this.preview();
    }
    this.showThreshold();
  }

  async preview() {
    if (this.previewing) return;
    this.previewing = true;
    try {
      let of;
      do {
        of = this.asked;
        const found = await ask(`preview?source=${this.name}&threshold=${of}`);
        if (this.asked === null) return;
        const effect = this.part("effect");
        effect.replaceChildren(`At ${short(of)}: `, make("b", `${found.would} of the last ${found.frames} frames rejected`),
          `; ${found.rejected} were. Nothing is changed yet.`);
      } while (this.asked !== null && this.asked !== of);
    } catch (error) {
      this.part("refused").textContent = error.message;
    } finally {
      this.previewing = false;
    }
  }

  async keep() {
    const { state } = this;
    const others = state.sharing.length ? ` Here it then holds for ${state.sharing.join(", ")} too.` : "";
    const text = `Write ${times(state.threshold)}the limit of ${state.recipe} into it? It then holds wherever this recipe is used.${others}`;
    if (await confirmed(text)) this.act("/keep", { seen: state.raw_threshold });
  }

  // What the source's next parts propose. Scores are shown with today's threshold as 1.
  showSettling() {
    const { gathered, parts, proposal } = this.state.settling;
    const canvas = this.part("histogram");
    this.part("provisional").hidden = !this.state.provisional;
    canvas.hidden = this.part("take").hidden = proposal === null;
    if (proposal === null) {
      this.part("gathered").textContent = parts ? `${gathered} of ${parts} parts so far.` : "";
      this.part("beyond").replaceChildren();
      this.settled = "";
      return;
    }
    const relative = (score) => (score / proposal.today).toFixed(2);
    this.part("gathered").textContent = `${parts} parts propose to reject from 1.00 → ${relative(proposal.threshold)} ` +
      `(raw ${short(proposal.today)} → ${short(proposal.threshold)}), for ${short(100 * proposal.rate)} % of good parts. ` +
      `${proposal.rejected} of them reach it today, ${proposal.would} would; look at those:`;
    drawHistogram(canvas, proposal);
    const shown = `${proposal.threshold} ${parts}`;
    if (shown === this.settled) return; // the pictures stay
    this.settled = shown;
    this.part("beyond").replaceChildren(...proposal.beyond.map((part) => {
      const item = make("li");
      const picture = Object.assign(new Image(), { alt: part.name, src: `settling/${this.name}/${part.part}.jpg` });
      item.append(picture, make("span", `${relative(part.score)} ${part.name}`));
      return item;
    }));
  }

  async take() {
    const { proposal } = this.state.settling;
    const text = `Write ${short(proposal.threshold / proposal.today)} times today's limit into ${this.state.recipe}? ` +
      "It then holds wherever this recipe is used.";
    if (await confirmed(text)) this.act("/take", { threshold: proposal.threshold });
  }

  async act(path, action) {
    this.part("refused").textContent = "";
    try {
      const state = await ask(path, { source: this.name, ...action });
      this.asked = null;
      show(state);
    } catch (error) {
      this.part("refused").textContent = error.message;
    }
  }
}

// Saved rejects, newest first.
const gallery = {
  known: "", expanded: false, decision: "",

  async show(rejects) {
    $("#saved").hidden = rejects === null;
    if (rejects === null) return;
    $("#saved small").textContent = `${rejects.total} saved${rejects.reviews ? `, ${rejects.reviews} of them to review` : ""}`;
    $("#filter").hidden = !rejects.reviews && !this.decision;
    const now = `${rejects.total} ${rejects.newest}`;
    if (now === this.known || this.expanded) return;
    this.known = now;
    $("#rejects").replaceChildren();
    await this.load("");
  },

  // Show the newest again; the next state brings them.
  newest() {
    this.expanded = false;
    this.known = "";
    $("#newest").hidden = true;
  },

  async load(before) {
    const found = await ask(`rejects?before=${before}${this.decision && `&decision=${this.decision}`}`);
    $("#rejects").append(...found.rejects.map((reject) => this.tile(reject)));
    $("#older").hidden = !found.more;
    this.last = found.rejects.at(-1)?.name;
  },

  tile(reject) {
    const tile = make("button");
    const picture = Object.assign(new Image(), { loading: "lazy", alt: reject.review ? "to review" : "reject", src: `rejects/${reject.name}/small.jpg` });
    const known = reject.score !== undefined;
    const when = known ? new Date(reject.time) : NaN;
    const moment = Number.isNaN(Number(when)) ? "" : when.toLocaleString();
    const decision = reject.review ? "review" : "reject";
    const alone = known && reject.verdict !== decision ? `, this frame alone ${reject.verdict}` : "";
    const caption = known ? [`${reject.source} · ${moment}`, `score ${formatScore(reject.score)}${alone}`]
      : [reject.name];
    const mark = reject.review ? [make("span", "? to review", "mark")] : [];
    tile.append(picture, ...mark, ...caption.map((line) => make("span", line)));
    tile.addEventListener("click", () => this.view(reject, caption.join(" · ")));
    return tile;
  },

  view(reject, caption) {
    const dialog = $("#viewer");
    const pair = ["plain", "heat"].map((kind) =>
      Object.assign(new Image(), { alt: kind, src: `rejects/${reject.name}/${kind}.png` }));
    $(".caption", dialog).textContent = caption;
    $(".pair", dialog).replaceChildren(...pair);
    this.viewed = reject.name;
    this.offer(null);
    dialog.showModal();
  },

  // What accepting the reject that is viewed would change, or (null) nothing yet.
  offer(found) {
    const dialog = $("#viewer");
    $(".refused", dialog).textContent = "";
    $(".turning", dialog).replaceChildren();
    $(".effect", dialog).textContent = "";
    $(".consider", dialog).hidden = found !== null;
    $(".accept", dialog).hidden = found === null;
    this.found = found;
    if (found === null) return;
    const { photo } = found;
    const own = found.own_threshold === null ? ""
      : ` This source has a limit of its own, ${times(found.own_threshold)}the recipe's, which stays so.`;
    $(".effect", dialog).replaceChildren(
      make("b", { good: "It turns good. ", review: "It is still to review. ", reject: "It is still a reject. " }[photo.becomes]),
      `Score ${formatScore(photo.before)} → ${formatScore(photo.after)}, the recipe's limit becomes ` +
      `${short(found.limit_change)} × what it is.${own} `,
      make("b", `${found.turning.length} of the last ${found.compared} other rejects turn good too`),
      found.turning.length ? ": are they?" : ".");
    $(".turning", dialog).replaceChildren(...found.turning.map((name) =>
      Object.assign(new Image(), { alt: "turns good", src: `rejects/${name}/small.jpg` })));
  },

  async act(path, action, patience) {
    const buttons = [...$("#viewer").querySelectorAll(".consider, .accept")];
    for (const button of buttons) button.disabled = true;
    try {
      return await ask(path, action, patience);
    } catch (error) {
      $("#viewer .refused").textContent = error.message;
      return null;
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  },
};

$("#viewer .consider").addEventListener("click", async () => {
  $("#viewer .effect").textContent = "Looking at what that would change…";
  const found = await gallery.act("consider", { reject: gallery.viewed }, 60000);
  if (found) gallery.offer(found);
  else $("#viewer .effect").textContent = "";
});
$("#viewer .accept").addEventListener("click", async () => {
  const { source, change } = gallery.found;
  const state = await gallery.act("accept", { source, change }, 60000);
  if (!state) return;
  $("#viewer").close();
  show(state);
});

function showHealth(state) {
  const review = state.sources.some((one) => one.review !== null || one.reviewed); // else nobody asks for it
  const head = ["source", "pictures/s", "inspected", ...(review ? ["to review"] : []), "rejected", "failed", "dropped",
    "in all, ms", "p99", "waiting", "encoding"];
  const rows = state.sources.map((one) => {
    const time = (stage, which) => (one.latency[stage] ? one.latency[stage][which].toFixed(1) : "–");
    return [one.name, one.rate.toFixed(1), one.inspected, ...(review ? [one.reviewed] : []), one.rejected, one.failed, one.dropped,
      time("total", 0), time("total", 1), time("wait", 0), time("encode", 0)];
  });
  const row = (cells, tag) => {
    const line = make("tr");
    line.append(...cells.map((cell) => make(tag, String(cell))));
    return line;
  };
  $("#health").replaceChildren(row(head, "th"), ...rows.map((cells) => row(cells, "td")));
  const outputs = state.outputs.map((one) =>
    `${one.name}: ${one.failing ? "FAILING, tried again" : "works"}, ${one.waiting} waiting, ${one.lost} lost`);
  const disks = state.disks.map((one) => `${one.path}: ${gigabytes(one.free)} of ${gigabytes(one.total)} free`);
  $("#rest").replaceChildren(...[...outputs, ...disks].map((text) => make("li", text)));
  $("#messages").replaceChildren(...state.messages.map((one) => {
    const item = make("li");
    item.append(make("small", ago(one.age)), ` ${one.text}`);
    return item;
  }));
  if (!state.messages.length) $("#messages").append(make("li", "none"));
}

// What is not delivered must not be found only by who reads on to the end of the page.
function showFailing(outputs) {
  const lines = outputs.map((output) =>
    `${output.name} FAILS: ${output.error}. ${output.waiting} results wait, ${output.lost} are lost.`);
  $("#failing").replaceChildren(...lines.map((line) => make("p", line)));
  $("#failing").hidden = !lines.length;
}

const cards = new Map();
let many = false;

function show(state) {
  showFailing(state.outputs.filter((output) => output.failing));
  $("#studio").hidden = !state.teaches;
  $("#about").textContent = `${state.about} · started ${ago(state.up)}`;
  for (const source of state.sources) {
    if (!cards.has(source.name)) {
      const card = new Card(source.name);
      cards.set(source.name, card);
      $("#sources").append(card.root);
    }
    cards.get(source.name).show(source);
  }
  many = state.sources.length > 4;
  showHealth(state);
  gallery.show(state.rejects).catch(() => (gallery.known = ""));
}

let answered = new Date();

async function poll() {
  try {
    if (!document.hidden) {
      const state = await ask("state");
      answered = new Date();
      $("#login").hidden = true;
      $("main").hidden = false;
      alarm("");
      show(state);
    }
  } catch (error) {
    const locked = error.status === 401;
    $("#login").hidden = !locked;
    if (locked) $("main").hidden = true;
    alarm(locked ? "" : `No answer from the line since ${answered.toLocaleTimeString()}: what is shown here is old.`);
  }
  setTimeout(poll, many ? 2 * PERIOD : PERIOD);
}

$("#login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("#token").value;
  $("#token").value = "";
  await logIn(token, $("#refused"));
});
$("#older").addEventListener("click", async () => {
  gallery.expanded = true;
  $("#newest").hidden = false;
  await gallery.load(gallery.last);
});
$("#filter").addEventListener("change", (event) => {
  gallery.decision = event.target.value;
  gallery.newest();
});
$("#newest").addEventListener("click", () => gallery.newest());

const token = location.hash.slice(1); // never sent as part of the address, and not left in it
if (token) {
  history.replaceState(null, "", location.pathname);
  await logIn(decodeURIComponent(token), $("#refused"));
}
poll();
