// The live page. While it is visible, it asks the server for /state repeatedly and shows the answer. Everything
// that comes from the line (names, products, messages) is shown as text, never as markup.
import { drawChart, drawHistogram, formatScore, span } from "./chart.js";
import { $, alarm, ask, confirmed, logIn, make } from "./common.js";

const PERIOD = 500; // milliseconds between two requests; twice as many with many sources
const short = (value) => Number(value).toPrecision(3);
// A factor before the thing that it multiplies, as in "0.5 × the threshold"; nothing for 1.
const times = (factor) => (factor === 1 ? "" : `${Number(factor.toPrecision(3))} × `);
const ago = (seconds) =>
  seconds < 1.5 ? "now" : seconds < 90 ? `${Math.round(seconds)} s ago`
  : seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : seconds < 129600 ? `${Math.round(seconds / 3600)} h ago`
  : `${Math.round(seconds / 86400)} days ago`;
const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;

// The card of one source: its picture, verdict, scores and threshold, and settling in.
class Card {
  constructor(name) {
    this.name = name;
    this.root = $("#card").content.cloneNode(true).firstElementChild;
    this.asked = null; // the threshold that the user tries, which is not applied yet; null for none
    this.pictured = ""; // the address of the picture that is shown
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

  // The element of the card with a class.
  part(name) {
    return $(`.${name}`, this.root);
  }

  // Shows the source's state, as the server sent it.
  show(state) {
    this.state = state;
    $("h2", this.root).textContent = state.name;
    this.part("what").textContent = `${state.product} · ${state.recipe} · ${state.address}`;
    const shown = state.shown;
    const quiet = state.ended || !state.up;
    const kind = quiet || !shown || shown.decision === "error" ? "nothing" : shown.decision;
    this.root.className = kind;
    const words = { good: ["✓", "GOOD"], review: ["?", "REVIEW"], reject: ["✕", "REJECT"] };
    const otherwise = state.ended ? "ENDED" : state.lost_because ? "NO PICTURES" : !shown ? "WAITING"
      : quiet ? "NO PICTURES" : "NO VERDICT";
    const [sign, word] = words[kind] ?? ["–", otherwise];
    this.part("sign").textContent = sign;
    this.part("word").textContent = word;
    const scored = shown && shown.score !== undefined;
    this.part("number").textContent = scored ? `${formatScore(shown.score)}\nthreshold 1.00` : "";
    this.part("said").textContent = [state.lost_because, shown ? this.describe(state, shown)
      : state.ended ? "the source sent no picture" : "no picture was received yet"].filter(Boolean).join(" · ");
    this.showScene(state);
    if (scored) this.picture(shown.frame);
    this.showThreshold();
    this.showSettling();
    if (this.asked !== null) this.preview();
  }

  // Returns the line of text below the verdict.
  describe(state, shown) {
    const parts = [`frame ${shown.frame}, ${ago(state.age)}`];
    const [n, m] = state.smoothing;
    if (shown.error) parts.push(shown.error);
    else if (m > 1) parts.push(`verdict of this frame: ${shown.verdict}; ${n} of ${m} frames decide`);
    if (state.reject_age !== null) parts.push(`last reject ${ago(state.reject_age)}`);
    return parts.join(" · ");
  }

  // Shows a banner if the scene has changed or the scores drift. Verdicts are still given, but cannot be trusted then.
  showScene(state) {
    const lines = [
      state.scene && `Scene changed: ${state.scene.sentence}.`,
      state.drift && `Scores drift: ${state.drift}.`,
    ];
    const text = lines.filter(Boolean).join(" ");
    const scene = this.part("scene");
    scene.hidden = !text;
    if (scene.textContent !== text) scene.textContent = text;
  }

  // Loads and shows the picture of a frame.
  async picture(frame) {
    const address = `frame/${this.name}/${frame}/${$("#heat").checked ? "heat" : "plain"}.jpg`;
    this.part("picture").classList.toggle("late", address !== this.pictured);
    if (address === this.pictured || this.loading) return;
    this.loading = true;
    const next = new Image();
    next.alt = `picture of ${this.name}`;
    next.src = address;
    try {
      await next.decode(); // the old picture stays until the new one is loaded
      this.part("picture").replaceChildren(next);
      this.part("picture").classList.remove("late");
      this.pictured = address;
    } catch {
      // The frame is no longer kept; the next state names a newer one.
    } finally {
      this.loading = false;
    }
  }

  // Shows the threshold in use and its origin, and the buttons that are possible now.
  showThreshold() {
    const { state } = this;
    const [low, high] = span(state.scores);
    const slider = this.part("slider");
    const pending = this.asked !== null;
    if (!pending) {
      [slider.min, slider.max] = [low, high];
      slider.value = 1;
      if (document.activeElement !== this.part("exact")) this.part("exact").value = "1.00";
      const origins = {
        recipe: "",
        line: ", from the line's settings",
        page: ", set on this page, until the line ends",
      };
      const review = state.review === null ? "" : `; to review from ${formatScore(state.review)}`;
      this.part("effect").textContent =
        `1.00 is ${times(state.threshold)}the recipe's threshold${origins[state.origin]}${review}`;
    }
    this.part("apply").disabled = !(this.asked > 0);
    this.part("cancel").disabled = !pending;
    this.part("keep").hidden = state.origin !== "page" || pending;
    this.part("undo").hidden = state.undo === null || pending;
    this.part("undo").textContent = `Undo: ${state.undo}`;
    drawChart(this.part("scores"), state, this.asked);
  }

  // Tries another threshold, given as a score; null returns to the threshold in use.
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

  // Asks the server what the tried threshold would have decided, and shows it.
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
        effect.replaceChildren(`At ${formatScore(of)}: `,
          make("b", `${found.would} of the last ${found.frames} frames would be rejected`),
          `; ${found.rejected} of them were rejected. Nothing is changed yet.`);
      } while (this.asked !== null && this.asked !== of);
    } catch (error) {
      this.part("refused").textContent = error.message;
    } finally {
      this.previewing = false;
    }
  }

  // Writes the threshold that was set on the page into the recipe, if the user confirms it.
  async keep() {
    const { state } = this;
    const others = state.sharing.length ? ` On this line it then also holds for ${state.sharing.join(", ")}.` : "";
    const text = `Write ${times(state.threshold)}the recipe's threshold into ${state.recipe}? ` +
      `It then holds wherever this recipe is used.${others}`;
    if (await confirmed(text)) this.act("/keep", { seen: state.raw_threshold });
  }

  // Shows how many parts were gathered, and the threshold that they propose. Scores are relative to today's threshold.
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
    const relative = (score) => formatScore(score / proposal.today);
    this.part("gathered").textContent = `Proposed from ${parts} parts: ` +
      `reject from ${relative(proposal.threshold)} instead of 1.00 ` +
      `(raw ${short(proposal.today)} → ${short(proposal.threshold)}), ` +
      `so that ${Number(short(100 * proposal.rate))} % of good parts are rejected. ` +
      `Today's threshold rejects ${proposal.rejected} of the parts, the proposed one ${proposal.would}. Look at these:`;
    drawHistogram(canvas, proposal);
    const shown = `${proposal.threshold} ${parts}`;
    if (shown === this.settled) return; // the same proposal: its pictures are shown already
    this.settled = shown;
    this.part("beyond").replaceChildren(...proposal.beyond.map((part) => {
      const item = make("li");
      const picture = Object.assign(new Image(), { alt: part.name, src: `settling/${this.name}/${part.part}.jpg` });
      item.append(picture, make("span", `${relative(part.score)} ${part.name}`));
      return item;
    }));
  }

  // Writes the proposed threshold into the recipe, if the user confirms it.
  async take() {
    const { proposal } = this.state.settling;
    const factor = formatScore(proposal.threshold / proposal.today);
    const text = `Write ${factor} times today's threshold into ${this.state.recipe}? ` +
      "It then holds wherever this recipe is used.";
    if (await confirmed(text)) this.act("/take", { threshold: proposal.threshold });
  }

  // Does an action on the source, and shows the new state or the reason of a refusal.
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

