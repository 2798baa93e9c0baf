// What the page fetches: tiles by address, kept and asked for a few at a time, the latest wish first.

const MOST_TILES = 600, AT_ONCE = 6;

export class Fetcher {
  // onChange is called when something arrived or failed; onError with a text for people.
  constructor(onChange, onError) {
    this.onChange = onChange;
    this.onError = onError;
    this.kept = new Map();      // address -> {values, shape}, least recently used first
    this.failed = new Set();
    this.running = new Set();
    this.wanted = [];
  }

  // The array at an address, or null while it is not there yet; it is asked for if this frame wants it.
  array(address) {
    const found = this.kept.get(address);
    if (found) {
      this.kept.delete(address);
      this.kept.set(address, found);
      return found;
    }
    if (!this.failed.has(address) && !this.running.has(address)) this.wanted.push(address);
    return null;
  }

  // What is kept, without asking for it.
  peek(address) { return this.kept.get(address) || null; }

  // Forget the wishes of the last frame: what is out of sight by now need not be fetched.
  beginFrame() { this.wanted = []; }

  get isIdle() { return this.running.size === 0 && this.wanted.length === 0; }

  retry() { this.failed.clear(); }

  pump() {
    while (this.running.size < AT_ONCE && this.wanted.length) {
      const address = this.wanted.shift();
      if (this.running.has(address) || this.kept.has(address)) continue;
      this.running.add(address);
      this._fetch(address).finally(() => { this.running.delete(address); this.onChange(); });
    }
  }

  async _fetch(address) {
    try {
      const reply = await fetch(address);
      if (!reply.ok) throw new Error((await reply.json()).error);
      const isArray = reply.headers.has("X-Shape");
      const content = isArray
        ? { values: new Float32Array(await reply.arrayBuffer()), shape: reply.headers.get("X-Shape").split(",").map(Number) }
        : { values: await reply.json() };
      this.kept.set(address, content);
      while (this.kept.size > MOST_TILES) this.kept.delete(this.kept.keys().next().value);
    } catch (error) {
      this.failed.add(address);
      this.onError(sayError(error));
    }
  }
}

export async function getJson(address) {
  const reply = await fetch(address);
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  return content;
}

export function sayError(error) {
  return error instanceof TypeError
    ? "The epizarr view command no longer answers. Start it again in its terminal, then reload this page."
    : error.message;
}

export function query(path, parameters) { return `${path}?${new URLSearchParams(parameters)}`; }
