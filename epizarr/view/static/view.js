// The page: what is shown, what the controls and the pointer do, and one frame of drawing.

import { Fetcher, getJson, query, sayError } from "./data.js";
import * as draw from "./draw.js";

const $ = id => document.getElementById(id);
const GUTTER = 92, RIGHT = 10, GAP = 6, TRACK = 32, GENE_ROW = 15, GENE_ROWS = 4, AXIS = 26;
const LEAST_MAP = 130, LARGEST_MAP = 520, LEAST_BINS = 8, GENES_UP_TO = 30e6;
const MODES = { log: "contacts, log", linear: "contacts, linear", oe: "observed / expected" };

let store;                   // what the server has (see StoreView.description)
const state = { chrom: "", start: 0, end: 1, map: null, second: null, difference: false, mode: "log", tracks: [] };
const scales = new Map();    // name of a scale -> {kind, low, high, autoLow, autoHigh, label}
let panels = [];             // what the last frame drew, for hovering
let pointer = null, isPending = false, settling = 0;

const fetcher = new Fetcher(() => schedule(), showError);

// ---- state ----------------------------------------------------------------------------------------------------------------

const chromLength = name => store.chroms.find(c => c.name === name).length;
const mapOf = key => store.maps.find(m => m.key === key) || null;

// Move to a stretch of the present chromosome; it is kept on it, and not narrower than a few bins.
function setView(start, end) {
  const total = chromLength(state.chrom), least = Math.min(total, LEAST_BINS * state.map.binsize);
  let length = Math.min(total, Math.max(least, end - start));
  const middle = (start + end) / 2;
  start = Math.min(Math.max(0, middle - length / 2), total - length);
  state.start = start;
  state.end = start + length;
  // Frames of a movement are drawn quickly, the one after it well.
  clearTimeout(settling);
  settling = setTimeout(() => { settling = 0; schedule(); }, 120);
  changed();
}

const zoom = (factor, at = (state.start + state.end) / 2) =>
  setView(at - (at - state.start) * factor, at + (state.end - at) * factor);
// Move by a share of what is in sight; at the end of a chromosome, to the next one.
function move(share) {
  const by = (state.end - state.start) * share, length = state.end - state.start;
  const isAtEnd = share < 0 ? state.start <= 0 : state.end >= chromLength(state.chrom);
  const next = store.chroms[store.chroms.findIndex(c => c.name === state.chrom) + Math.sign(share)];
  if (!isAtEnd || !next) { setView(state.start + by, state.end + by); return; }
  state.chrom = next.name;
  if (share > 0) setView(0, length); else setView(next.length - length, next.length);
}

function regionText() {
  const say = v => Math.round(v).toLocaleString("en");
  return `${state.chrom}:${say(state.start)}-${say(Math.min(state.end, chromLength(state.chrom)))}`;
}

function changed() {
  const text = regionText();
  if (document.activeElement !== $("region")) $("region").value = text;
  $("chrom").value = state.chrom;
  $("region").classList.remove("bad");
  const parts = new URLSearchParams({ region: text, map: state.map.key, mode: state.mode });
  if (state.second) parts.set("second", state.second.key);
  if (state.difference) parts.set("difference", "1");
  for (const key of state.tracks.length ? state.tracks : [""]) parts.append("track", key);
  history.replaceState(null, "", `#${parts}`);
  const file = new URLSearchParams({ region: text, map: state.map.key });
  $("csv").href = `/download.csv?${file}`;
  if (state.second) file.set("second", state.second.key);
  if (state.difference) file.set("difference", "1");
  if (state.mode === "oe") file.set("oe", "1");
  state.tracks.forEach(key => file.append("track", key));
  $("png").href = `/download.png?${file}`;
  schedule();
}

async function goTo(text) {
  try {
    const region = await getJson(query("/api/region", { text }));
    state.chrom = region.chrom;
    $("region").blur();
    setView(region.start, region.end);
    hideError();
  } catch (error) {
    $("region").classList.add("bad");
    showError(sayError(error));
  }
}

// ---- controls -------------------------------------------------------------------------------------------------------------