// The saved rejects, newest first.
const gallery = {
  known: "", // number and newest of the rejects that are shown
  expanded: false, // whether older ones were loaded; then new ones are not added above them
  decision: "", // "reject" or "review" to show only these

  // Shows the newest rejects if there are new ones. rejects: the summary in the state; null if none are saved.
  async show(rejects) {
    $("#saved").hidden = rejects === null;
    if (rejects === null) return;
    const reviews = rejects.reviews ? `, ${rejects.reviews} of them to review` : "";
    $("#saved small").textContent = `${rejects.total} saved${reviews}`;
    $("#filter").hidden = !rejects.reviews && !this.decision;
    const now = `${rejects.total} ${rejects.newest}`;
    if (now === this.known || this.expanded) return;
    this.known = now;
    $("#rejects").replaceChildren();
    await this.load("");
  },

  // Returns to the newest rejects; the next state loads them.
  newest() {
    this.expanded = false;
    this.known = "";
    $("#newest").hidden = true;
  },

  // Adds the rejects that are older than the one named `before`; the newest for an empty name.
  async load(before) {
    const found = await ask(`rejects?before=${before}${this.decision && `&decision=${this.decision}`}`);
    $("#rejects").append(...found.rejects.map((reject) => this.tile(reject)));
    $("#older").hidden = !found.more;
    this.last = found.rejects.at(-1)?.name;
  },

  // Returns the button with a small picture of a reject.
  tile(reject) {
    const tile = make("button");
    const picture = Object.assign(new Image(), {
      loading: "lazy",
      alt: reject.review ? "to review" : "reject",
      src: `rejects/${reject.name}/small.jpg`,
    });
    const known = reject.score !== undefined;
    const when = known ? new Date(reject.time) : NaN;
    const moment = Number.isNaN(Number(when)) ? "" : when.toLocaleString();
    const decision = reject.review ? "review" : "reject";
    const alone = known && reject.verdict !== decision ? `; verdict of this frame: ${reject.verdict}` : "";
    const caption = known
      ? [`${reject.source} · ${moment}`, ...(reject.file ? [reject.file] : []),
        `score ${formatScore(reject.score)}${alone}`]
      : [reject.name];
    const mark = reject.review ? [make("span", "? to review", "mark")] : [];
    tile.append(picture, ...mark, ...caption.map((line) => make("span", line)));
    tile.addEventListener("click", () => this.view(reject, caption.join(" · ")));
    return tile;
  },

  // Opens the dialog with large pictures of a reject, with and without its heat-map.
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

  // Shows what accepting the open reject would change; null if the user has not asked for it.
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
      : ` This source has its own threshold, ${times(found.own_threshold)}the recipe's, and keeps that factor.`;
    const becomes = { good: "It turns good. ", review: "It is still to review. ", reject: "It is still a reject. " };
    $(".effect", dialog).replaceChildren(
      make("b", becomes[photo.becomes]),
      `Score ${formatScore(photo.before)} → ${formatScore(photo.after)}, the recipe's threshold becomes ` +
      `${formatScore(found.threshold_factor)} × today's.${own} `,
      make("b", `${found.turning.length} of the last ${found.compared} other rejects turn good too`),
      found.turning.length ? ": are these parts good?" : ".");
    $(".turning", dialog).replaceChildren(...found.turning.map((name) =>
      Object.assign(new Image(), { alt: "turns good", src: `rejects/${name}/small.jpg` })));
  },

  // Does an action of the dialog, and returns its answer; null if it was refused, with the reason shown.
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
  $("#viewer .effect").textContent = "Computing the effects…";
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

