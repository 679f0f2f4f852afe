// A network of bits, run as Algorithm 5 of "Quantized Neural Networks" (Hubara et al.) does it.
"use strict";

const network = JSON.parse(document.getElementById("network").textContent);
const [rows, columns] = network.image;
const { box, pen, mass } = network.drawing;

// Bits lie in words of 32, the first one lowest: 1 for +1, 0 for -1, and zeros behind the last one.
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const layers = network.layers.map(({ inputs, units, words, at, flip }) => ({
  inputs,
  units,
  words: new Uint32Array(bytes(words).buffer), // 2 ceil(inputs / 64) words for each unit
  at: at && new Int32Array(bytes(at).buffer), // thresholds; the last layer has none
  flip: flip && bytes(flip), // 1 where batch norm turns the comparison
}));
const getBit = (words, k) => (words[k >> 5] >>> (k & 31)) & 1;

function popcount(x) { // ones in a word: sums of 2, 4, 8 and 32 bits
  x -= (x >>> 1) & 0x55555555;
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  x = (x + (x >>> 4)) & 0x0f0f0f0f;
  return Math.imul(x, 0x01010101) >>> 24;
}

function xnor(x, { inputs, words, units }, unit) { // rows of +-1: K - 2 popcount(x XOR w)
  const count = words.length / units;
  let different = 0;
  for (let k = 0; k < count; k++) different += popcount(x[k] ^ words[unit * count + k]);
  return inputs - 2 * different;
}

function planesOf(pixels) { // the bits of all pixels: plane n has those that count 2^n
  const count = 2 * Math.ceil(pixels.length / 64);
  const planes = Array.from({ length: 8 }, () => new Uint32Array(count));
  pixels.forEach((pixel, k) => {
    for (let n = 0; n < 8; n++) planes[n][k >> 5] |= ((pixel >> n) & 1) << (k & 31);
  });
  return planes;
}

function run(pixels) {
  const planes = planesOf(pixels);
  let bits;
  const found = layers.map((layer, number) => {
    const sums = new Int32Array(layer.units);
    for (let u = 0; u < layer.units; u++) {
      if (number === 0) // Algorithm 5, line 1: a1 <- sum over n of 2^(n-1) Xnor(a0^n, W1)
        for (let n = 0; n < 8; n++) sums[u] += 2 ** n * xnor(planes[n], layer, u);
      else sums[u] = xnor(bits, layer, u); // lines 2 and 3: a_k <- Xnor(a_(k-1), W_k)
    }
    if (layer.at) { // lines 1 and 2: Sign(BN(a)), which is a threshold
      bits = new Uint32Array(2 * Math.ceil(layer.units / 64));
      for (let u = 0; u < layer.units; u++)
        bits[u >> 5] |= ((sums[u] >= layer.at[u]) ^ layer.flip[u]) << (u & 31);
    }
    return { sums, bits: layer.at && bits };
  });
  return { pixels, planes, layers: found, scores: scoresOf(found.at(-1).sums) };
}

function scoresOf(sums) { // line 3: BN(a_L), rounded after each operation as in training
  const round = network.real === "float32" ? Math.fround : (y) => y;
  const { scale, bias, mean, inverse_deviation, gain, shift } = network.scores;
  return Array.from(sums, (s, k) => {
    let y = round(s);
    if (scale !== 1) y = round(y * scale);
    if (bias) y = round(y + bias[k]);
    if (!mean) return y;
    y = round(round(y - mean[k]) * inverse_deviation[k]);
    return round(round(y * gain[k]) + shift[k]);
  });
}

const answerOf = (scores) => // the largest score, the first one of equals
  scores.every(Number.isFinite) ? scores.indexOf(Math.max(...scores)) : -1;

// From a drawing to an image, as MNIST was made: the ink fits a box of 20 x 20, and its centre of
// mass lies in the middle of 28 x 28. Strokes are rows of [x, y] from 0 to 1.