function option(value, text) {
  const item = document.createElement("option");
  item.value = value;
  item.textContent = text;
  return item;
}

const sayMap = m => `${m.title}${new Set(store.maps.map(x => x.binsize)).size > 1 ? ` (${m.binsize / 1000} kb)` : ""}`;

function fillControls() {
  const others = store.maps.filter(m => m.binsize === state.map.binsize && m !== state.map);
  if (!others.includes(state.second)) state.second = null;
  $("map").replaceChildren(...store.maps.map(m => option(m.key, sayMap(m))));
  $("map").value = state.map.key;
  $("second").replaceChildren(option("", others.length ? "nothing" : "no other map of this bin size"),
    ...others.map(m => option(m.key, sayMap(m))));
  $("second").value = state.second ? state.second.key : "";
  const canSubtract = state.second && (state.second.kind === "log") === (state.map.kind === "log")
    && (state.map.kind === "log" || state.map.quantity === state.second.quantity);
  if (!canSubtract) state.difference = false;
  $("difference").checked = state.difference;
  $("difference").disabled = !canSubtract;
  $("difference-label").title = canSubtract ? "Second map minus first" :
    state.second ? "These two hold different quantities" : "Choose a second map first";
  const isContacts = [state.map, state.second].some(m => m && m.kind === "log");
  $("mode").replaceChildren(...(isContacts ? Object.entries(MODES).map(([k, v]) => option(k, v)) : [option("log", "as stored")]));
  $("mode").value = isContacts ? state.mode : "log";
  fillTracks();
}

function fillTracks() {
  const types = [...new Set(store.tracks.map(t => t.cell_type))], box = $("track-list");
  box.replaceChildren();
  if (!types.length) box.append("This store has no tracks.");
  for (const type of types) {
    const heading = document.createElement("b");
    heading.textContent = type;
    box.append(heading);
    for (const track of store.tracks.filter(t => t.cell_type === type)) {
      const label = document.createElement("label"), tick = document.createElement("input");
      tick.type = "checkbox";
      tick.checked = state.tracks.includes(track.key);
      tick.onchange = () => {
        const on = new Set(state.tracks);
        on[tick.checked ? "add" : "delete"](track.key);
        state.tracks = store.tracks.map(t => t.key).filter(key => on.has(key));
        changed();
      };
      label.append(tick, ` ${track.name}`);
      box.append(label);
    }
  }
}

const firstTracks = type => store.tracks.filter(t => t.cell_type === type).slice(0, store.first_tracks).map(t => t.key);

function connectControls() {
  $("chrom").replaceChildren(...store.chroms.map(c => option(c.name, c.name)));
  $("chrom").onchange = () => goTo($("chrom").value);
  $("go").onsubmit = event => { event.preventDefault(); goTo($("region").value); };
  $("left").onclick = () => move(-0.5);
  $("right").onclick = () => move(0.5);
  $("in").onclick = () => zoom(0.5);
  $("out").onclick = () => zoom(2);
  $("whole").onclick = () => setView(0, chromLength(state.chrom));
  $("map").onchange = () => {
    const before = state.map;
    state.map = mapOf($("map").value);
    if (state.map.cell_type !== before.cell_type) state.tracks = firstTracks(state.map.cell_type);
    fillControls();
    changed();
  };
  $("second").onchange = () => { state.second = mapOf($("second").value); fillControls(); changed(); };
  $("difference").onchange = () => { state.difference = $("difference").checked; changed(); };
  $("mode").onchange = () => { state.mode = $("mode").value; changed(); };
  $("help").onclick = () => $("help-dialog").showModal();
  $("banner").querySelector("button").onclick = hideError;
  $("tracks").addEventListener("toggle", () => {
    const isRight = $("tracks").getBoundingClientRect().left > window.innerWidth / 2;
    Object.assign($("track-list").style, isRight ? { left: "auto", right: "0" } : { left: "0", right: "auto" });
  });
  document.addEventListener("click", event => { if (!$("tracks").contains(event.target)) $("tracks").open = false; });
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", () => schedule());
  window.addEventListener("hashchange", () => { const region = readAddress(); fillControls(); if (region) goTo(region); });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|DIALOG/.test(event.target.tagName) && event.key !== "Escape") return;
  const actions = {
    ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
    Home: () => setView(0, chromLength(state.chrom)), "?": () => $("help-dialog").showModal(),
    "/": () => { $("region").focus(); $("region").select(); },
    Escape: () => { $("region").blur(); $("region").value = regionText(); $("region").classList.remove("bad"); hideError(); },
  };
  if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
}

