// A sudoku of N x N cells: clues are typed; the model fills in the rest.
import { tensor } from "./model.js";

export class Sudoku {
  static hint = "Type digits, or delete them; arrows move. Digits of the model are coloured, the surer the stronger.";

  constructor(about, changed) {
    Object.assign(this, { about, changed, size: about.size, next: 0 });
    this.fresh();
  }

  get tokens() { return this.size ** 2; }

  // As the batches of `headwise.tasks.sudoku`: clues [L], 0 where there is none
  question() {
    return { clues: tensor(BigInt64Array.from(this.clues, BigInt), [1, this.tokens]) };
  }

  fresh() {
    this.clues = [...this.about.examples[this.next++ % this.about.examples.length]];
  }

  clear() {
    this.clues = Array(this.tokens).fill(0);
  }

  // The digit of each cell: the clue, or the model's with how sure it is
  digits(prediction) {
    const N = this.size;
    return this.clues.map((clue, cell) => {
      if (clue) return { digit: clue, sure: 0 };
      const scores = prediction.slice(cell * N, cell * N + N), most = Math.max(...scores);
      const sum = scores.reduce((all, score) => all + Math.exp(score - most), 0);
      return { digit: scores.indexOf(most) + 1, sure: 1 / sum };
    });
  }

  // Cells that have a digit in common with another one of their row, column or box
  clashes(digits) {
    const found = new Set(), [rows, columns] = this.about.box, N = this.size;
    const unit = (cell) => {
      const row = Math.floor(cell / N), column = cell % N;
      return [row, N + column, 2 * N + Math.floor(row / rows) * rows + Math.floor(column / columns)];
    };
    const seen = new Map();
    digits.forEach((digit, cell) => {
      for (const where of digit ? unit(cell) : []) {
        const key = where * 100 + digit;
        if (seen.has(key)) found.add(cell).add(seen.get(key));
        seen.set(key, cell);
      }
    });
    return found;
  }

  verdict(prediction) {
    if (this.clashes(this.clues).size) return { state: "failed", text: "the clues contradict each other" };
    const clashes = this.clashes(this.digits(prediction).map((cell) => cell.digit)).size;
    return clashes
      ? { state: "failed", text: `${clashes} cells contradict others` }
      : { state: "solved", text: "Solved: every row, column and box holds each digit once" };
  }

  mount(board, tools) {
    tools.replaceChildren();
    const N = this.size, [rows, columns] = this.about.box;
    this.grid = document.createElement("div");
    this.grid.className = "sudoku";
    this.grid.setAttribute("role", "group");
    this.grid.setAttribute("aria-label", `Sudoku of ${N} by ${N} cells`);
    this.grid.style.cssText = `--n: ${N}; grid-template: repeat(${N}, 1fr) / repeat(${N}, 1fr)`;
    this.inputs = this.clues.map((_, cell) => {
      const input = document.createElement("input"), row = Math.floor(cell / N), column = cell % N;
      Object.assign(input, { inputMode: "numeric", autocomplete: "off", maxLength: String(N).length });
      if ((column + 1) % columns === 0 && column + 1 < N) input.classList.add("right");
      if ((row + 1) % rows === 0 && row + 1 < N) input.classList.add("below");
      input.addEventListener("focus", () => input.select());
      input.addEventListener("input", () => this.typed(cell, input));
      input.addEventListener("keydown", (event) => {
        const step = { ArrowUp: -N, ArrowDown: N, ArrowLeft: -1, ArrowRight: 1 }[event.key];
        const next = step && this.inputs[cell + step];
        if (!next || (Math.abs(step) === 1 && Math.floor((cell + step) / N) !== row)) return;
        event.preventDefault();
        next.focus();
      });
      return input;
    });
    this.grid.append(...this.inputs);
    board.replaceChildren(this.grid);
    this.draw();
  }

  typed(cell, input) {
    const digit = Number(input.value);
    this.clues[cell] = Number.isInteger(digit) && digit >= 1 && digit <= this.size ? digit : 0;
    if (!this.clues[cell]) input.value = "";
    this.changed();
  }

  draw() {
    this.inputs.forEach((input, cell) => (input.value = this.clues[cell] || ""));
    this.show(null);
  }

  show(prediction) {
    const N = this.size, found = prediction ? this.digits(prediction) : this.clues.map((digit) => ({ digit, sure: 0 }));
    const clashes = this.clashes(found.map((one) => one.digit));
    this.inputs.forEach((input, cell) => {
      const { digit, sure } = found[cell], clue = this.clues[cell];
      input.placeholder = clue || !digit ? "" : digit;
      input.style.setProperty("--sure", clue ? 0 : sure.toFixed(3));
      input.classList.toggle("clash", clashes.has(cell));
      const says = clue ? `clue ${clue}` : prediction ? `the model: ${digit}, ${Math.round(100 * sure)} per cent` : "blank";
      input.setAttribute("aria-label", `row ${Math.floor(cell / N) + 1}, column ${(cell % N) + 1}: ${says}`);
    });
  }
}
