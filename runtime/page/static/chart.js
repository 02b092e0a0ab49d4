// A source's last scores, oldest left, with the threshold as a dashed line and one that is considered as a full one.

const [GOOD, BAD, INK] = ["#00508f", "#d96a00", "#1a1a1a"];
const LEFT = 46;
const EDGE = 12;

// Lowest and highest score to show: all of them, but for those far above the threshold.
export function span(scores, threshold) {
  const low = Math.min(...scores, threshold);
  const high = Math.min(Math.max(...scores, threshold), 3 * threshold);
  const room = 0.15 * Math.max(high - low, 0.2 * threshold);
  return [Math.max(low - room, low / 2), high + room];
}

export function drawChart(canvas, state, considered) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const { scores, bad, threshold } = state;
  canvas.ariaLabel = `scores of the last ${scores.length} frames, ${bad.filter(Boolean).length} rejected`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const [low, high] = span(scores, threshold);
  const y = (score) => height - EDGE - (Math.min(Math.max(score, low), high) - low) / (high - low) * (height - 2 * EDGE);
  const step = (width - LEFT - EDGE) / Math.max(scores.length - 1, 60);
  const x = (index) => width - EDGE - (scores.length - 1 - index) * step;

  pen.strokeStyle = GOOD;
  pen.lineWidth = 1.5;
  pen.beginPath();
  scores.forEach((score, index) => (index ? pen.lineTo(x(index), y(score)) : pen.moveTo(x(index), y(score))));
  pen.stroke();
  scores.forEach((score, index) => {
    pen.fillStyle = bad[index] ? BAD : GOOD;
    if (bad[index]) pen.fillRect(x(index) - 3.5, y(score) - 3.5, 7, 7); // squares: not by colour alone
    else if (step > 3) pen.fillRect(x(index) - 1.5, y(score) - 1.5, 3, 3);
  });

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
    if (labelled) pen.fillText(value.toPrecision(3), 6, y(value));
  };
  level(threshold, [6, 4], 1.5, true);
  if (considered > 0) level(considered, [], 2.5, false); // its value stands below, in words
}

// Scores of unlabelled parts as bars, with today's threshold as a dashed line and the proposed one as a full one.
export function drawHistogram(canvas, { edges, counts, threshold, today }) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  canvas.ariaLabel = `histogram of ${counts.reduce((sum, count) => sum + count)} parts' scores`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const [low, high] = [Math.min(edges[0], threshold, today), Math.max(edges.at(-1), threshold, today)].map(Math.log);
  const x = (score) => EDGE + (Math.log(score) - low) / (high - low) * (width - 2 * EDGE);
  const highest = Math.max(...counts);
  counts.forEach((count, index) => {
    const bar = count / highest * (height - EDGE);
    pen.fillStyle = edges[index] >= threshold ? BAD : GOOD;
    pen.fillRect(x(edges[index]), height - bar, x(edges[index + 1]) - x(edges[index]) - 1, bar);
  });
  pen.strokeStyle = INK;
  for (const [value, dashes, wide] of [[today, [6, 4], 1.5], [threshold, [], 2.5]]) {
    pen.lineWidth = wide;
    pen.setLineDash(dashes);
    pen.beginPath();
    pen.moveTo(x(value), 0);
    pen.lineTo(x(value), height);
    pen.stroke();
  }
}