function showError(text) {
  $("banner").firstElementChild.textContent = text;
  $("banner").hidden = false;
}
function hideError() {
  $("banner").hidden = true;
  fetcher.retry();
  schedule();
}

// ---- legends: one for each scale in use -----------------------------------------------------------------------------------

const sayNumber = v => v !== 0 && (Math.abs(v) < 0.01 || Math.abs(v) >= 1e4) ? v.toExponential(1) : String(Number(v.toPrecision(2)));

function fillLegends(names) {
  const box = $("legends");
  if (box.dataset.names !== names.join("|")) {
    box.dataset.names = names.join("|");
    box.replaceChildren(...names.map(makeLegend));
  }
  names.forEach((name, i) => {
    const scale = scales.get(name), legend = box.children[i];
    legend.querySelector(".low").textContent = sayNumber(scale.low);
    legend.querySelector(".high").textContent = sayNumber(scale.high);
    if (document.activeElement !== legend.querySelector("input")) legend.querySelector("input").value = sliderOf(scale);
  });
}

// The slider goes from a tenth of the fitted top to ten times of it.
const sliderOf = scale => 500 + 500 * Math.log10(scale.high / scale.autoHigh);
function slide(scale, value) {
  const high = scale.autoHigh * 10 ** ((value - 500) / 500);
  scale.high = scale.kind === "log" ? Math.max(high, scale.low * 1.2) : high;
  if (scale.kind === "diverging") scale.low = -scale.high;
}

function makeLegend(name) {
  const scale = scales.get(name), legend = $("legend").content.firstElementChild.cloneNode(true);
  legend.querySelector(".what").textContent = scale.label;
  draw.drawLegend(legend.querySelector("canvas"), scale.kind);
  const slider = legend.querySelector("input");
  slider.oninput = () => { slide(scale, Number(slider.value)); schedule(); };
  legend.querySelector("button").onclick = () => { scales.delete(name); schedule(); };
  return legend;
}

function fitScale(kind, label, arrays) {
  const known = [];
  for (const values of arrays) {
    const step = Math.max(1, Math.floor(values.length / 40000));
    for (let i = 0; i < values.length; i += step) {
      const v = values[i];
      if (Number.isFinite(v) && (kind !== "log" || v > 0)) known.push(kind === "diverging" ? Math.abs(v) : v);
    }
  }
  if (!known.length) return null;
  known.sort((a, b) => a - b);
  const at = q => known[Math.min(known.length - 1, Math.floor(q * known.length))];
  const high = { log: at(0.995), linear: at(0.99), diverging: at(0.98) }[kind] || 1;
  const low = kind === "log" ? Math.min(at(0.02), high / 1.2) : kind === "linear" ? 0 : -high;
  return { kind, low, high, autoHigh: high, label };
}

// ---- one frame ------------------------------------------------------------------------------------------------------------

function schedule() {
  document.body.dataset.state = "loading";
  if (!isPending) { isPending = true; requestAnimationFrame(frame); }
}

const factorFor = (bpPerPixel, binsize) => 2 ** Math.max(0, Math.floor(Math.log2(bpPerPixel / binsize)));

