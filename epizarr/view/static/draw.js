// Drawing on canvases: colours, triangles, tracks, genes and axes. Knows nothing of the store.

export const MISSING = [201, 204, 209], TRACK_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195"];
const FALL = ["#ffffff", "#ffffcc", "#ffefa5", "#fedc7f", "#febf5b", "#fd9d43", "#fc7033", "#f23d26", "#d91a1c", "#b60026", "#800026", "#000000"];
const DIVERGING = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"];
const N_COLOURS = 512;

// Colours as 32-bit pixels (little-endian ABGR).
function makeTable(stops) {
  const rgb = stops.map(s => [1, 3, 5].map(i => parseInt(s.slice(i, i + 2), 16)));
  const table = new Uint32Array(N_COLOURS);
  for (let i = 0; i < N_COLOURS; i++) {
    const at = i / (N_COLOURS - 1) * (rgb.length - 1), lo = Math.min(Math.floor(at), rgb.length - 2), t = at - lo;
    const [r, g, b] = rgb[lo].map((v, c) => Math.round(v + (rgb[lo + 1][c] - v) * t));
    table[i] = (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  }
  return table;
}
const TABLES = { log: makeTable(FALL), linear: makeTable(FALL), diverging: makeTable(DIVERGING) };
const pack = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
const MISSING_PIXEL = pack(MISSING), WAITING_PIXEL = pack([241, 243, 246]), OUTSIDE_PIXEL = pack([255, 255, 255]);

// A scale {kind, low, high} as a function from value to place in the table.
function placer(scale) {
  const top = N_COLOURS - 1;
  if (scale.kind === "log") {
    const low = Math.log(scale.low), factor = top / (Math.log(scale.high) - low);
    return v => v <= scale.low ? 0 : Math.min(top, (Math.log(v) - low) * factor) | 0;
  }
  const factor = top / (scale.high - scale.low);
  return v => Math.max(0, Math.min(top, (v - scale.low) * factor)) | 0;
}

// Fit a canvas to its box in device pixels; returns a context in CSS pixels.
export function fit(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, ratio };
}

// Which pixel of the map lies at a position and a distance (both in bins): {left, right, k, middle}.
export function pixelAt(position, distance) {
  const left = Math.floor(position - distance / 2), right = Math.floor(position + distance / 2), k = right - left;
  return { left, right, k, middle: left + ((k + 1) >> 1) };
}

// Draw stripes as a triangle. ``rows`` = {values, first, factor, n_offsets, loaded}: means of stripes from row ``first`` on, and
// which rows are there. ``isQuick`` while the map moves: one sample a pixel. Returns how many pixels were known.
export function drawTriangle(context, ratio, box, rows, scale, bins, isQuick) {
  const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
  if (width < 1 || height < 1) return 0;
  const image = context.createImageData(width, height), out = new Uint32Array(image.data.buffer);
  const table = TABLES[scale.kind], place = placer(scale);
  const { values, first, factor, n_offsets: n, loaded } = rows, nRows = loaded.length;
  // Where a bin has few pixels, a pixel is the mean of four samples: single ones would draw a pattern that is not in the map.
  const nParts = width / bins.length < 4 && !isQuick ? 2 : 1, perPixel = bins.length / width, half = bins.reach / 2 / height;
  let known = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width; x < width; x++, at++) {
      let sum = 0, number = 0, other = OUTSIDE_PIXEL;
      for (let i = 0; i < nParts; i++) {
        const position = bins.start + (x + (i + 0.5) / nParts) * perPixel;
        for (let j = 0; j < nParts; j++) {
          const reach = (height - y - (j + 0.5) / nParts) * half;
          const left = Math.floor(position - reach), right = Math.floor(position + reach), k = right - left;
          if (left < 0 || right >= bins.total || k >= n) continue;
          const row = Math.floor((left + ((k + 1) >> 1)) / factor) - first;
          if (row < 0 || row >= nRows || !loaded[row]) { other = WAITING_PIXEL; continue; }
          const value = values[row * n + k];
          if (value === value) { sum += value; number++; } else other = MISSING_PIXEL;
        }
      }
      if (number) { out[at] = table[place(sum / number)]; known++; } else out[at] = other;
    }
  }
  context.putImageData(image, Math.round(box.x * ratio), Math.round(box.y * ratio));
  return known;
}

export function drawLegend(canvas, kind) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const out = new Uint32Array(image.data.buffer);
  for (let i = 0; i < out.length; i++) out[i] = TABLES[kind][Math.floor((i % canvas.width) / canvas.width * N_COLOURS)];
  context.putImageData(image, 0, 0);
}

