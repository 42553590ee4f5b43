// A maze of N x N cells: walls are drawn between them; the model marks the cells of the way.
import { tensor } from "./model.js";

const NS = "http://www.w3.org/2000/svg";
const MOVES = [[-1, 0], [0, 1], [1, 0], [0, -1]]; // up, right, down, left, as the model has them
const ARROWS = { ArrowUp: 0, ArrowRight: 1, ArrowDown: 2, ArrowLeft: 3 };

export class Maze {
  static hint = "Click or drag between cells to draw walls. Keys: arrows move, Shift + arrow draws or takes away the wall on that side, S sets the start, G the goal.";

  constructor(about, changed) {
    Object.assign(this, { about, changed, size: about.size, tool: "wall", cursor: 0 });
    this.fresh();
  }

  get tokens() { return this.size ** 2; }

  // As `headwise.tasks.maze.batch.tensors`: passages [N, N, 4], start and goal row * N + column
  question() {
    const N = this.size;
    return {
      open: tensor(Uint8Array.from(this.open), [1, N, N, 4]),
      start: tensor(BigInt64Array.of(BigInt(this.start)), [1]),
      goal: tensor(BigInt64Array.of(BigInt(this.goal)), [1]),
    };
  }

  beside(cell, direction) {
    const row = Math.floor(cell / this.size) + MOVES[direction][0], column = (cell % this.size) + MOVES[direction][1];
    return row < 0 || column < 0 || row >= this.size || column >= this.size ? -1 : row * this.size + column;
  }

  setPassage(cell, direction, open) {
    const other = this.beside(cell, direction);
    if (other < 0) return;
    this.open[4 * cell + direction] = this.open[4 * other + ((direction + 2) % 4)] = open ? 1 : 0;
  }

  // Moves from the goal to every cell, -1 where there is no way
  distances(from, allowed = () => true) {
    const found = new Int32Array(this.tokens).fill(-1), queue = [from];
    found[from] = 0;
    for (const cell of queue) {
      for (let d = 0; d < 4; d++) {
        const next = this.beside(cell, d);
        if (next >= 0 && this.open[4 * cell + d] && found[next] < 0 && allowed(next)) {
          found[next] = found[cell] + 1;
          queue.push(next);
        }
      }
    }
    return found;
  }

  // Depth-first, as those that the model was trained on, with a way of some length
  fresh() {
    const N = this.size, wanted = Math.min(this.about.shortest * (N / this.about.size) ** 2, N * N / 3);
    for (let attempt = 0; attempt < 200; attempt++) {
      this.open = new Uint8Array(4 * N * N);
      const seen = new Set([Math.floor(Math.random() * N * N)]), trail = [...seen];
      while (trail.length) {
        const cell = trail[trail.length - 1];
        const ways = [0, 1, 2, 3].filter((d) => this.beside(cell, d) >= 0 && !seen.has(this.beside(cell, d)));
        if (!ways.length) { trail.pop(); continue; }
        const d = ways[Math.floor(Math.random() * ways.length)], next = this.beside(cell, d);
        this.setPassage(cell, d, true);
        seen.add(next);
        trail.push(next);
      }
      this.start = Math.floor(Math.random() * N * N);
      const far = this.distances(this.start), long = [...far.keys()].filter((cell) => far[cell] >= Math.max(wanted, 1));
      this.goal = long.length ? long[Math.floor(Math.random() * long.length)] : far.indexOf(Math.max(...far));
      if (long.length) break;
    }
  }

  // No walls but the border
  clear() {
    for (let cell = 0; cell < this.tokens; cell++) for (let d = 0; d < 4; d++) this.setPassage(cell, d, true);
  }

  verdict(prediction) {
    const marked = new Set([...prediction.keys()].filter((cell) => prediction[cell] > 0));
    const shortest = this.distances(this.goal)[this.start];
    const text = `${marked.size} cells marked`;
    if (shortest < 0) return { state: "", text: `${text}; walls shut the goal off` };
    marked.add(this.start).add(this.goal);
    const way = this.distances(this.goal, (cell) => marked.has(cell))[this.start];
    if (way < 0) return { state: "failed", text: `${text}: no way yet` };
    if (marked.size > way + 1) return { state: "failed", text: `${text}: a way of ${way} moves, and cells beside it` };
    return way === shortest
      ? { state: "solved", text: `Solved: a shortest way, ${way} moves` }
      : { state: "failed", text: `${text}: a way of ${way} moves, the shortest has ${shortest}` };
  }