function imageOf(strokes) {
  const points = strokes.flat();
  if (!points.length) return new Uint8Array(rows * columns);
  const axes = [0, 1];
  const ends = (f) => axes.map((i) => f(...points.map((p) => p[i])));
  const [low, high] = [ends(Math.min), ends(Math.max)];
  const size = Math.max(high[0] - low[0], high[1] - low[1], 0.25); // a dot stays a dot
  const scale = (box - 2 * pen) / size;
  const middle = [columns / 2, rows / 2];
  const place = (centre) => // ink with this point of the drawing in the middle of the image
    ink(strokes.map((s) => s.map((p) => axes.map((i) => (p[i] - centre[i]) * scale + middle[i]))));
  const centre = axes.map((i) => (low[i] + high[i]) / 2);
  const first = place(centre);
  const total = first.reduce((sum, v) => sum + v, 0);
  const mean = axes.map((i) =>
    first.reduce((sum, v, k) => sum + v * (pixel(k)[i] - middle[i]), 0) / total / scale);
  const image = mass ? place(axes.map((i) => centre[i] + mean[i])) : first;
  return Uint8Array.from(image, (v) => Math.round(255 * v));
}

const pixel = (k) => [(k % columns) + 0.5, Math.floor(k / columns) + 0.5]; // its middle, x and y

function ink(strokes) { // 1 within the pen's radius of a stroke, less towards its rim
  const image = new Float64Array(rows * columns);
  for (const stroke of strokes)
    stroke.forEach(([bx, by], i) => {
      const [ax, ay] = stroke[Math.max(0, i - 1)];
      const [dx, dy] = [bx - ax, by - ay];
      const first = Math.max(0, Math.floor(Math.min(ay, by) - pen - 1));
      const last = Math.min(rows - 1, Math.ceil(Math.max(ay, by) + pen + 1));
      for (let k = first * columns; k < (last + 1) * columns; k++) {
        const [x, y] = [pixel(k)[0] - ax, pixel(k)[1] - ay];
        const along = (x * dx + y * dy) / (dx * dx + dy * dy || 1);
        const t = Math.min(1, Math.max(0, along)); // the nearest point of the line
        const value = pen + 0.5 - Math.hypot(x - t * dx, y - t * dy);
        image[k] = Math.max(image[k], Math.min(1, value));
      }
    });
  return image;
}

// What the page shows: `state` is all there is, and `draw` shows it.

const $ = (id) => document.getElementById(id);
const state = { strokes: [], pen: [0.5, 0.5], layer: 0, unit: 0, weight: 0, flips: [] };
let result, colours;

const whole = (n) => n.toLocaleString("en").replace("-", "\u2212");
const sign = (bit) => (bit ? "+1" : "\u22121");
// Cells in a row: as the image has them, else about twice as many as there are rows.
const wide = (n) => (n === rows * columns ? columns : 2 ** Math.ceil(Math.log2(2 * n) / 2));

function cells(canvas, count, size, fill, chosen = -1) { // squares in rows, one of them framed
  const gap = size > 4 ? 1 : 0;
  const at = (k) => [(k % wide(count)) * size, Math.floor(k / wide(count)) * size];
  canvas.width = wide(count) * size;
  canvas.height = Math.ceil(count / wide(count)) * size;
  const context = canvas.getContext("2d");
  for (let k = 0; k < count; k++) {
    context.fillStyle = fill(k);
    context.fillRect(...at(k), size - gap, size - gap);
  }
  if (chosen < 0) return;
  context.strokeStyle = colours.mark;
  context.lineWidth = 3;
  context.strokeRect(...at(chosen), size - gap, size - gap);
}

