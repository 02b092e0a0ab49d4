// The steps Teach and Settle in: the scores of the collected pictures, and the threshold.
import { $, ask, make } from "./common.js";
import { SIGNS, collect, tile } from "./collect.js";
import { score, t } from "./text.js";

const COLOURS = { good: "#00508f", settle: "#6b6b6b", bad: "#d96a00" };
const INK = "#1a1a1a";
const BINS = 32;
const [LOWEST, HIGHEST] = [0.05, 20]; // scores beyond these are drawn at the ends of the chart
const [LEFT, RIGHT, LANE, AXIS] = [92, 14, 46, 24]; // pixels: margins, height of a row of bars, height of the axis

export const settle = {
  scores: null, // the server's last answer
  tried: null, // the threshold that the user tries, as a share of the threshold in use; null for none
  review: undefined, // the review score that the user tries, null for no review; undefined while the user tries none
  gathering: 0, // how many pictures are still to be gathered
  asking: false, // whether a request for scores is running

  start(app) {
    this.app = app;
    $("#teach").addEventListener("click", () => this.teach());
    $("#slider").addEventListener("input", () => this.consider(Math.exp($("#slider").valueAsNumber)));
    $("#review").addEventListener("change", () => this.band());
    $("#from").addEventListener("input", () => this.band());
    $("#cancel").addEventListener("click", () => this.forget());
    $("#apply").addEventListener("click", () => this.apply());
    $("#gather").addEventListener("submit", (event) => {
      event.preventDefault();
      this.gather(event.target);
    });
    const canvas = $("#histogram");
    const drag = (event) => {
      if (event.buttons && this.scale) this.consider(Math.exp(this.scale.value(event.offsetX)));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      drag(event);
    });
    canvas.addEventListener("pointermove", drag);
  },

  teach() {
    const { product } = this.app.state;
    if (product) this.app.act("teach", { product: product.id, seen: product.revision });
  },

  // Begins to collect unsorted parts every few seconds, or stops it.
  gather(form) {
    if (this.gathering) {
      this.gathering = 0;
      collect.pause();
    } else {
      this.gathering = form.parts.valueAsNumber;
      collect.run(form.seconds.valueAsNumber, async () => {
        if (await collect.take("settle")) this.gathering -= 1;
        return this.gathering > 0;
      });
    }
    this.show();
  },

  // Asks for the scores. Scores that are not computed yet come with later answers, so it asks again.
  async update(step) {
    const { product } = this.app.state;
    if (!product?.recipe || !["settle", "teach"].includes(step) || this.asking) return;
    this.asking = true;
    try {
      const found = await ask(`scores?product=${encodeURIComponent(product.id)}`);
      if (this.scores?.digest !== found.digest) this.forget();
      this.scores = found;
      this.show();
    } finally {
      this.asking = false;
    }
    if (this.scores.pending) setTimeout(() => this.update(this.app.step), 50);
  },

  // Tries another threshold.
  consider(tried) {
    this.tried = tried;
    this.show();
  },

  // Tries the review score in the form.
  band() {
    const from = $("#from").valueAsNumber;
    this.review = $("#review").checked && from > 0 && from < 100 ? from / 100 : null;
    this.show();
  },

  // Returns to the threshold and the review score in use.
  forget() {
    this.tried = null;
    this.review = undefined;
    this.show();
  },

  // Sets the threshold and the review score that the user tried.
  async apply() {
    const { digest, threshold, review } = this.scores;
    const wanted = {
      threshold: threshold * (this.tried ?? 1),
      review: this.review === undefined ? review : this.review,
    };
    const done = await this.app.act("threshold", { product: this.app.product, seen: digest, ...wanted });
    if (done !== undefined) {
      this.forget();
      this.update("settle");
    }
  },

  show() {
    const { product } = this.app.state;
    if (!product) return;
    const { recipe, teaching, pictures } = product;
    const count = pictures.good.length;
    const noted = pictures.good.filter((picture) => picture.notes.length).length;
    const runs = Boolean(teaching?.runs);
    $("#ready").textContent = !count ? t("teach.none")
      : t("teach.ready", { count }) + (noted ? ` ${t("teach.noted", { count: noted })}` : "");
    $("#teach").disabled = !count || runs;
    $("#teaching").className = teaching?.error ? "refused" : "";
    $("#teaching").textContent = runs ? t("teach.runs") : teaching?.error ? t("teach.failed", { error: teaching.error })
      : !recipe ? "" : recipe.fresh ? t("teach.done", { count: recipe.shots })
      : t("teach.stale", { count: recipe.shots });
    const facts = !recipe || runs ? []
      : [recipe.provisional ? t("teach.provisional") : "", t("teach.look")].filter(Boolean);
    if ($("#taught").textContent !== facts.join("")) {
      $("#taught").replaceChildren(...facts.map((fact) => make("p", fact, "note")));
    }
    $("#gather button").textContent = t(this.gathering ? "settle.stop" : "settle.start");
    $("#gather button").disabled = !recipe;
    $("#gathered").textContent = !recipe ? t("settle.untaught")
      : this.gathering ? t("settle.gathering", { count: this.gathering })
      : t("settle.have", { count: pictures.settle.length });
    $("#judged").hidden = !recipe || !this.scores?.scores.length;
    if (!$("#judged").hidden) this.showScores(product);
  },

  // Shows the decisions on the collected pictures, by the threshold in use or by the one that the user tries.
  showScores(product) {
    const { scores, threshold, review, pending, proposal } = this.scores;
    const tried = this.tried ?? 1;
    const band = this.review === undefined ? review : this.review;
    const relative = scores.map((one) => ({ ...one, score: one.image / threshold }));
    this.draw(relative, tried, band);
    const slider = $("#slider");
    [slider.min, slider.max] = [this.scale.low, this.scale.high];
    if (document.activeElement !== slider || this.tried === null) slider.value = Math.log(tried);
    $("#tried output").textContent = score(tried);
    if (this.review === undefined && document.activeElement !== $("#from")) {
      $("#review").checked = review !== null;
      if (review !== null) $("#from").value = Math.round(100 * review);
    }
    const count = (kind, reached) =>
      relative.filter((one) => one.kind === kind && (one.score >= tried) === reached).length;
    const of = (kind) => relative.filter((one) => one.kind === kind).length;
    const parts = [t("settle.good", { rejected: count("good", true), count: of("good") })];
    if (of("bad")) parts.push(t("settle.bad", { missed: count("bad", false), count: of("bad") }));
    if (of("settle")) parts.push(t("settle.unsorted", { rejected: count("settle", true), count: of("settle") }));
    if (pending) parts.push(t("settle.pending", { count: pending }));
    $("#effect").textContent = parts.join(" ");
    const dirty = this.tried !== null || (this.review !== undefined && this.review !== review);
    $("#apply").disabled = $("#cancel").disabled = !dirty;
    this.propose(proposal, threshold);
    const changing = relative.filter((one) => (one.score >= 1) !== (one.score >= tried));
    const key = JSON.stringify([product.id, tried, changing.map((one) => one.name), document.documentElement.lang]);
    if (key === this.listed) return;
    this.listed = key;
    const tiles = changing.slice(0, 60).map((one) => {
      const picture = product.pictures[one.kind].find((known) => known.name === one.name) ?? one;
      const becomes = one.score >= tried ? t("settle.becomesReject") : t("settle.becomesGood");
      const caption = `${SIGNS[one.kind]} ${t(`kind.${one.kind}`)} → ${becomes}`;
      const view = () => collect.view(one.kind, picture);
      return tile(product.id, one.kind, { ...picture, notes: [] }, view, caption);
    });
    $("#changing").replaceChildren(
      ...(tiles.length ? tiles : [make("p", t(this.tried === null ? "settle.move" : "settle.nobody"), "hint")]));
  },

  // Shows the thresholds that the server proposes, as buttons.
  propose({ settled, separated, fewest }, threshold) {
    const have = this.app.state.product.pictures.settle.length;
    const offers = [];
    if (settled) {
      offers.push([t("settle.take", { threshold: score(settled / threshold), count: have }), () => this.take()]);
    }
    const between = separated ? separated.threshold / threshold : 1;
    if (Math.abs(between - 1) > 0.005) {
      offers.push([t("settle.between", { threshold: score(between) }), () => this.consider(between)]);
    }
    const key = JSON.stringify([offers.map(([text]) => text), fewest - have]);
    if (key === this.offered) return;
    this.offered = key;
    const buttons = offers.map(([text, act]) => {
      const button = make("button", text);
      button.addEventListener("click", act);
      return button;
    });
    if (!settled) buttons.push(make("p", t("settle.fewer", { count: Math.max(1, fewest - have) }), "hint"));
    $("#proposals").replaceChildren(...buttons);
  },

  // Sets the threshold that the unsorted parts propose.
  async take() {
    const done = await this.app.act("settle", { product: this.app.product, seen: this.scores.digest });
    if (done !== undefined) this.update("settle");
  },

  // Draws a row of bars for each kind, over the logarithm of the score. The threshold is a line through all rows.
  draw(scores, tried, band) {
    const canvas = $("#histogram");
    const kinds = ["good", "settle", "bad"].filter((kind) => scores.some((one) => one.kind === kind));
    canvas.style.height = `${kinds.length * LANE + AXIS}px`;
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    canvas.ariaLabel = t("settle.chart", { count: scores.length });
    const logs = scores.map((one) => Math.log(Math.min(Math.max(one.score, LOWEST), HIGHEST)));
    const low = Math.min(...logs, Math.log(0.5)) - 0.1;
    const high = Math.max(...logs, Math.log(2)) + 0.1;
    const x = (log) => LEFT + (log - low) / (high - low) * (width - LEFT - RIGHT);
    const value = (place) =>
      Math.min(Math.max(low + (place - LEFT) / (width - LEFT - RIGHT) * (high - low), low), high);
    this.scale = { low, high, value };
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const bar = (width - LEFT - RIGHT) / BINS;
    kinds.forEach((kind, lane) => {
      const bottom = (lane + 1) * LANE;
      const counts = new Array(BINS).fill(0);
      scores.forEach((one, index) => {
        if (one.kind === kind) counts[Math.min(BINS - 1, Math.floor((logs[index] - low) / (high - low) * BINS))] += 1;
      });
      const most = Math.max(...counts);
      pen.fillStyle = COLOURS[kind];
      counts.forEach((value, bin) => {
        const tall = value ? Math.max(4, value / most * (LANE - 10)) : 0;
        pen.fillRect(LEFT + bin * bar, bottom - tall, bar - 1, tall);
      });
      pen.fillStyle = INK;
      pen.fillText(`${SIGNS[kind]} ${t(`kind.${kind}`)}`, 2, bottom - LANE / 2);
      pen.fillRect(LEFT, bottom, width - LEFT - RIGHT, 1);
    });
    const floor = kinds.length * LANE;
    if (band) { // the scores of parts to review
      pen.fillStyle = "rgb(255 225 77 / .45)";
      pen.fillRect(x(Math.log(tried * band)), 0, x(Math.log(tried)) - x(Math.log(tried * band)), floor);
    }
    const level = (log, dashes, wide) => {
      pen.strokeStyle = INK;
      pen.lineWidth = wide;
      pen.setLineDash(dashes);
      pen.beginPath();
      pen.moveTo(x(log), 0);
      pen.lineTo(x(log), floor);
      pen.stroke();
    };
    if (tried !== 1) level(0, [6, 4], 1.5);
    level(Math.log(tried), [], 3);
    pen.fillStyle = INK;
    pen.textAlign = "center";
    const middle = Math.min(Math.max(x(Math.log(tried)), LEFT + 16), width - RIGHT - 16);
    pen.fillText(score(tried), middle, floor + AXIS / 2);
    pen.textAlign = "left";
    if (x(Math.log(tried)) > LEFT + 70) pen.fillText(t("verdict.good"), LEFT, floor + AXIS / 2);
    pen.textAlign = "right";
    if (x(Math.log(tried)) < width - RIGHT - 80) pen.fillText(t("verdict.reject"), width - RIGHT, floor + AXIS / 2);
  },
};