  mount(board, tools) {
    board.replaceChildren((this.svg = document.createElementNS(NS, "svg")));
    this.svg.setAttribute("class", "maze");
    Object.assign(this.svg, { tabIndex: 0 });
    this.svg.setAttribute("role", "application");
    this.svg.addEventListener("pointerdown", (event) => this.pressed(event));
    this.svg.addEventListener("pointermove", (event) => this.dragging && this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.svg.addEventListener(name, () => (this.dragging = null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    tools.innerHTML = `<fieldset><legend>Draw</legend>${["wall", "start", "goal"].map((name) => `<label><input type="radio" name="tool" value="${name}" ${name === this.tool ? "checked" : ""}><span>${name}</span></label>`).join("")}</fieldset>`;
    tools.addEventListener("change", (event) => event.target.name === "tool" && (this.tool = event.target.value));
    if (this.about.sizes.length > 1) {
      const [least, most] = this.about.sizes;
      tools.insertAdjacentHTML("beforeend", `<label class="row" for="size">Cells on a side <output>${this.size}</output><input id="size" type="range" min="${least}" max="${most}" value="${this.size}"></label>`);
      const size = tools.querySelector("#size");
      size.addEventListener("input", () => {
        this.size = Number(size.value);
        size.previousElementSibling.textContent = `${this.size}${this.size === this.about.size ? "" : " (trained: " + this.about.size + ")"}`;
        this.fresh();
        this.draw();
        this.changed();
      });
    }
    this.draw();
  }

  draw() {
    const N = this.size, part = (name, attributes) => {
      const made = document.createElementNS(NS, name);
      for (const key in attributes) made.setAttribute(key, attributes[key]);
      this.svg.append(made);
      return made;
    };
    this.svg.replaceChildren();
    this.cursor = Math.min(this.cursor, N * N - 1);
    this.svg.setAttribute("viewBox", `-.06 -.06 ${N + 0.12} ${N + 0.12}`);
    const at = (cell) => [cell % N, Math.floor(cell / N)];
    this.cells = [...Array(N * N).keys()].map((cell) => {
      const [x, y] = at(cell);
      return part("rect", { class: "cell", x, y, width: 1, height: 1, "fill-opacity": 0 });
    });
    const sides = [...Array(N * N).keys()].flatMap((cell) => {
      const [x, y] = at(cell), found = [];
      if (x + 1 < N) found.push([this.open[4 * cell + 1], { x1: x + 1, y1: y, x2: x + 1, y2: y + 1 }]);
      if (y + 1 < N) found.push([this.open[4 * cell + 2], { x1: x, y1: y + 1, x2: x + 1, y2: y + 1 }]);
      return found;
    });
    for (const [open, line] of sides) if (open) part("line", { class: "none", ...line });
    for (const [open, line] of sides) if (!open) part("line", { class: "wall", ...line });
    part("rect", { class: "wall", x: 0, y: 0, width: N, height: N, fill: "none" });
    for (const [cell, name] of [[this.start, "start"], [this.goal, "goal"]]) {
      const [x, y] = at(cell);
      part("circle", { class: name, cx: x + 0.5, cy: y + 0.5, r: 0.31 });
      part("text", { x: x + 0.5, y: y + 0.63 }).textContent = name[0].toUpperCase();
    }
    const [x, y] = at(this.cursor);
    part("rect", { class: "cursor", x: x + 0.06, y: y + 0.06, width: 0.88, height: 0.88, rx: 0.1 });
    const place = (cell) => `row ${Math.floor(cell / N) + 1}, column ${(cell % N) + 1}`;
    const walls = ["up", "right", "down", "left"].filter((_, d) => !this.open[4 * this.cursor + d]).join(", ");
    this.svg.setAttribute("aria-label", `Maze of ${N} by ${N} cells. Start: ${place(this.start)}. Goal: ${place(this.goal)}. Cursor: ${place(this.cursor)}, walls: ${walls || "none"}`);
    if (this.shown) this.show(this.shown);
  }

  show(prediction) {
    this.shown = prediction && prediction.length === this.tokens ? prediction : null;
    this.cells.forEach((cell, place) => {
      const sure = this.shown ? 1 / (1 + Math.exp(-this.shown[place])) : 0;
      cell.setAttribute("fill-opacity", (0.85 * sure).toFixed(3));
    });
  }

  // The cell under a pointer, and the side that it is nearest to, if it is near one
  under(event) {
    const box = this.svg.getBoundingClientRect(), N = this.size;
    const [x, y] = [[event.clientX, box.left, box.width], [event.clientY, box.top, box.height]].map(
      ([place, from, width]) => ((place - from) / width) * (N + 0.12) - 0.06);
    const [column, row] = [x, y].map((place) => Math.min(Math.max(Math.floor(place), 0), N - 1));
    const gaps = [y - row, column + 1 - x, row + 1 - y, x - column];
    const side = gaps.indexOf(Math.min(...gaps));
    return { cell: row * N + column, side: gaps[side] < 0.32 ? side : -1 };
  }

  pressed(event) {
    const { cell, side } = this.under(event);
    this.cursor = cell;
    if (this.tool !== "wall") {
      if (cell !== this.start && cell !== this.goal) this[this.tool] = cell;
      return this.edited();
    }
    if (side < 0 || this.beside(cell, side) < 0) return this.draw();
    this.dragging = { open: !this.open[4 * cell + side] };
    this.svg.setPointerCapture(event.pointerId);
    this.drag(event);
  }

  drag(event) {
    const { cell, side } = this.under(event);
    if (side < 0 || this.beside(cell, side) < 0 || !!this.open[4 * cell + side] === this.dragging.open) return;
    this.setPassage(cell, side, this.dragging.open);
    this.edited();
  }

  key(event) {
    const direction = ARROWS[event.key], letter = { s: "start", g: "goal" }[event.key.toLowerCase()];
    if (direction !== undefined) {
      event.preventDefault();
      if (event.shiftKey) {
        this.setPassage(this.cursor, direction, !this.open[4 * this.cursor + direction]);
        return this.edited();
      }
      if (this.beside(this.cursor, direction) >= 0) this.cursor = this.beside(this.cursor, direction);
      this.draw();
    } else if (letter && this.cursor !== this.start && this.cursor !== this.goal) {
      this[letter] = this.cursor;
      this.edited();
    }
  }

  edited() {
    this.draw();
    this.changed();
  }
}