function draw() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "ink", "on", "off", "dim", "minus", "mark"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`)]));
  result = run(imageOf(state.strokes));
  drawPad();
  const grey = (k) => `color-mix(in srgb, ${colours.ink} ${result.pixels[k] / 2.55}%, transparent)`;
  cells($("seen"), rows * columns, 4, grey);
  const lit = (bits, dark) => (k) => (getBit(bits, k) ? colours.on : dark);
  result.planes.forEach((plane, n) =>
    cells($(`plane${n}`), rows * columns, 3, lit(plane, colours.paper)));
  result.layers.slice(0, -1).forEach(({ bits }, number) => {
    const { units } = layers[number];
    const chosen = number === state.layer ? state.unit : -1;
    cells($(`bits${number}`), units, 12, lit(bits, colours.off), chosen);
    const count = bits.reduce((sum, word) => sum + popcount(word), 0);
    $(`lit${number}`).textContent = `${count} of ${units} are +1`;
    drawSums(number);
  });
  drawScores();
  drawUnit();
}

function drawPad() {
  const canvas = $("pad");
  const context = canvas.getContext("2d");
  const size = canvas.width;
  context.clearRect(0, 0, size, size);
  context.lineCap = context.lineJoin = "round";
  const line = (points, width, colour) => {
    context.strokeStyle = colour;
    context.lineWidth = width * size;
    context.beginPath();
    for (const [x, y] of [points[0], ...points]) context.lineTo(x * size, y * size);
    context.stroke();
  };
  for (const stroke of state.strokes) line(stroke, 0.075, colours.ink);
  if (state.keys) line([state.pen], state.down ? 0.06 : 0.03, colours.mark); // the keyboard's pen
}

function drawSums(number) { // how far each sum is on the side of +1, smallest first
  const { at, flip } = layers[number];
  const far = (s, u) => [u, flip[u] ? at[u] - 1 - s : s - at[u]];
  const all = Array.from(result.layers[number].sums, far).sort((a, b) => a[1] - b[1]);
  const canvas = $(`sums${number}`);
  const context = canvas.getContext("2d");
  const most = Math.max(1, -all[0][1], all.at(-1)[1]);
  const [step, middle] = [canvas.width / all.length, canvas.height / 2];
  const bar = (i, width, colour, height) => {
    context.fillStyle = colour;
    context.fillRect(i * step, middle, width, -height);
  };
  context.clearRect(0, 0, canvas.width, canvas.height);
  const side = (margin) => (margin < 0 ? colours.dim : colours.on);
  all.forEach(([, m], i) => bar(i, step, side(m), (m / most) * (middle - 4)));
  const i = all.findIndex(([unit]) => number === state.layer && unit === state.unit);
  if (i >= 0) bar(i, 7, colours.mark, all[i][1] < 0 ? -middle : middle);
}

function drawScores() {
  const { scores } = result;
  const best = answerOf(scores);
  const [least, most] = [Math.min(...scores), Math.max(...scores)];
  scores.forEach((score, k) => {
    const row = $(`class${k}`);
    row.classList.toggle("best", k === best);
    row.classList.toggle("chosen", state.layer === layers.length - 1 && state.unit === k);
    row.querySelector(".bar").style.width = `${(100 * (score - least)) / (most - least || 1)}%`;
    row.querySelector(".score").textContent = score.toFixed(2).replace("-", "\u2212");
  });
  const [, second] = scores.map((_, k) => k).sort((i, j) => scores[j] - scores[i]);
  $("digit").textContent = best < 0 ? "\u00b7" : best;
  $("said").textContent = best < 0 ? "A score is not finite." : `It says ${best}, then ${second}.`;
}

const ownWords = (number, unit) => { // the weights of a unit
  const { words, units } = layers[number];
  return words.subarray((unit * words.length) / units, ((unit + 1) * words.length) / units);
};

function drawUnit() {
  const { layer, unit, weight } = state;
  const { inputs, at, flip } = layers[layer];
  const { sums, bits } = result.layers[layer];
  const own = ownWords(layer, unit);
  const name = at ? `Layer ${layer + 1}, unit` : "Class";
  const said = [`${name} ${unit}: its sum is ${whole(sums[unit])}`];
  if (at) said.push(`+1 where it is ${flip[unit] ? "less than" : "at least"} ${whole(at[unit])}`);
  said.push(at ? `so its bit is ${sign(getBit(bits, unit))}` : "batch norm makes its score");
  $("unit").textContent = `${said.join("; ")}.`;
  cells($("weights"), inputs, 12, (k) => (getBit(own, k) ? colours.on : colours.minus), weight);
  $("weight").textContent = `Weight ${weight} is ${sign(getBit(own, weight))}.`;
  $("restore").disabled = !state.flips.length;
}

// What a person does.

function choose(layer, unit) {
  Object.assign(state, { layer, unit, weight: Math.min(state.weight, layers[layer].inputs - 1) });
  $("changed").textContent = "";
  draw();
}

const turn = ([layer, unit, k]) => (ownWords(layer, unit)[k >> 5] ^= 1 << (k & 31));

function flip() { // the chosen weight, and what comes of it
  const { layer, unit, weight } = state;
  const before = result;
  state.flips.push([layer, unit, weight]);
  turn(state.flips.at(-1));
  draw();
  const change = result.layers[layer].sums[unit] - before.layers[layer].sums[unit];
  const changed = result.layers.slice(layer, -1).map(({ bits }, i) => {
    const old = before.layers[layer + i].bits;
    const count = bits.reduce((sum, word, k) => sum + popcount(word ^ old[k]), 0);
    return `${count} in layer ${layer + i + 1}`;
  });
  const [was, is] = [before, result].map(({ scores }) => answerOf(scores));
  const bits = changed.length ? ` Bits that changed: ${changed.join(", ")}.` : "";
  const answer = was === is ? `The answer stays ${is}.` : `The answer was ${was} and is ${is}.`;
  $("changed").textContent = `The sum changed by ${whole(change)}.${bits} ${answer}`;
}

function restore() {
  state.flips.splice(0).forEach(turn);
  choose(state.layer, state.unit);
}

function setStrokes(strokes) {
  Object.assign(state, { strokes, down: false, keys: false });
  draw();
}

const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onCells(canvas, count, chosen, pick, enter) { // a click or the arrow keys pick a cell
  canvas.onclick = (event) => {
    const size = canvas.clientWidth / wide(count());
    const k = Math.floor(event.offsetY / size) * wide(count()) + Math.floor(event.offsetX / size);
    pick(Math.min(k, count() - 1));
    enter?.();
  };
  canvas.onkeydown = (event) => {
    const [x, y] = arrows[event.key] ?? [0, 0];
    const k = chosen() + x + y * wide(count());
    if (arrows[event.key] && k >= 0 && k < count()) pick(k);
    else if (event.key === "Enter") enter?.();
    else if (!arrows[event.key]) return;
    event.preventDefault();
  };
}

const pad = $("pad"); // mouse, pen, finger; and keys
const at = (event) => [event.offsetX / pad.clientWidth, event.offsetY / pad.clientHeight];
pad.onpointerdown = (event) => {
  pad.setPointerCapture(event.pointerId);
  setStrokes([...state.strokes, [at(event)]]);
};
pad.onpointermove = (event) => {
  if (!pad.hasPointerCapture(event.pointerId)) return;
  state.strokes.at(-1).push(at(event));
  draw();
};
pad.onkeydown = (event) => {
  const step = arrows[event.key];
  if (!step && ![" ", "Delete", "Backspace"].includes(event.key)) return;
  event.preventDefault();
  state.keys = true;
  if (step) state.pen = state.pen.map((v, i) => Math.min(0.95, Math.max(0.05, v + step[i] / 28)));
  if (step && state.down) state.strokes.at(-1).push(state.pen);
  else if (event.key === " " && (state.down = !state.down)) state.strokes.push([state.pen]);
  else if (!step && event.key !== " ") setStrokes([]);
  draw();
};

const undo = () => setStrokes(state.strokes.slice(0, -1));
const acts = { undo, clear: () => setStrokes([]), flip, restore };
for (const [id, act] of Object.entries(acts)) $(id).onclick = act;
for (const button of document.querySelectorAll("[data-strokes]"))
  button.onclick = () => setStrokes(JSON.parse(button.dataset.strokes));
layers.forEach(({ units, at: hidden }, layer) => {
  const chosen = () => (state.layer === layer ? state.unit : 0);
  const pick = (unit) => choose(layer, unit);
  if (hidden) onCells($(`bits${layer}`), () => units, chosen, pick);
  else for (let k = 0; k < units; k++) $(`class${k}`).onclick = () => pick(k);
});
const pickWeight = (weight) => drawUnit((state.weight = weight));
onCells($("weights"), () => layers[state.layer].inputs, () => state.weight, pickWeight, flip);
matchMedia("(prefers-color-scheme: dark)").onchange = draw;
draw();
document.querySelector("[data-strokes]:nth-of-type(4)")?.click(); // a digit to begin with
