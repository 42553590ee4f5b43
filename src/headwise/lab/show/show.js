/* Scenes: an example and a model's answers to it, drawn as SVG or HTML.

   const view = headwiseShow.draw(scene, element, { choose: token => ... });
   view.answer(scene.answers[2]);      // null: the question alone
   view.look(weights, token);          // how much each token is looked at, 0 to 1; null: nobody looks
   view.legend                         // [[style, words], ...]

   A scene is {kind, question, tokens, answers} as headwise/tasks/scenes.py says. Nothing is fetched, nothing is kept
   outside the element; colours are custom properties of the page. */
"use strict";
const headwiseShow = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function make(tag, attributes = {}, ...children) {
    const html = ["div", "span", "button", "p", "b"].includes(tag);
    const element = html ? document.createElement(tag) : document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  /* How strongly a place is coloured: by how much more than the average it is looked at. */
  function emphasis(weights) {
    if (!weights) return () => 0;
    const mean = 1 / weights.length, most = Math.max(3 * mean, ...weights);
    return i => Math.sqrt(Math.max(0, ((weights[i] || 0) - mean) / (most - mean)));
  }

  const put = (element, attributes) => {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  };

  function canvas(element, x, y, width, height, name) {
    const svg = make("svg", { viewBox: `${x} ${y} ${width} ${height}`, role: "img", "aria-label": name });
    element.append(svg);
    return svg;
  }

  /* Mazes and sudokus: cells in rows. */
  function grid(scene, element, choose) {
    const { rows, columns, walls, solid = [], start, goal, boxes, given, path } = scene.question;
    const U = 40, cells = rows * columns;
    const svg = canvas(element, -4, -4, columns * U + 8, rows * U + 8, boxes ? "The sudoku" : "The maze");
    svg.style.maxHeight = "max(min(56vh, 40rem), 18rem)";
    const at = cell => [(cell % columns) * U, Math.floor(cell / columns) * U];
    const layer = () => svg.appendChild(make("g"));
    const square = (parent, cell, style, inset = 0) => {
      const [x, y] = at(cell);
      const size = U - 2 * inset;
      return parent.appendChild(make("rect", { x: x + inset, y: y + inset, width: size, height: size, class: style }));
    };
    const line = of => of.map((cell, i) => `${i ? "L" : "M"}${at(cell)[0] + U / 2} ${at(cell)[1] + U / 2}`).join("");
    svg.append(make("rect", { x: 0, y: 0, width: columns * U, height: rows * U, class: "hw-floor" }));
    const marks = layer(), seen = layer(), fixed = layer(), ways = layer(), signs = layer(), ends = layer(), top = layer();
    const isSolid = new Set(solid);
    const fills = [], looked = [], words = [], crosses = [];
    for (let cell = 0; cell < cells; cell++) {
      fills.push(square(marks, cell, "hw-mark"));
      looked.push(square(seen, cell, "hw-seen", walls || boxes ? 0 : 1));
      const [x, y] = at(cell);
      words.push(signs.appendChild(make("text", { x: x + U / 2, y: y + U * 0.69, class: "hw-digit" })));
      crosses.push(signs.appendChild(make("path", {
        d: `M${x + 13} ${y + 13}l14 14m0 -14l-14 14`, class: "hw-cross", visibility: "hidden" })));
    }
    for (const cell of solid) square(fixed, cell, "hw-solid");
    if (walls) {
      const sides = [[1, 0, 0, 1, 0], [2, 1, 0, 1, 1], [4, 0, 1, 1, 1], [8, 0, 0, 0, 1]];
      let d = "";
      for (let cell = 0; cell < cells; cell++) {
        if (isSolid.has(cell)) continue;
        const [x, y] = at(cell);
        for (const [bit, x1, y1, x2, y2] of sides)
          if (walls[cell] & bit) d += `M${x + x1 * U} ${y + y1 * U}L${x + x2 * U} ${y + y2 * U}`;
      }
      fixed.append(make("path", { d, class: "hw-wall" }));
    }
    if (boxes) {
      let thin = "", thick = "";
      for (let i = 0; i <= rows; i++) {
        const d = `M0 ${i * U}H${columns * U}`;
        i % boxes[0] ? thin += d : thick += d;
      }
      for (let i = 0; i <= columns; i++) {
        const d = `M${i * U} 0V${rows * U}`;
        i % boxes[1] ? thin += d : thick += d;
      }
      fixed.append(make("path", { d: thin, class: "hw-rule" }), make("path", { d: thick, class: "hw-wall" }));
    }
    if (path) ways.append(make("path", { d: line(path), class: "hw-truth" }));
    const walk = ways.appendChild(make("path", { class: "hw-walk" }));
    const arrows = [];
    if (start !== undefined) {
      const [x, y] = at(start), [p, q] = at(goal);
      ends.append(make("circle", { cx: x + U / 2, cy: y + U / 2, r: 11, class: "hw-start" }),
        make("path", { d: `M${p + U / 2} ${q + 6}l14 14l-14 14l-14 -14z`, class: "hw-goal" }));
    }
    const cursor = top.appendChild(make("rect", { width: U - 4, height: U - 4, rx: 4, class: "hw-cursor", visibility: "hidden" }));
    for (let cell = 0; cell < cells; cell++)
      square(top, cell, "hw-hit").addEventListener("click", () => choose(cell));
    const before = new Array(cells).fill("");

    function answer(now) {
      const of = key => new Set((now && now[key]) || []);
      const right = of("right"), wrong = of("wrong");
      for (let cell = 0; cell < cells; cell++) {
        const share = now && now.mark ? now.mark[cell] / 100 : 0;
        const style = boxes ? (wrong.has(cell) ? "hw-bad" : "") :
          wrong.has(cell) ? "hw-bad" : right.has(cell) ? "hw-good" : "hw-faint";
        put(fills[cell], { class: `hw-mark ${style}` });
        fills[cell].style.fillOpacity = boxes ? "" : wrong.has(cell) || right.has(cell)
          ? 0.35 + 0.65 * (now.mark ? share : 1) : 0.6 * share;
        const said = now && now.text ? now.text[cell] : "";
        const clue = given ? given[cell] : "";
        const text = said || clue;
        if (words[cell].textContent !== text) words[cell].textContent = text;
        const changed = boxes && text && before[cell] && before[cell] !== text;
        put(words[cell], { class: `hw-digit ${clue ? "hw-given" : wrong.has(cell) ? "hw-wrong" : "hw-filled"}` +
          (changed ? " hw-changed" : "") });
        words[cell].style.opacity = clue || !now || !now.sure ? "" : 0.62 + 0.38 * now.sure[cell] / 100;
        before[cell] = text;
        crosses[cell].setAttribute("visibility", !boxes && wrong.has(cell) && !said ? "visible" : "hidden");
      }
      walk.setAttribute("d", now && now.walk ? line(now.walk) : "");
      for (const arrow of arrows.splice(0)) arrow.remove();
      if (now && now.arrows) now.arrows.forEach((to, cell) => {
        if (to < 0) return;
        const [x, y] = at(cell);
        arrows.push(ways.appendChild(make("path", { d: "M-4 4L0 -4L4 4", class: "hw-arrow",
          transform: `translate(${x + U / 2} ${y + U / 2}) rotate(${90 * to})` })));
      });
    }

    function look(weights, token) {
      const strong = emphasis(weights);
      looked.forEach((rect, cell) => { rect.style.fillOpacity = 0.85 * strong(cell); });
      cursor.setAttribute("visibility", token === null ? "hidden" : "visible");
      if (token !== null) put(cursor, { x: at(token)[0] + 2, y: at(token)[1] + 2 });
    }

    const legend = boxes
      ? [["hw-key-given", "given"], ["hw-key-filled", "filled in, paler the less sure"], ["hw-key-bad", "wrong"]]
      : [["hw-key-truth", "a shortest way"]];
    const some = key => scene.answers.some(one => one[key]);
    if (some("mark")) legend.push(["hw-key-good", "marked, on the way"], ["hw-key-bad", "marked, beside it"]);
    else if (!boxes) legend.push(["hw-key-bad", "a wrong move"]);
    if (some("walk")) legend.push(["hw-key-walk", some("mark") ? "a walk along the highest marks" : "the walk"]);
    if (start !== undefined) legend.unshift(["hw-key-start", "start"], ["hw-key-goal", "goal"]);
    return { answer, look, legend, rows, columns };
  }

  /* Arrays: a bar for each element moves to its rank; hints are chips below. */
  function bars(scene, element, choose) {
    const { values, visible, ranks, hints = [] } = scene.question;
    const n = values.length, step = Math.max(30, Math.min(64, 640 / n)), width = n * step, tall = 200;
    const perRow = Math.max(1, Math.floor(width / 74)), rows = Math.ceil(hints.length / perRow);
    const svg = canvas(element, -8, -30, width + 16, tall + 92 + rows * 34, "The array");
    const name = i => n <= 26 ? String.fromCharCode(97 + i) : `${i + 1}`;
    const low = Math.min(...values), high = Math.max(...values);
    const heights = values.map(v => 22 + (tall - 22) * (v - low) / (high - low || 1));
    svg.append(make("path", { d: `M0 ${tall}H${width}`, class: "hw-axis" }));
    const groups = [], shapes = [], seen = [], dots = [];
    for (let slot = 0; slot < n; slot++)
      dots.push(svg.appendChild(make("path", { d: `M${slot * step + step / 2 - 5} ${tall + 52}l4 4l7 -8`, class: "hw-tick", visibility: "hidden" })));
    for (let i = 0; i < n; i++) {
      const w = step - 8, x = -w / 2;
      const glow = make("rect", { x: x - 3, y: -4, width: w + 6, height: tall + 50, rx: 6, class: "hw-seen" });
      const bar = make("rect", { x, y: tall - heights[i], width: w, height: heights[i], rx: 4, class: `hw-column ${visible[i] ? "" : "hw-masked"}` });
      const label = make("text", { x: 0, y: tall + 18, class: "hw-small hw-strong" }, visible[i] ? `${values[i]}` : "?");
      const letter = make("text", { x: 0, y: tall + 36, class: "hw-small" }, name(i));
      const truth = visible[i] ? "" : make("text", { x: 0, y: tall - heights[i] - 7, class: "hw-small hw-muted" }, `${values[i]}`);
      const hit = make("rect", { x: x - 3, y: -20, width: w + 6, height: tall + 60, class: "hw-hit" });
      hit.addEventListener("click", () => choose(i));
      const group = make("g", { class: "hw-moves" }, glow, bar, truth, label, letter, hit);
      svg.append(group);
      groups.push(group); shapes.push(bar); seen.push(glow);
    }
    const chips = [];
    hints.forEach(([low, high], i) => {
      const x = (i % perRow) * 74, y = tall + 66 + Math.floor(i / perRow) * 34;
      const box = make("rect", { x, y, width: 66, height: 26, rx: 13, class: "hw-chip" });
      const glow = make("rect", { x, y, width: 66, height: 26, rx: 13, class: "hw-seen" });
      const hit = make("rect", { x, y, width: 66, height: 26, class: "hw-hit" });
      svg.append(box, glow, make("text", { x: x + 33, y: y + 17.5, class: "hw-small" }, `${name(low)} < ${name(high)}`), hit);
      chips.push(box); seen.push(glow);
      hit.addEventListener("click", () => choose(n + i));
    });

    function answer(now) {
      const order = now ? now.ranks : values.map((_, i) => i);
      order.forEach((rank, i) => {
        groups[i].style.transform = `translate(${rank * step + step / 2}px, 0px)`;
        shapes[i].style.fillOpacity = now ? 0.35 + 0.65 * now.sure[i] / 100 : 0.35;
        const good = now && ranks && ranks[i] === rank;
        dots[rank].setAttribute("visibility", good ? "visible" : "hidden");
        shapes[i].classList.toggle("hw-placed", Boolean(good));
      });
    }

    function look(weights, token) {
      const strong = emphasis(weights);
      seen.forEach((rect, i) => { rect.style.fillOpacity = 0.8 * strong(i); });
      shapes.forEach((bar, i) => bar.classList.toggle("hw-picked", i === token));
      chips.forEach((chip, i) => chip.classList.toggle("hw-picked", n + i === token));
    }

    const legend = [["hw-key-bar", "seen by the model"], ["hw-key-masked", hints.length ? "masked: only hints tell" : "masked: the model does not see it"],
      ["hw-key-placed", "in its place"]];
    if (hints.length) legend.push(["hw-key-chip", "a hint: the first is smaller"]);
    return { answer, look, legend };
  }

  /* Sentences: words in a line, the model's arcs above, right ones that it misses below. */
  function arcs(scene, element, choose) {
    const { words, heads, relations } = scene.question;
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "15px system-ui, sans-serif";
    const widths = words.map(word => Math.max(34, pen.measureText(word).width + 22));
    const left = [];
    widths.reduce((x, w) => { left.push(x); return x + w; }, 8);
    const total = widths.reduce((a, b) => a + b, 16), centre = i => left[i] + widths[i] / 2;
    const reach = Math.max(1, ...scene.answers.flatMap(one => levels(one.heads))), depth = heads ? Math.max(1, ...levels(heads)) : 0;
    const rise = Math.min(26, 190 / Math.max(reach, depth)), above = 34 + reach * rise, below = heads ? 20 + depth * rise * 0.8 : 8;
    const svg = canvas(element, 0, 0, total, above + 40 + below, "The sentence with its arcs");
    svg.style.width = `max(100%, ${Math.round(total * 0.85)}px)`;
    svg.style.maxWidth = `${Math.round(total * 1.25)}px`;
    const truth = svg.appendChild(make("g")), drawn = svg.appendChild(make("g")), line = svg.appendChild(make("g"));
    const seen = [], labels = [];
    words.forEach((word, i) => {
      const box = { x: left[i] + 2, y: above + 4, width: widths[i] - 4, height: 30, rx: 7 };
      const glow = make("rect", { ...box, class: "hw-seen" });
      const text = make("text", { x: centre(i), y: above + 24, class: "hw-word" }, word);
      const hit = make("rect", { ...box, class: "hw-hit" });
      hit.addEventListener("click", () => choose(i));
      line.append(glow, text, hit);
      seen.push(glow); labels.push(text);
    });

    function levels(tree) {
      const ends = tree.map((head, i) => head ? [Math.min(head - 1, i), Math.max(head - 1, i), i] : [i, i, i]);
      const level = new Array(tree.length).fill(1);
      for (const [low, high, i] of [...ends].sort((a, b) => (a[1] - a[0]) - (b[1] - b[0]))) {
        if (low === high) continue;
        for (const [l, h, j] of ends)
          if (j !== i && l >= low && h <= high && h - l < high - low && level[j] >= level[i]) level[i] = level[j] + (l === h ? 0 : 1);
        level[i] = Math.max(level[i], 1);
      }
      return level;
    }

    function arc(i, head, level, up, style, label, sure = 100) {
      const y = up ? above : above + 38, to = centre(i), sign = up ? -1 : 1;
      const top = y + sign * level * rise * (up ? 1 : 0.8);
      const group = make("g", { class: style });
      const line = d => { const drawn = make("path", { d, class: "hw-arc" }); drawn.style.strokeOpacity = 0.3 + 0.7 * sure / 100; return drawn; };
      if (!head) {
        const end = up ? 8 : above + 30 + below;
        group.append(line(`M${to} ${end}V${y - sign * 2}`));
        if (up) group.append(make("text", { x: to + 5, y: 18, class: "hw-relation hw-beside" }, "root"));
      } else {
        const from = centre(head - 1), way = Math.sign(to - from), r = Math.min(12, Math.abs(to - from) / 2, level * rise * 0.9);
        const a = from + way * 7;
        group.append(line(`M${a} ${y}V${top - sign * r}Q${a} ${top} ${a + way * r} ${top}` +
          `H${to - way * r}Q${to} ${top} ${to} ${top - sign * r}V${y - sign * 3}`));
        if (label) group.append(make("text", { x: (a + to) / 2, y: top + (up ? -4 : 11), class: "hw-relation" }, label));
      }
      group.append(make("path", { d: `M${to - 3.5} ${y + sign * 7}L${to} ${y + sign}L${to + 3.5} ${y + sign * 7}`, class: "hw-tip" }));
      return group;
    }

    const plain = name => (name || "").split(":")[0];
    function answer(now) {
      drawn.replaceChildren();
      truth.replaceChildren();
      if (!now) {
        if (heads) heads.forEach((head, i) => truth.append(arc(i, head, levels(heads)[i], false, "hw-gold", relations[i])));
        return;
      }
      const level = levels(now.heads), gold = heads ? levels(heads) : [];
      now.heads.forEach((head, i) => {
        const known = Boolean(heads), right = known && heads[i] === head, named = right && plain(relations[i]) === plain(now.relations[i]);
        const style = !known ? "hw-new" : right ? (named ? "hw-right" : "hw-right hw-misnamed") : "hw-off";
        drawn.append(arc(i, head, level[i], true, style, now.relations[i], now.sure[i]));
        if (known && !right) truth.append(arc(i, heads[i], gold[i], false, "hw-gold", relations[i]));
      });
    }

    function look(weights, token) {
      const strong = emphasis(weights);
      seen.forEach((rect, i) => {
        rect.style.fillOpacity = 0.85 * strong(i);
        rect.classList.toggle("hw-picked", i === token);
      });
      labels.forEach((text, i) => text.classList.toggle("hw-strong", i === token));
    }

    const legend = heads
      ? [["hw-key-line-right", "right head"], ["hw-key-line-off", "wrong head"], ["hw-key-line-gold", "what it should be"],
        ["hw-key-wrong-word", "right head, wrong relation"]]
      : [["hw-key-line-right", "the model's arcs, paler the less sure"]];
    return { answer, look, legend };
  }

  /* Walks: nodes on a circle, edges by relation. */
  function graph(scene, element, choose) {
    const { nodes, relations, edges, start, instruction, reached, goal } = scene.question;
    const R = 190, r = Math.max(7, Math.min(19, 460 / nodes)), svg = canvas(element, -240, -262, 480, 505, "The graph");
    svg.style.maxHeight = "max(min(56vh, 40rem), 18rem)";
    const place = i => { const t = 2 * Math.PI * i / nodes - Math.PI / 2; return [R * Math.cos(t), R * Math.sin(t)]; };
    const hue = k => `var(--arm-${1 + k % 6})`;
    const asked = new Set(instruction), walked = new Set();
    instruction.forEach((k, t) => (reached[t] || []).forEach(i => edges.forEach(([e, a, b]) => {
      if (e === k && a === i && (reached[t + 1] || []).includes(b)) walked.add(`${e},${a},${b}`);
    })));
    let x = -232;
    const story = [["start", null], ...instruction.map(k => [relations[k], k])];
    const size = Math.min(1, 460 / (story.length * 62));
    for (const [word, k] of story) {
      const text = make("text", { x, y: -242, class: "hw-story" }, k === null ? "start" : `→ ${word}`);
      text.style.fill = k === null ? "var(--ink)" : hue(k);
      text.style.fontSize = `${15 * size}px`;
      svg.append(text);
      x += (k === null ? 48 : 26 + 9 * word.length) * size;
    }
    for (const [k, i, j] of [...edges].reverse()) {
      const [a, b] = place(i), [c, d] = place(j), on = walked.has(`${k},${i},${j}`);
      const bend = 0.12 + 0.06 * k, mx = (a + c) / 2 * (1 - bend), my = (b + d) / 2 * (1 - bend);
      const loop = i === j;
      const length = Math.hypot(c - mx, d - my) || 1, ex = c - (c - mx) / length * (r + 4), ey = d - (d - my) / length * (r + 4);
      const out = 1 + 34 / R;
      const path = make("path", { d: loop ? `M${a} ${b}C${a * out + b * 0.14} ${b * out - a * 0.14} ${a * out - b * 0.14} ${b * out + a * 0.14} ${a} ${b}` :
        `M${a} ${b}Q${mx} ${my} ${ex} ${ey}`, class: on ? "hw-edge hw-walked" : asked.has(k) ? "hw-edge hw-asked" : "hw-edge" });
      path.style.stroke = on || asked.has(k) ? hue(k) : "";
      svg.append(path);
      if (on && !loop) {
        const turn = Math.atan2(d - my, c - mx) * 180 / Math.PI;
        const tip = make("path", { d: "M-9 -5L0 0L-9 5z", transform: `translate(${ex} ${ey}) rotate(${turn})` });
        tip.style.fill = hue(k);
        svg.append(tip);
      }
    }
    const fills = [], seen = [], rings = [];
    for (let i = 0; i < nodes; i++) {
      const [a, b] = place(i);
      const glow = make("circle", { cx: a, cy: b, r: r + 9, class: "hw-seen" });
      const fill = make("circle", { cx: a, cy: b, r, class: "hw-mass" });
      const ring = make("circle", { cx: a, cy: b, r: r + 4, class: "hw-ring", visibility: "hidden" });
      const text = r >= 11 ? make("text", { x: a, y: b + 4.5, class: "hw-small hw-node-name" }, `${i + 1}`) : "";
      const hit = make("circle", { cx: a, cy: b, r: r + 6, class: "hw-hit" });
      hit.addEventListener("click", () => choose(i));
      svg.append(glow, make("circle", { cx: a, cy: b, r, class: "hw-node" }), fill, ring, text);
      if (i === start) svg.append(make("circle", { cx: a * 1.155, cy: b * 1.155, r: 6, class: "hw-start" }));
      if (goal.includes(i)) svg.append(make("path", { d: `M${a * 1.155} ${b * 1.155 - 9}l9 9l-9 9l-9 -9z`, class: "hw-goal",
        transform: i === start ? "translate(14 0)" : "" }));
      svg.append(hit);
      fills.push(fill); seen.push(glow); rings.push(ring);
    }

    function answer(now) {
      const chosen = new Set(now ? now.chosen : []);
      fills.forEach((fill, i) => {
        fill.style.fillOpacity = now ? now.mass[i] / 100 : 0;
        rings[i].setAttribute("visibility", chosen.has(i) ? "visible" : "hidden");
        put(rings[i], { class: `hw-ring ${goal.includes(i) ? "hw-hitgoal" : "hw-missed"}` });
      });
    }

    function look(weights, token) {
      const strong = emphasis(weights);
      seen.forEach((circle, i) => {
        circle.style.fillOpacity = 0.8 * strong(i);
        circle.classList.toggle("hw-picked", i === token);
      });
    }

    const legend = [["hw-key-start", "start"], ["hw-key-goal", "where the walk ends"], ["hw-key-mass", "how likely the model finds a node"],
      ["hw-key-good-ring", "its answer, right"], ["hw-key-bad-ring", "its answer, wrong"]];
    return { answer, look, legend };
  }

  /* Text, and whatever has no drawing of its own: a box for each token with what is said of it below. */
  function tokens(scene, element, choose) {
    const { words, said } = scene.question;
    const flow = element.appendChild(make("div", { class: "hw-flow" }));
    const boxes = words.map((word, i) => {
      const below = make("span", { class: "hw-below" }, "\u00a0");
      const box = make("span", { class: "hw-token" }, make("span", { class: "hw-above" }, word), below);
      if (scene.tokens[i]) {
        box.classList.add("hw-choosable");
        box.addEventListener("click", () => choose(i));
      }
      flow.append(box);
      return { box, below };
    });
    const known = scene.answers.some(one => one.wrong);

    function answer(now) {
      const wrong = new Set((now && now.wrong) || []);
      boxes.forEach(({ box, below }, i) => {
        const word = now && now.words && i < now.words.length ? now.words[i] : "\u00a0";
        if (below.textContent !== word) below.textContent = word;
        const scored = known && now && now.words && i < now.scored;
        below.className = `hw-below ${!scored ? "" : wrong.has(i) ? "hw-miss" : "hw-hitword"}`;
        below.style.setProperty("--sure", now && now.sure ? `${now.sure[i]}%` : "0%");
      });
    }

    function look(weights, token) {
      const strong = emphasis(weights);
      boxes.forEach(({ box }, i) => {
        box.style.setProperty("--seen", `${Math.round(75 * strong(i))}%`);
        box.classList.toggle("hw-picked", i === token);
      });
    }

    const legend = said ? [["hw-key-below", `${said}; the line: how sure`]] : [];
    if (known) legend.push(["hw-key-hitword", "right"], ["hw-key-miss", "wrong"]);
    return { answer, look, legend };
  }

  const kinds = { grid, bars, arcs, graph, tokens };

  function draw(scene, element, options = {}) {
    const view = kinds[scene.kind](scene, element, options.choose || (() => {}));
    view.answer(null);
    view.look(null, null);
    return view;
  }

  return { draw, emphasis, kinds: Object.keys(kinds) };
})();
