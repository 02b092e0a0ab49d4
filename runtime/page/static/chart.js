// The two charts of a source: its last scores, and the histogram of settling in.

const [GOOD, REVIEW, BAD, INK] = ["#00508f", "#ffe14d", "#d96a00", "#1a1a1a"];
const LEFT = 46;
const EDGE = 12;
const ROW = 18; // the height of a row of numbers of the histogram

// Returns a score in few digits. It is rounded down, so that a part below the threshold is never shown with 1.00.
export function formatScore(score) {
  if (score > 1000) return "> 1000";
  const digits = score < 10 ? 2 : score < 100 ? 1 : 0;
  const text = score.toFixed(digits);
  return Number(text) <= score ? text : (Number(text) - 10 ** -digits).toFixed(digits);
}

// Returns the lowest and the highest score of a chart. Scores far above 1.00 are left out.
export function span(scores) {
  const low = Math.min(...scores, 1);
  const high = Math.min(Math.max(...scores, 1), 3);
  const room = 0.15 * Math.max(high - low, 0.2);
  return [Math.max(low - room, low / 2), high + room];
}

// Draws a source's last scores, the oldest at the left. A dashed line is the threshold, a dotted line is the score from
// which parts are to be reviewed, and a solid line is the threshold that the user tries (considered; null for none).
export function drawChart(canvas, state, considered) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const { scores, decisions, review } = state;
  const count = (decision) => decisions.filter((one) => one === decision).length;
  canvas.ariaLabel = `scores of the last ${scores.length} frames, ${count("reject")} rejected, ` +
    `${count("review")} to review`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const [low, high] = span(scores);
  const share = (score) => (Math.min(Math.max(score, low), high) - low) / (high - low); // of the chart's height
  const y = (score) => height - EDGE - share(score) * (height - 2 * EDGE);
  const step = (width - LEFT - EDGE) / Math.max(scores.length - 1, 60);
  const x = (index) => width - EDGE - (scores.length - 1 - index) * step;

  const square = (left, top, side, colour) => {
    pen.fillStyle = colour;
    pen.fillRect(left - side / 2, top - side / 2, side, side);
  };
  const triangle = (left, top, size) => {
    pen.beginPath();
    pen.moveTo(left, top - size);
    pen.lineTo(left + size, top + size);
    pen.lineTo(left - size, top + size);
    pen.closePath();
    pen.fillStyle = REVIEW;
    pen.fill();
    pen.strokeStyle = INK;
    pen.lineWidth = 1;
    pen.stroke();
  };

  pen.strokeStyle = GOOD;
  pen.lineWidth = 1.5;
  pen.beginPath();
  scores.forEach((score, index) => (index ? pen.lineTo(x(index), y(score)) : pen.moveTo(x(index), y(score))));
  pen.stroke();
  scores.forEach((score, index) => {
    if (decisions[index] === "reject") square(x(index), y(score), 7, BAD); // shapes, not only colours, tell them apart
    else if (decisions[index] === "review") triangle(x(index), y(score), 5);
    else if (step > 3) square(x(index), y(score), 3, GOOD);
  });

  // Draws a horizontal line at a score.
  const level = (value, dashes, wide, labelled) => {
    pen.strokeStyle = INK;
    pen.lineWidth = wide;
    pen.setLineDash(dashes);
    pen.beginPath();
    pen.moveTo(LEFT, y(value));
    pen.lineTo(width, y(value));
    pen.stroke();
    pen.setLineDash([]);
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = INK;
    if (labelled) pen.fillText(formatScore(value), 6, y(value));
  };
  level(1, [6, 4], 1.5, true);
  if (review !== null) level(review, [2, 4], 1.5, y(review) - y(1) > 14); // if nearer, its number would cover 1.00
  if (considered > 0) level(considered, [], 2.5, false); // the form below shows its value
}

// Draws the scores of unsorted parts as bars, with today's threshold as a dashed line and the proposed one as a solid
// line. The thresholds are written above the bars, the lowest and the highest score below them.
export function drawHistogram(canvas, { edges, counts, threshold, today }) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const ends = [edges[0], edges.at(-1)];
  const levels = [today, threshold].sort((one, other) => one - other);
  const [low, high] = [Math.min(ends[0], levels[0]), Math.max(ends[1], levels[1])].map(Math.log);
  const x = (score) => LEFT + (Math.log(score) - low) / (high - low) * (width - 2 * LEFT);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const floor = height - ROW;
  const highest = Math.max(...counts);
  counts.forEach((count, index) => {
    const bar = count / highest * (floor - ROW);
    pen.fillStyle = edges[index] >= threshold ? BAD : GOOD;
    pen.fillRect(x(edges[index]), floor - bar, x(edges[index + 1]) - x(edges[index]) - 1, bar);
  });
  pen.strokeStyle = pen.fillStyle = INK;
  for (const [value, dashes, wide] of [[today, [6, 4], 1.5], [threshold, [], 2.5]]) {
    pen.lineWidth = wide;
    pen.setLineDash(dashes);
    pen.beginPath();
    pen.moveTo(x(value), 0);
    pen.lineTo(x(value), floor);
    pen.stroke();
  }
  pen.font = "13px system-ui, sans-serif";
  pen.textBaseline = "middle";
  // Writes the lower of two scores left of its place and the higher one right of it, so that they cannot overlap.
  const write = (pair, middle) => {
    const texts = pair.map((score) => formatScore(score / today));
    texts.forEach((text, index) => {
      pen.textAlign = index ? "left" : "right";
      pen.fillText(text, x(pair[index]) + (index ? 4 : -4), middle);
    });
    return texts;
  };
  const thresholds = write(levels, ROW / 2);
  const scores = write(ends, floor + ROW / 2);
  canvas.ariaLabel = `histogram of ${counts.reduce((sum, count) => sum + count)} parts' scores, ` +
    `${scores.join(" to ")}, with the thresholds ${thresholds.join(" and ")}`;
}