// Text with a pale ground, so that it can be read over a map.
export function label(context, text, x, y, { bold = false, colour = "#1f2733", size = 13 } = {}) {
  context.font = `${bold ? "600 " : ""}${size}px system-ui, "Segoe UI", "Liberation Sans", sans-serif`;
  context.textAlign = "left"; context.textBaseline = "middle";
  const width = context.measureText(text).width;
  context.fillStyle = "#ffffffd9"; context.fillRect(x - 4, y - size * 0.8, width + 8, size * 1.6);
  context.fillStyle = colour; context.fillText(text, x, y);
}

function plain(context, text, x, y, align, size = 11, colour = "#66707f", style = "") {
  context.font = `${style} ${size}px system-ui, "Segoe UI", "Liberation Sans", sans-serif`;
  context.textAlign = align; context.textBaseline = "middle"; context.fillStyle = colour;
  context.fillText(text, x, y);
}

export function niceStep(span, most) {
  const rough = span / most, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map(m => m * power).find(step => step >= rough);
}

export function sayBp(bp) {
  return bp >= 1e6 ? `${trim(bp / 1e6)} Mb` : bp >= 1e3 ? `${trim(bp / 1e3)} kb` : `${Math.round(bp)} bp`;
}
const trim = v => String(parseFloat(v.toPrecision(4)));

// Distances at the left of a map.
export function drawDistanceAxis(context, box, reachBp) {
  const step = niceStep(reachBp, 4);
  context.strokeStyle = "#aab2bd"; context.lineWidth = 1;
  context.beginPath(); context.moveTo(box.x - 0.5, box.y); context.lineTo(box.x - 0.5, box.y + box.height); context.stroke();
  for (let d = step; d < reachBp * 0.97; d += step) {
    const y = box.y + box.height * (1 - d / reachBp);
    context.beginPath(); context.moveTo(box.x - 4, y); context.lineTo(box.x, y); context.stroke();
    plain(context, sayBp(d), box.x - 7, y, "right");
  }
}

// Positions along the genome, under or over the panels.
export function drawGenomeAxis(context, box, start, end, chrom) {
  const step = niceStep(end - start, Math.max(2, box.width / 110));
  const digits = Math.max(0, Math.min(6, 6 - Math.floor(Math.log10(step))));
  context.strokeStyle = "#6b7481"; context.lineWidth = 1;
  context.beginPath(); context.moveTo(box.x, box.y + 0.5); context.lineTo(box.x + box.width, box.y + 0.5); context.stroke();
  for (let p = Math.ceil(start / step) * step; p <= end; p += step) {
    const x = box.x + (p - start) / (end - start) * box.width;
    context.beginPath(); context.moveTo(x, box.y); context.lineTo(x, box.y + 5); context.stroke();
    const text = (p / 1e6).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    if (x > box.x + 12 && x < box.x + box.width - 12) plain(context, text, x, box.y + 13, "center", 11.5, "#1f2733");
  }
  plain(context, `${chrom} (Mb)`, box.x - 7, box.y + 12, "right", 11.5, "#1f2733");
}

// One track as a filled area; NaN is grey. Values are means of equal stretches from ``from`` on, ``width`` bp each.
export function drawTrack(context, box, track, start, end) {
  const { values, from, width, limit, low, colour } = track;
  const scale = box.width / (end - start), zero = box.y + box.height * (limit / (limit - low));
  context.save();
  context.beginPath(); context.rect(box.x, box.y, box.width, box.height); context.clip();
  const bottom = Math.max(low, Math.min(limit, 0)), yOf = v => zero - Math.max(low, Math.min(limit, v)) / (limit - low) * box.height;
  // One outline for all bins: rectangles side by side would show seams.
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(box.x + (from - start) * scale, zero);
  let lastX = -1e9;
  for (let i = 0; i < values.length; i++) {
    const x0 = box.x + (from + i * width - start) * scale, x1 = Math.max(x0 + width * scale, x0 + 1);
    const y = Number.isFinite(values[i]) ? yOf(values[i]) : yOf(bottom);
    context.lineTo(Math.max(x0, lastX), y);
    context.lineTo(x1, y);
    lastX = x1;
  }
  context.lineTo(lastX, zero);
  context.fill();
  context.fillStyle = "#c9ccd1";
  for (let i = 0; i < values.length; i++) {
    if (values[i] === values[i]) continue;
    let last = i;
    while (last + 1 < values.length && values[last + 1] !== values[last + 1]) last++;
    context.fillRect(box.x + (from + i * width - start) * scale, box.y, (last - i + 1) * width * scale, box.height);
    i = last;
  }
  context.restore();
  context.fillStyle = "#d9dee5"; context.fillRect(box.x, Math.round(zero) - (low < 0 ? 0 : 1), box.width, 1);
  plain(context, track.name, box.x - 7, box.y + box.height / 2 - 6, "right", 12, "#1f2733");
  plain(context, `${trim(low)} – ${Number(limit.toPrecision(3))}`, box.x - 7, box.y + box.height / 2 + 9, "right", 10);
}