// Rows of a map that are in sight, put together from tiles; where one has not come yet, from a coarser one that is kept.
function gather(map, factor) {
  const n = map.n_diagonals, perTile = store.tile, bins = Math.ceil(chromLength(state.chrom) / map.binsize);
  const first = Math.max(0, Math.floor((state.start / map.binsize - 1) / factor));
  const last = Math.min(Math.ceil(bins / factor), Math.ceil((state.end / map.binsize + 1) / factor));
  const values = new Float32Array((last - first) * n), loaded = new Uint8Array(last - first);
  const address = (f, tile) => query("/api/map", { map: map.key, chrom: state.chrom, factor: f, tile });
  let isWhole = true;
  for (let tile = Math.floor(first / perTile); tile * perTile < last; tile++) {
    const lo = Math.max(first, tile * perTile), hi = Math.min(last, (tile + 1) * perTile);
    const there = fetcher.array(address(factor, tile));
    if (there) {
      const end = Math.min(hi, tile * perTile + there.shape[0]);
      values.set(there.values.subarray((lo - tile * perTile) * n, (end - tile * perTile) * n), (lo - first) * n);
      loaded.fill(1, lo - first, end - first);
      continue;
    }
    isWhole = false;
    for (let row = lo; row < hi; row++) {
      for (const f of [2, 4, 8]) {
        const coarse = Math.floor(row / f), kept = fetcher.peek(address(factor * f, Math.floor(coarse / perTile)));
        const from = coarse % perTile;
        if (kept && from < kept.shape[0]) {
          values.set(kept.values.subarray(from * n, (from + 1) * n), (row - first) * n);
          loaded[row - first] = 1;
          break;
        }
      }
    }
  }
  return { values, first, factor, n_offsets: n, loaded, isWhole };
}

function divide(map, rows) {
  const mean = fetcher.array(query("/api/expected", { map: map.key, chrom: state.chrom }));
  const n = rows.n_offsets, values = new Float32Array(rows.values.length).fill(NaN);
  if (!mean) return { ...rows, values, isWhole: false, loaded: new Uint8Array(rows.loaded.length) };
  for (let k = 0; k < n; k++) {
    const m = mean.values[k];
    if (m > 0) for (let i = k; i < values.length; i += n) values[i] = rows.values[i] / m;
  }
  return { ...rows, values };
}

function subtract(second, first) {
  const n = Math.min(first.n_offsets, second.n_offsets), values = new Float32Array(first.loaded.length * n);
  const loaded = first.loaded.map((v, i) => v & second.loaded[i]);
  for (let row = 0; row < loaded.length; row++)
    for (let k = 0; k < n; k++)
      values[row * n + k] = second.values[row * second.n_offsets + k] - first.values[row * first.n_offsets + k];
  return { ...first, values, loaded, n_offsets: n, isWhole: first.isWhole && second.isWhole };
}

// The maps to draw: {title, rows, name, kind, label}; those with one name share a scale.
function mapPanels(factor) {
  const maps = [state.map, state.second].filter(Boolean), raw = maps.map(m => gather(m, factor));
  const isOver = m => m.kind === "log" && state.mode === "oe";
  const list = maps.map((m, i) => ({
    title: m.title, map: m,
    rows: isOver(m) ? divide(m, raw[i]) : raw[i],
    name: isOver(m) ? "oe" : `${m.quantity}-${m.kind === "log" ? state.mode : m.kind}`,
    kind: isOver(m) ? "linear" : m.kind === "log" ? state.mode : m.kind,
    label: isOver(m) ? "observed / expected" : m.quantity,
  }));
  if (state.difference && maps.length > 1) {
    const [a, b] = maps.map((m, i) => m.kind === "log" ? divide(m, raw[i]) : raw[i]);
    list.push({
      title: `${maps[1].title} − ${maps[0].cell_type === maps[1].cell_type ? maps[0].name : maps[0].title}`, map: maps[0], rows: subtract(b, a), name: `difference-${maps[0].quantity}`,
      kind: "diverging", label: maps[0].kind === "log" ? "difference of observed / expected" : `difference of ${maps[0].quantity}`,
    });
  }
  return list;
}

function trackValues(track, bpPerPixel) {
  const factor = factorFor(bpPerPixel, track.binsize), width = factor * track.binsize, total = chromLength(state.chrom);
  const first = Math.floor(state.start / width), last = Math.min(Math.ceil(state.end / width), Math.ceil(total / width));
  const values = new Float32Array(last - first).fill(Infinity);   // not there yet, which is not missing
  let isWhole = true;
  for (let tile = Math.floor(first / store.tile); tile * store.tile < last; tile++) {
    const there = fetcher.array(query("/api/signal", { track: track.key, chrom: state.chrom, factor, tile }));
    if (!there) { isWhole = false; continue; }
    const from = tile * store.tile, lo = Math.max(first, from), hi = Math.min(last, from + there.shape[0]);
    values.set(there.values.subarray(lo - from, hi - from), lo - first);
  }
  return { values, from: first * width, width, factor, isWhole };
}