// The stages that are timed, in the order of the table that `watch` shows on a terminal.
const STAGES = ["total", "wait", "preprocess", "encode", "score", "output"];

// Shows the table of rates and times, the outputs, the disks and the messages.
function showHealth(state) {
  const review = state.sources.some((one) => one.review !== null || one.reviewed); // whether the column is needed
  const counted = ["inspected", ...(review ? ["reviewed"] : []), "rejected", "failed", "dropped"];
  const head = ["source", "fps", ...counted, `p50/p99 ms: ${STAGES[0]}`, ...STAGES.slice(1)];
  const time = (value) => value.toFixed(value < 9.95 ? 1 : 0);
  const rows = state.sources.map((one) => {
    const times = STAGES.map((stage) => one.latency[stage]?.map(time).join("/") ?? "–");
    return [one.name, one.up ? one.rate.toFixed(1) : "none", ...counted.map((name) => one[name]), ...times];
  });
  const row = (cells, tag) => {
    const line = make("tr");
    line.append(...cells.map((cell) => make(tag, String(cell))));
    return line;
  };
  $("#health").replaceChildren(row(head, "th"), ...rows.map((cells) => row(cells, "td")));
  const outputs = state.outputs.map((one) =>
    `${one.name}: ${one.failing ? "FAILING, being tried again" : "works"}, ${one.waiting} waiting, ${one.lost} lost`);
  const disks = state.disks.map((one) => `${one.path}: ${gigabytes(one.free)} of ${gigabytes(one.total)} free`);
  $("#rest").replaceChildren(...[...outputs, ...disks].map((text) => make("li", text)));
  $("#messages").replaceChildren(...state.messages.map((one) => {
    const item = make("li");
    item.append(make("small", ago(one.age)), ` ${one.text}`);
    return item;
  }));
  if (!state.messages.length) $("#messages").append(make("li", "none"));
}

// Shows outputs that fail at the top of the page, where nobody overlooks them.
function showFailing(outputs) {
  const lines = outputs.map((output) =>
    `${output.name} FAILS: ${output.error}. ${output.waiting} results wait, ${output.lost} are lost.`);
  $("#failing").replaceChildren(...lines.map((line) => make("p", line)));
  $("#failing").hidden = !lines.length;
}

const cards = new Map(); // by name of the source
let many = false; // whether there are many sources

// Shows the line's state, as the server sent it.
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

let answered = new Date(); // when the server last answered

// Asks for the state, and shows it, the login or the alarm. Repeats this after a while.
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
    alarm(locked ? "" : `No answer from the line since ${answered.toLocaleTimeString()}: this page is out of date.`);
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

const token = location.hash.slice(1); // browsers do not send this part of the address; it is removed now
if (token) {
  history.replaceState(null, "", location.pathname);
  await logIn(decodeURIComponent(token), $("#refused"));
}
poll();
