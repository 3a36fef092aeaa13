// Brings the anywidgets saved in this page to life: no kernel, no network, and from
// file:// too. Jupyter saved each widget's state (its script and style included) as
// JSON; each view's script tag is replaced by what the widget draws on its model.
(() => {
  "use strict";
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

  const bytes = (base64) =>
    new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

  const same = (a, b) =>
    Object.is(a, b) ||
    (!ArrayBuffer.isView(a) && !ArrayBuffer.isView(b) &&
      JSON.stringify(a) === JSON.stringify(b));

  // The part of Jupyter's widget model that works without a kernel.
  class Model {
    constructor({ state, buffers = [] }) {
      this.state = state;
      this.listeners = [];
      for (const { path, data } of buffers) {
        const last = path.at(-1);
        path.slice(0, -1).reduce((at, key) => at[key], state)[last] = bytes(data);
      }
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      const values = typeof name === "string" ? { [name]: value } : name;
      const changed = Object.keys(values).filter((k) => !same(this.state[k], values[k]));
      Object.assign(this.state, values);
      for (const k of changed) this.emit(`change:${k}`, values[k]);
      if (changed.length) this.emit("change");
    }
    on(names, callback) {
      for (const name of names.split(/\s+/)) this.listeners.push({ name, callback });
    }
    off(names, callback) {
      const list = names?.split(/\s+/);
      const gone = (l) =>
        (!list || list.includes(l.name)) && (!callback || l.callback === callback);
      this.listeners = this.listeners.filter((l) => !gone(l));
    }
    emit(name, value) {
      for (const l of [...this.listeners]) if (l.name === name) l.callback(this, value);
    }
    save_changes() {} // there is no kernel to tell
    send() {}
  }

  // One script is imported once, however many widgets of a page share it.
  const scripts = {};
  async function script(source) {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const exported = (await import(url)).default;
    URL.revokeObjectURL(url);
    return exported;
  }

  // One model is loaded and initialised once, however many views show it.
  async function load(saved) {
    const model = new Model(saved);
    const id = model.get("_anywidget_id");
    if (model.get("_css") && !document.getElementById(id)) {
      const style = Object.assign(document.createElement("style"), { id });
      style.textContent = model.get("_css");
      document.head.append(style);
    }
    const exported = await (scripts[model.get("_esm")] ??= script(model.get("_esm")));
    const widget = typeof exported === "function" ? await exported() : exported;
    const signal = new AbortController().signal;
    await widget.initialize?.({ model, signal });
    return { model, widget, signal };
  }

  async function mountAll() {
    const saved = {};
    for (const tag of document.querySelectorAll(STATE))
      Object.assign(saved, JSON.parse(tag.textContent).state);
    const loaded = {};
    for (const tag of document.querySelectorAll(VIEW)) {
      const id = JSON.parse(tag.textContent).model_id;
      if (saved[id]?.model_module !== "anywidget") continue;
      const el = document.createElement("div");
      el.className = "static-widget";
      tag.replaceWith(el);
      try {
        const { model, widget, signal } = await (loaded[id] ??= load(saved[id]));
        await widget.render({ model, el, signal });
      } catch (error) {
        el.textContent = "This interactive figure could not start in your browser.";
        console.error(error);
      }
    }
  }

  if (document.readyState === "loading")
    document.addEventListener("DOMContentLoaded", mountAll);
  else mountAll();
})();
