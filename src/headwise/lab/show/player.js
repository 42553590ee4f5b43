/* The player: steps through a model's answers to an example, with what its heads did beside them.

   Each element of class hw-show holds a JSON script {runs: [{label, ...}, ...]}, as headwise/lab/show/packing.py packs
   it. Everything is built when it first comes into sight. */
"use strict";
(() => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const SVG = "http://www.w3.org/2000/svg";
  const GATES = [[31, 95, 153], [143, 184, 218], [242, 240, 234], [240, 168, 96], [179, 80, 10]];

  function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  }

  function bytes(text) {
    const raw = atob(text), found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
    return found;
  }

  const wide = text => { const b = bytes(text); return new Uint16Array(b.buffer); };

  /* Gates and attention of a run by frame, layer, head and token (null: the mean over tokens). */
  function heads(run) {
    const place = new Map(run.kept.map((token, i) => [token, i]));
    const gates = run.gates && { ...run.gates, data: wide(run.gates.data) };
    const looks = run.looks && {
      ...run.looks, mean: bytes(run.looks.mean), weight: bytes(run.looks.weight),
      at: run.looks.at && (run.looks.shape[4] > 256 ? wide(run.looks.at) : bytes(run.looks.at)),
    };
    const [, layers, count] = gates ? [0, gates.shape[1], gates.shape[3]] : looks ? looks.shape : [0, 0, 0];
    return {
      layers, count, routed: Boolean(gates), looking: Boolean(looks),
      has: token => token === null || place.has(token) || (!looks && gates && gates.same),
      gate(frame, layer, head, token) {
        if (!gates) return null;
        const row = gates.same || token === null || !place.has(token) ? 0 : 1 + place.get(token);
        const [, N, Q, H] = gates.shape;
        return gates.data[((frame * N + layer) * Q + row) * H + head] / gates.one;
      },
      look(frame, layer, head, token) {
        if (!looks) return null;
        const [, N, H, Q, L] = looks.shape, base = (frame * N + layer) * H + head;
        if (token === null) return Array.from(looks.mean.subarray(base * L, base * L + L), w => w / 255);
        if (!place.has(token)) return null;
        const row = base * Q + place.get(token);
        if (!looks.at) return Array.from(looks.weight.subarray(row * L, row * L + L), w => w / 255);
        const found = new Array(L).fill(0), k = looks.places;
        for (let i = row * k; i < row * k + k; i++) found[looks.at[i]] = looks.weight[i] / 255;
        return found;
      },
    };
  }

  function gateColour(gate, most) {
    const t = gate <= 1 ? 2 * gate : 2 + 2 * Math.min(1, (gate - 1) / Math.max(most - 1, 0.25));
    const i = Math.min(3, Math.floor(t)), part = t - i;
    return GATES[i].map((c, k) => Math.round(c + part * (GATES[i + 1][k] - c)));
  }

  const css = colour => `rgb(${colour.join(" ")})`;
  const ink = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z > 0.179 ? "#000" : "#fff";
  };
  const three = value => value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) :
    Math.abs(value) >= 10 ? value.toFixed(1) : Math.abs(value) >= 0.1 || value === 0 ? value.toFixed(2) : value.toPrecision(2);
  const percent = value => value === null || value === undefined ? "–" : `${(100 * value).toFixed(value < 0.0995 && value > 0 ? 1 : 0)} %`;

  /* A line over the steps, with the present one marked. */
  function chart(title, values, format, floor, ceiling) {
    const known = values.filter(v => v !== null);
    const low = Math.min(floor ?? Infinity, ...known), high = Math.max(ceiling ?? -Infinity, ...known), span = high - low || 1;
    const W = 150, H = 40, x = i => values.length < 2 ? W / 2 : 5 + i * (W - 10) / (values.length - 1), y = v => H - 6 - (v - low) / span * (H - 12);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.setAttribute("aria-hidden", "true");
    let d = "";
    values.forEach((v, i) => { if (v !== null) d += `${d ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`; });
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", "hw-line");
    const dot = document.createElementNS(SVG, "circle");
    dot.setAttribute("r", 4.5);
    dot.setAttribute("class", "hw-dot");
    svg.append(path, dot);
    const now = h("dd", {}, "–");
    return {
      element: h("div", { class: "hw-chart" }, h("dt", {}, title), now, ...(values.length > 1 ? [svg] : [])),
      show(frame) {
        const value = frame < 0 ? null : values[frame];
        now.textContent = format(value);
        dot.style.display = value === null || value === undefined ? "none" : "";
        if (value !== null && value !== undefined) { dot.setAttribute("cx", x(frame)); dot.setAttribute("cy", y(value)); }
      },
    };
  }

  /* The heads of a run: a card for each with its gate, its gates over the steps, and where it looks. */
  function board(run, scene, view, pick) {
    const own = heads(run), frames = run.answers.length, root = h("div", { class: "hw-heads" });
    const side = view.columns ? [view.columns, view.rows] : [run.tokens.length, 1];
    let most = 1;
    for (let f = 0; own.routed && f < frames; f++)
      for (let l = 0; l < own.layers; l++)
        for (let k = 0; k < own.count; k++) most = Math.max(most, own.gate(f, l, k, null));
    const cards = [], many = own.layers * own.count > 96;
    root.classList.toggle("hw-many", many);
    for (let layer = 0; layer < own.layers; layer++) {
      const row = h("div", { class: "hw-row", role: "group", "aria-label": `Heads of layer ${layer + 1}` });
      for (let head = 0; head < own.count; head++) {
        const number = h("span", { class: "hw-number" });
        const strip = h("canvas", { class: "hw-strip", width: frames, height: 1 });
        const map = own.looking && !many ? h("canvas", { class: `hw-map ${side[1] === 1 ? "hw-flat" : ""}`, width: side[0], height: side[1] }) : null;
        if (map && side[1] > 1) map.style.aspectRatio = `${side[0]} / ${side[1]}`;
        const present = h("span", { class: "hw-present" });
        const button = h("button", { type: "button", class: "hw-card", "aria-pressed": "false", onclick: () => pick(layer, head) },
          h("span", { class: "hw-name" }, many ? `${head + 1}` : `head ${head + 1}`), number,
          ...(own.routed && frames > 1 ? [h("span", { class: "hw-over" }, strip, present)] : []), ...(map ? [map] : []));
        if (!own.looking) button.disabled = true;
        row.append(button);
        cards.push({ layer, head, button, number, strip, present, map });
      }
      root.append(h("h4", {}, own.layers > 1 ? `Layer ${layer + 1}` : "Heads"), row);
    }
    function paintStrip(card, token) {
      const pen = card.strip.getContext("2d");
      for (let f = 0; f < frames; f++) {
        pen.fillStyle = css(gateColour(own.gate(f, card.layer, card.head, token), most));
        pen.fillRect(f, 0, 1, 1);
      }
    }
    function paintMap(card, weights) {
      const pen = card.map.getContext("2d"), [w, hgt] = side, image = pen.createImageData(w, hgt);
      const hue = dark.matches ? [201, 180, 255] : [91, 52, 168], strong = headwiseShow.emphasis(weights);
      for (let i = 0; weights && i < Math.min(weights.length, w * hgt); i++) {
        image.data.set(hue, 4 * i);
        image.data[4 * i + 3] = 255 * strong(i);
      }
      pen.putImageData(image, 0, 0);
    }
    return {
      root, own,
      show(frame, token, picked) {
        for (const card of cards) {
          const gate = frame < 0 ? null : own.gate(frame, card.layer, card.head, token), on = picked && picked[0] === card.layer && picked[1] === card.head;
          const said = !own.routed ? "" : gate === null ? "–" : gate === 0 ? "off" : gate.toFixed(2);
          card.number.textContent = said;
          card.number.classList.toggle("hw-offhead", gate === 0);
          if (gate === null) { card.number.style.background = ""; card.number.style.color = ""; }
          else { const c = gateColour(gate, most); card.number.style.background = css(c); card.number.style.color = ink(c); }
          card.button.setAttribute("aria-pressed", String(Boolean(on)));
          card.button.setAttribute("aria-label", `layer ${card.layer + 1}, head ${card.head + 1}` + (said ? `, gate ${said}` : "") + (own.looking ? ", show where it looks" : ""));
          if (own.routed && frames > 1) {
            paintStrip(card, token);
            card.present.style.left = `${100 * (Math.max(frame, 0) + 0.5) / frames}%`;
            card.present.style.visibility = frame < 0 ? "hidden" : "";
          }
          if (card.map) paintMap(card, frame < 0 ? null : own.look(frame, card.layer, card.head, token));
        }
      },
    };
  }

  /* Where all heads together look: the mean of their weights, by their gates. */
  function together(own, frame, token) {
    let sum = null, total = 0;
    for (let l = 0; l < own.layers; l++)
      for (let k = 0; k < own.count; k++) {
        const weights = own.look(frame, l, k, token), gate = own.routed ? own.gate(frame, l, k, token) : 1;
        if (!weights) return null;
        sum = sum || new Array(weights.length).fill(0);
        weights.forEach((w, i) => { sum[i] += gate * w; });
        total += gate;
      }
    return sum && sum.map(w => w / (total || 1));
  }

  function build(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const frames = Math.max(...data.runs.map(run => run.answers.length));
    const longest = data.runs.find(run => run.answers.length === frames);
    let frame = 0, token = null, timer = null;
    const picked = data.runs.map(() => null);

    const panels = data.runs.map((run, which) => {
      const drawing = h("div", { class: `hw-scene hw-${run.kind}` });
      const view = headwiseShow.draw(run, drawing, { choose: chosen => setToken(chosen === token ? null : chosen) });
      const parts = board(run, run, view, (layer, head) => {
        const before = picked[which];
        picked[which] = before && before[0] === layer && before[1] === head ? null : [layer, head];
        show();
      });
      const sure = run.answers.map(one => one.confidence);
      const charts = [];
      if (sure.some(v => v !== null)) charts.push(chart("confidence", sure, percent, 0, 1));
      if (run.residual.length) charts.push(chart("moved by this step", run.residual, percent, 0));
      if (run.metrics.length && run.metric in run.metrics[0]) charts.push(chart(run.metric_name, run.metrics.map(m => m[run.metric]), three));
      if (run.halting_means) charts.push(chart(run.halting_means, run.halting, percent, 0, 1));
      const said = h("p", { class: "hw-said" }), end = h("p", { class: "hw-end" }, run.ended);
      const looking = h("p", { class: "hw-looking" });
      const legend = h("ul", { class: "hw-legend" }, ...view.legend.map(([style, words]) => h("li", {}, h("i", { class: `hw-key ${style}`, "aria-hidden": "true" }), words)),
        h("li", {}, h("i", { class: "hw-key hw-key-seen", "aria-hidden": "true" }), "where a chosen head looks more than on average"));
      const facts = h("div", { class: "hw-facts" }, h("dl", { class: "hw-charts" }, ...charts.map(c => c.element)),
        ...(parts.own.layers ? [h("div", { class: "hw-scale", "aria-hidden": "true" }, h("span", {}, "gate: off"), h("i"), h("span", {}, "1: plain attention, and above"))] : []),
        ...(parts.own.layers && !parts.own.routed ? [h("p", { class: "hw-unrouted" }, "No router: every gate is 1.")] : []),
        looking, parts.root);
      if (!parts.own.routed) facts.querySelector(".hw-scale")?.remove();
      const section = h("section", { class: "hw-run", "aria-label": run.label },
        h("div", { class: "hw-top" }, h("h3", {}, run.label), end),
        h("div", { class: "hw-both" }, h("div", { class: "hw-stage" }, said, drawing, legend), facts));
      return { run, view, parts, charts, said, looking, section, drawing };
    });

    const slider = h("input", { type: "range", min: 0, max: frames, step: 1, value: 0, "aria-label": "Step", oninput: () => { const to = Number(slider.value); stop(); go(to); } });
    const where = h("output", { class: "hw-where" });
    const button = (name, sign, act) => h("button", { type: "button", class: "hw-button", "aria-label": name, title: name, onclick: act }, sign);
    const icon = d => { const s = document.createElementNS(SVG, "svg"), p = document.createElementNS(SVG, "path"); s.setAttribute("viewBox", "0 0 24 24"); s.setAttribute("aria-hidden", "true"); p.setAttribute("d", d); s.append(p); return s; };
    const PLAY = "M7 4l13 8l-13 8z", PAUSE = "M6 4h4v16h-4zM14 4h4v16h-4z";
    const play = button("Play", icon(PLAY), () => timer === null ? start() : stop());
    const back = button("Previous step", icon("M16 4l-10 8l10 8z"), () => { stop(); go(frame - 1); });
    const next = button("Next step", icon("M8 4l10 8l-10 8z"), () => { stop(); go(frame + 1); });
    const speed = h("select", { "aria-label": "Speed" }, ...[["0.5", "½ speed"], ["1", "1× speed"], ["2", "2× speed"]].map(([value, words]) => h("option", { value, selected: value === "1" }, words)));
    const names = data.runs[0].tokens, kept = new Set(data.runs[0].kept);
    const whole = panels.every(panel => !panel.parts.own.looking);
    const choice = h("select", { "aria-label": "Token whose heads are shown", onchange: () => setToken(choice.value === "" ? null : Number(choice.value)) },
      h("option", { value: "" }, "mean over all tokens"),
      ...names.flatMap((name, i) => name && (kept.has(i) || whole) ? [h("option", { value: i }, name)] : []));
    const keys = h("p", { class: "hw-keys" }, "Keys: ← → step, space plays, home and end; on a touch screen swipe. A click chooses a token, or a head by its card.");
    const bar = h("div", { class: "hw-bar", role: "group", "aria-label": "Steps" },
      h("div", { class: "hw-buttons" }, back, play, next), h("div", { class: "hw-slide" }, slider, where),
      h("div", { class: "hw-choices" }, h("label", {}, "heads of ", choice), speed));
    const notes = [...new Set(data.runs.flatMap(run => run.notes))];

    function show() {
      const ends = frame === 0 ? "the question" : `step ${longest.steps[frame - 1]} of ${longest.steps[frames - 1]}`;
      where.textContent = ends;
      slider.value = frame;
      slider.setAttribute("aria-valuetext", ends);
      back.disabled = frame === 0;
      next.disabled = frame === frames;
      panels.forEach(({ run, view, parts, charts, said, looking, section }, which) => {
        const at = Math.min(frame, run.answers.length) - 1, now = at < 0 ? null : run.answers[at];
        view.answer(now);
        const over = frame > run.answers.length;
        section.classList.toggle("hw-over-now", over);
        said.textContent = now ? `${now.said}${over ? `  (stopped at step ${run.steps[at]})` : ""}` : "Before the first step.";
        charts.forEach(one => one.show(at));
        parts.show(at, token, picked[which]);
        let weights = null, words = "";
        const of = token === null ? "tokens on average look" : `“${names[token]}” looks`;
        if (at >= 0 && parts.own.looking && (picked[which] || token !== null)) {
          if (!parts.own.has(token)) words = `What “${names[token]}” does is not kept on this page, the mean over all tokens is.`;
          else if (picked[which]) {
            const [layer, head] = picked[which];
            weights = parts.own.look(at, layer, head, token);
            words = `Lilac: where ${of} with head ${head + 1}${parts.own.layers > 1 ? ` of layer ${layer + 1}` : ""}.`;
          } else {
            weights = together(parts.own, at, token);
            words = `Lilac: where ${of} with all heads, by their gates.`;
          }
        }
        looking.textContent = words || (parts.own.looking ? "Small maps: where each head looks. Choose one to see it large." : "");
        view.look(weights, token);
      });
      const playing = timer !== null;
      play.setAttribute("aria-label", playing ? "Pause" : "Play");
      play.title = playing ? "Pause" : "Play";
      play.replaceChildren(icon(playing ? PAUSE : PLAY));
      root.dataset.frame = frame;
      root.dataset.playing = playing;
    }

    function go(to) { frame = Math.max(0, Math.min(frames, to)); show(); }
    function setToken(chosen) { token = chosen; choice.value = chosen === null ? "" : String(chosen); if (choice.selectedIndex < 0) choice.value = ""; show(); }
    function stop() { clearTimeout(timer); timer = null; show(); }
    function tick() { timer = setTimeout(() => { if (frame >= frames) return stop(); frame += 1; tick(); show(); }, Math.max(140, Math.min(1000, 11000 / frames)) / Number(speed.value)); }
    function start() { if (frame >= frames) frame = 0; tick(); show(); }

    root.tabIndex = 0;
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", data.title);
    root.addEventListener("keydown", event => {
      const on = event.target.tagName;
      if (event.altKey || event.ctrlKey || event.metaKey || on === "SELECT") return;
      if (event.key === " " && on !== "BUTTON") { event.preventDefault(); timer === null ? start() : stop(); }
      else if (event.key === "Escape") { picked.fill(null); setToken(null); }
      else if (on !== "INPUT" && event.key in moves) { event.preventDefault(); stop(); go(moves[event.key]()); }
    });
    const moves = { ArrowLeft: () => frame - 1, ArrowRight: () => frame + 1, Home: () => 0, End: () => frames };
    let touched = null;
    panels.forEach(({ drawing }) => {
      drawing.addEventListener("touchstart", e => { touched = [e.touches[0].clientX, e.touches[0].clientY]; }, { passive: true });
      drawing.addEventListener("touchend", e => {
        if (!touched) return;
        const dx = e.changedTouches[0].clientX - touched[0], dy = e.changedTouches[0].clientY - touched[1];
        if (Math.abs(dx) > 45 && Math.abs(dx) > 2 * Math.abs(dy)) { stop(); go(frame + (dx < 0 ? 1 : -1)); }
        touched = null;
      }, { passive: true });
    });
    dark.addEventListener("change", show);
    root.append(h("div", { class: `hw-runs ${panels.length > 1 ? "hw-two" : ""}` }, ...panels.map(panel => panel.section)), bar, keys,
      ...(notes.length ? [h("ul", { class: "hw-notes" }, ...notes.map(note => h("li", {}, note)))] : []));
    root.classList.add("hw-ready");
    show();
    return { start, root };
  }

  /* Where a page has one example its keys work without a click into it. */
  function begin() {
    const roots = [...document.querySelectorAll(".hw-show")];
    if (roots.length === 1) {
      const { start, root } = build(roots[0]);
      root.focus({ preventScroll: true });
      document.addEventListener("keydown", event => {
        if (event.target === document.body) root.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, cancelable: true })) || event.preventDefault();
      });
      if (!calm.matches && "autoplay" in root.dataset) setTimeout(start, 600);
      return;
    }
    const watcher = new IntersectionObserver(entries => entries.forEach(entry => {
      if (entry.isIntersecting) { watcher.unobserve(entry.target); build(entry.target); }
    }), { rootMargin: "200px" });
    roots.forEach(root => watcher.observe(root));
  }

  begin();
})();