// A round end of a track's axis above nearly all that is in sight.
function trackLimits(values) {
  const known = Array.from(values).filter(Number.isFinite), size = known.map(Math.abs).sort((a, b) => a - b);
  const high = size.length ? size[Math.floor(size.length * 0.995)] || size[size.length - 1] : 1;
  return { limit: high || 1, low: known.some(v => v < 0) ? -(high || 1) : 0 };
}

function frame() {
  isPending = false;
  fetcher.beginFrame();
  const width = $("stage-box").clientWidth, inner = width - GUTTER - RIGHT, bpPerPixel = (state.end - state.start) / inner;
  const factor = factorFor(bpPerPixel, state.map.binsize), maps = mapPanels(factor);
  const tracks = state.tracks.map(key => store.tracks.find(t => t.key === key)).filter(Boolean);
  const hasGenes = store.genes !== null, geneHeight = hasGenes ? GENE_ROW * GENE_ROWS + GAP : 0;
  const below = Math.max(1, tracks.length) * (TRACK + GAP) + geneHeight + AXIS;
  const top = $("stage-box").getBoundingClientRect().top + window.scrollY;
  const room = (window.innerHeight - top - 32 - below) / maps.length - GAP;
  const mapHeight = Math.round(Math.min(LARGEST_MAP, Math.max(LEAST_MAP, room)));
  const height = maps.length * (mapHeight + GAP) + below;
  const { context, ratio } = draw.fit($("stage"), width, height);
  context.clearRect(0, 0, width, height);
  panels = [];

  for (const panel of maps) {
    if (!scales.has(panel.name) && maps.filter(p => p.name === panel.name).every(p => p.rows.isWhole)) {
      const fitted = fitScale(panel.kind, panel.label, maps.filter(p => p.name === panel.name).map(p => p.rows.values));
      if (fitted) scales.set(panel.name, fitted);
    }
  }
  fillLegends([...new Set(maps.map(p => p.name))].filter(name => scales.has(name)));

  let y = 0, isWhole = true, known = 0;
  const span = Math.max(...maps.map(p => p.rows.n_offsets * p.map.binsize));
  // Angles are 45° (a bp is as wide as half a bp of distance is high) until the band is seen whole; then it fills its place.
  const reachBp = Math.min(span, 2 * mapHeight * bpPerPixel);
  for (const panel of maps) {
    const box = { x: GUTTER, y, width: inner, height: mapHeight }, size = panel.map.binsize;
    const bins = { start: state.start / size, length: (state.end - state.start) / size, reach: reachBp / size,
      total: Math.ceil(chromLength(state.chrom) / size) };
    const scale = scales.get(panel.name) || { kind: "linear", low: 0, high: 1 };
    const seen = draw.drawTriangle(context, ratio, box, panel.rows, scale, bins, settling !== 0);
    known += seen;
    draw.drawDistanceAxis(context, box, reachBp);
    draw.label(context, panel.title, box.x + 10, box.y + 14, { bold: true });
    if (!panel.rows.isWhole) draw.label(context, "loading …", box.x + 10, box.y + 36, { colour: "#66707f", size: 12 });
    else if (!seen) draw.drawMessage(context, box, "No values here: not measured, unmappable, or not predicted. Try another place.");
    isWhole = isWhole && panel.rows.isWhole;
    panels.push({ ...panel, what: "map", box, bins, reachBp });
    y += mapHeight + GAP;
  }
  tracks.forEach((track, i) => {
    const box = { x: GUTTER, y, width: inner, height: TRACK }, rows = trackValues(track, bpPerPixel);
    const several = new Set(tracks.map(t => t.cell_type)).size > 1;
    const drawn = { ...rows, ...trackLimits(rows.values), name: several ? `${track.name} ${track.cell_type}` : track.name,
      colour: draw.TRACK_COLOURS[i % draw.TRACK_COLOURS.length] };
    draw.drawTrack(context, box, drawn, state.start, state.end);
    isWhole = isWhole && rows.isWhole;
    panels.push({ ...drawn, what: "track", box });
    y += TRACK + GAP;
  });
  if (!tracks.length) {
    const none = store.tracks.length ? "No tracks chosen: pick some under “tracks”." : "This store has no tracks.";
    draw.drawMessage(context, { x: GUTTER, y, width: inner, height: TRACK }, none);
    y += TRACK + GAP;
  }
  if (hasGenes) {
    const box = { x: GUTTER, y, width: inner, height: GENE_ROW * GENE_ROWS };
    if (state.end - state.start > GENES_UP_TO) draw.drawMessage(context, box, "Zoom in to see genes.");
    else {
      const genes = fetcher.array(query("/api/genes", { chrom: state.chrom }));
      if (genes) draw.drawGenes(context, box, genes.values, state.start, state.end, GENE_ROW);
      else { isWhole = false; draw.drawMessage(context, box, "reading genes …"); }
    }
    y += geneHeight;
  }
  draw.drawGenomeAxis(context, { x: GUTTER, y, width: inner, height: AXIS }, state.start, state.end, state.chrom);
  const over = draw.fit($("overview"), $("overview").clientWidth, 26);
  draw.drawOverview(over.context, GUTTER, inner, state.chrom, chromLength(state.chrom), state.start, state.end);

  fetcher.pump();
  const far = factor > 1 ? ` · means of ${factor} bins` : "";
  $("status").textContent = `${draw.sayBp(state.end - state.start)} · ${draw.sayBp(state.map.binsize)} bins${far}`;
  document.body.dataset.state = isWhole && !settling ? "drawn" : isWhole ? "loading" : fetcher.isIdle ? "failed" : "loading";
  document.body.dataset.known = known;
  hover();
}