// Genes in rows, coding and long ones first.
export function drawGenes(context, box, genes, start, end, rowHeight) {
  const nRows = Math.max(1, Math.floor(box.height / rowHeight)), scale = box.width / (end - start), taken = [], drawn = [];
  const seen = genes.filter(g => g[0] < end && g[1] > start);
  const order = [...seen].sort((a, b) => (b[5] - a[5]) || ((b[1] - b[0]) - (a[1] - a[0])));
  context.font = "italic 11px system-ui, \"Segoe UI\", \"Liberation Sans\", sans-serif";
  for (const gene of order) {
    const x0 = Math.max(box.x, box.x + (gene[0] - start) * scale), x1 = Math.min(box.x + box.width, box.x + (gene[1] - start) * scale);
    const arrow = { "+": " ›", "-": " ‹" }[gene[3]] || "", text = gene[2] + arrow;
    const room = context.measureText(text).width + 8, isLeft = x0 - room >= box.x, lo = isLeft ? x0 - room : x0;
    const hi = Math.max(x1, x0 + 1) + (isLeft ? 4 : room);
    let row = taken.findIndex(places => places.every(([a, b]) => hi <= a || b <= lo));
    if (row < 0) { if (taken.length >= nRows) continue; row = taken.push([]) - 1; }
    taken[row].push([lo, hi]);
    drawn.push({ gene, row, x0, x1, text, isLeft });
  }
  context.save();
  context.beginPath(); context.rect(box.x, box.y, box.width, box.height); context.clip();
  for (const { gene, row, x0, x1, text, isLeft } of drawn) {
    const y = box.y + (row + 0.5) * rowHeight;
    context.fillStyle = gene[5] ? "#2b3f6b" : "#7d8bab";
    context.fillRect(x0, y - 0.5, Math.max(1, x1 - x0), 1);
    for (const [s, e] of gene[4]) {
      const a = box.x + (s - start) * scale, b = box.x + (e - start) * scale;
      if (b > box.x && a < box.x + box.width) context.fillRect(a, y - 4, Math.max(1, b - a), 8);
    }
    plain(context, text, isLeft ? x0 - 3 : x1 + 4, y, isLeft ? "right" : "left", 11, context.fillStyle, "italic");
  }
  context.restore();
  const note = !seen.length ? "none here" : drawn.length < seen.length ? `${drawn.length} of ${seen.length}` : "";
  plain(context, "genes", box.x - 7, box.y + rowHeight / 2, "right", 12, "#1f2733");
  plain(context, note, box.x - 7, box.y + rowHeight / 2 + 14, "right", 10);
}

export function drawMessage(context, box, text) {
  context.font = "13px system-ui, \"Segoe UI\", \"Liberation Sans\", sans-serif";
  const width = context.measureText(text).width;
  label(context, text, box.x + (box.width - width) / 2, box.y + box.height / 2, { colour: "#66707f" });
}

export function drawOverview(context, left, width, chrom, length, start, end) {
  context.clearRect(0, 0, left + width + 99, 40);
  plain(context, chrom, left - 7, 13, "right", 12, "#1f2733", "600");
  context.save();
  context.translate(left, 0);
  context.fillStyle = "#eceff3"; context.beginPath(); context.roundRect(0.5, 8.5, width - 1, 9, 4.5); context.fill();
  const step = niceStep(length, Math.max(2, width / 90));
  for (let p = step; p < length; p += step) {
    const x = p / length * width;
    context.fillStyle = "#c3cad4"; context.fillRect(x, 9, 1, 8);
  }
  const x0 = start / length * width, w = Math.max(5, (end - start) / length * width);
  context.fillStyle = "#b3202c2e"; context.strokeStyle = "#b3202c"; context.lineWidth = 1.4;
  context.beginPath(); context.roundRect(Math.min(x0, width - w), 4, w, 18, 3); context.fill(); context.stroke();
  context.restore();
}