// ---- pointer --------------------------------------------------------------------------------------------------------------

const positionAt = x => state.start + (x - GUTTER) / ($("stage-box").clientWidth - GUTTER - RIGHT) * (state.end - state.start);

function sayBin(bin, size) {
  const say = v => v.toLocaleString("en");
  return `${state.chrom}:${say(bin * size)}-${say(Math.min((bin + 1) * size, chromLength(state.chrom)))}`;
}

const sayValue = v => v === undefined || v === Infinity ? "loading …" : Number.isNaN(v) ? "missing" : String(Number(v.toPrecision(4)));

function hover() {
  const width = $("stage-box").clientWidth, height = $("stage").clientHeight;
  const { context } = draw.fit($("overlay"), width, height), tip = $("tip");
  context.clearRect(0, 0, width, height);
  const panel = pointer && pointer.x >= GUTTER && pointer.x <= width - RIGHT
    && panels.find(p => pointer.y >= p.box.y && pointer.y <= p.box.y + p.box.height);
  tip.hidden = !panel;
  if (!panel) return;
  const position = positionAt(pointer.x);
  let lines;
  const line = (...points) => {
    for (const [colour, size] of [["#ffffffb0", 3], ["#1f2733", 1]]) {
      context.strokeStyle = colour;
      context.lineWidth = size;
      context.beginPath();
      points.forEach(([x, y]) => context.lineTo(x, y));
      context.stroke();
    }
  };
  const xOf = bp => GUTTER + (bp - state.start) / (state.end - state.start) * (width - GUTTER - RIGHT);
  if (panel.what === "map") {
    const { box, bins, reachBp, rows, map } = panel, size = map.binsize;
    const distance = (1 - (pointer.y - box.y) / box.height) * reachBp;
    const at = draw.pixelAt(position / size, distance / size), row = Math.floor(at.middle / rows.factor) - rows.first;
    const isOff = at.left < 0 || at.right >= bins.total || at.k >= rows.n_offsets;
    const value = isOff || row < 0 || !rows.loaded[row] ? undefined : rows.values[row * rows.n_offsets + at.k];
    const bottom = box.y + box.height;
    for (const end of [position - distance / 2, position + distance / 2])
      line([pointer.x, pointer.y], [xOf(end), bottom], [xOf(end), height - AXIS]);
    lines = isOff ? ["outside the stored band or the chromosome"] : [
      `${panel.label}: ${sayValue(value)}${rows.factor > 1 ? ` (mean of ${rows.factor} bins)` : ""}`,
      sayBin(at.left, size), sayBin(at.right, size), `distance ${draw.sayBp(at.k * size)}`,
    ];
  } else {
    line([pointer.x, 0], [pointer.x, height - AXIS]);
    const index = Math.floor((position - panel.from) / panel.width), start = panel.from + index * panel.width;
    lines = [`${panel.name}: ${sayValue(panel.values[index])}${panel.factor > 1 ? " (mean)" : ""}`, sayBin(start / panel.width, panel.width)];
  }
  tip.textContent = lines.join("\n");
  const right = pointer.x + 16 + tip.offsetWidth > width;
  tip.style.left = `${right ? pointer.x - tip.offsetWidth - 14 : pointer.x + 16}px`;
  tip.style.top = `${Math.max(0, Math.min(pointer.y + 14, height - tip.offsetHeight - 4))}px`;
}

function connectPointer() {
  const stage = $("stage");
  let grip = null;
  const place = event => { const box = stage.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  stage.addEventListener("pointerdown", event => {
    if (event.button) return;
    grip = { x: event.clientX, start: state.start, end: state.end };
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
  });
  stage.addEventListener("pointermove", event => {
    pointer = place(event);
    if (!grip) { hover(); return; }
    const by = (grip.x - event.clientX) / (stage.clientWidth - GUTTER - RIGHT) * (grip.end - grip.start);
    setView(grip.start + by, grip.end + by);
  });
  const letGo = () => { grip = null; stage.classList.remove("dragging"); };
  stage.addEventListener("pointerup", letGo);
  stage.addEventListener("pointercancel", letGo);
  stage.addEventListener("pointerleave", () => { pointer = null; hover(); });
  stage.addEventListener("dblclick", event => zoom(0.4, positionAt(place(event).x)));
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    const unit = event.deltaMode ? 30 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move((event.deltaX || event.deltaY) * unit / 1200);
    else zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY * unit / 400))), positionAt(place(event).x));
  }, { passive: false });

  const overview = $("overview");
  const jump = event => {
    const half = (state.end - state.start) / 2, inner = overview.clientWidth - GUTTER - RIGHT;
    const at = (event.clientX - overview.getBoundingClientRect().left - GUTTER) / inner * chromLength(state.chrom);
    setView(at - half, at + half);
  };
  overview.addEventListener("pointerdown", event => { overview.setPointerCapture(event.pointerId); jump(event); });
  overview.addEventListener("pointermove", event => { if (event.buttons) jump(event); });
}

// ---- start ----------------------------------------------------------------------------------------------------------------

// What the address asks for; what it does not name, or what is not there, stays as it is.
function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (mapOf(asked.get("map"))) state.map = mapOf(asked.get("map"));
  if (asked.has("map")) state.second = mapOf(asked.get("second"));
  state.difference = asked.get("difference") === "1";
  if (MODES[asked.get("mode")]) state.mode = asked.get("mode");
  if (asked.has("track")) state.tracks = asked.getAll("track").filter(key => store.tracks.some(t => t.key === key));
  return asked.get("region");
}

async function begin() {
  try {
    store = await getJson("/api/store");
  } catch (error) {
    showError(sayError(error));
    return;
  }
  const { start } = store;
  document.title = `${store.store} – epizarr view`;
  $("store").textContent = `${store.store} · ${store.assembly}`;
  $("store").title = store.store;
  Object.assign(state, { chrom: start.region.chrom, start: start.region.start, end: start.region.end, map: mapOf(start.map),
    second: mapOf(start.second), tracks: firstTracks(mapOf(start.map).cell_type) });
  connectControls();
  connectPointer();
  const region = readAddress();
  fillControls();
  if (region) await goTo(region); else setView(state.start, state.end);
}

begin();
