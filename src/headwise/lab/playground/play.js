// The page: which puzzle, and the clock that makes the model take its steps.
import { StepModel } from "./model.js";
import { Maze } from "./maze.js";
import { Sudoku } from "./sudoku.js";

const BOARDS = { maze: Maze, sudoku: Sudoku };
const $ = (id) => document.getElementById(id);
const number = (id) => Number($(id).value);

let board, model, history = [], at = 0, playing = false, version = 0, timer = 0;

// After k steps the state is history[k]; history[0] is the question alone
function begin(play = true) {
  version++;
  history = model ? [model.begin(board.question(), board.tokens)] : [];
  at = 0;
  show();
  if (model) toggle(play);
}

async function forward() {
  if (at + 1 >= history.length) {
    const now = version, next = await model.step(history[history.length - 1]);
    if (now !== version) return; // the puzzle has changed meanwhile
    history.push(next);
  }
  at++;
  show();
}

async function tick() {
  clearTimeout(timer);
  if (!playing) return;
  if (at >= number("steps")) return toggle(false);
  const began = performance.now(), now = version;
  await forward().catch(fail);
  if (now === version && playing) timer = setTimeout(tick, Math.max(0, 1000 / number("speed") - (performance.now() - began)));
}

function toggle(on) {
  clearTimeout(timer);
  playing = on;
  $("play").textContent = playing ? "Pause" : "Play";
  if (playing) {
    timer = setTimeout(tick, 1000 / number("speed"));
  }
}

function show() {
  const thought = history[at], prediction = (thought && thought.prediction) || null;
  board.show(prediction);
  $("step").max = number("steps");
  $("step").value = at;
  $("step-shown").textContent = `${at} of ${number("steps")}`;
  $("back").disabled = at === 0;
  $("forward").disabled = at >= number("steps");
  const { state, text } = prediction ? board.verdict(prediction) : { state: "", text: "The model has not begun" };
  $("status").dataset.state = state === "failed" && at < number("steps") ? "" : state;
  $("status").textContent = prediction ? `${text} (after ${at} step${at === 1 ? "" : "s"})` : text;
  const moved = history.slice(1).map((one) => one.moved), width = 200 / Math.max(number("steps"), 1);
  $("moved").innerHTML = moved.map((value, place) => {
    const height = 58 * Math.min(value, 1);
    return `<rect class="${place + 1 === at ? "now" : ""}" x="${place * width}" y="${60 - height}" width="${width * 0.8}" height="${height}"/>`;
  }).join("");
  if (at) $("moved").setAttribute("aria-label", `step ${at} moved it by ${Math.round(100 * moved[at - 1])} per cent of its size`);
}

async function choose(about) {
  version++;
  toggle(false);
  model = null;
  for (const tab of $("puzzles").children) {
    tab.setAttribute("aria-selected", tab.dataset.name === about.name);
    tab.tabIndex = tab.dataset.name === about.name ? 0 : -1;
  }
  const tools = $("tools").cloneNode(false); // without the listeners of the other puzzle
  $("tools").replaceWith(tools);
  board = new BOARDS[about.name](about, () => begin());
  board.mount($("board"), tools);
  $("steps").max = 4 * about.steps_trained;
  $("steps").value = about.steps_trained;
  $("steps-shown").textContent = `${about.steps_trained} (as trained)`;
  $("about").textContent = about.about;
  $("hint").textContent = BOARDS[about.name].hint;
  $("status").textContent = "Loading the model …";
  const now = version, loaded = await (about.loading ??= StepModel.load(about));
  if (now !== version) return;
  model = loaded;
  document.documentElement.dataset.ready = about.name;
  begin();
}

function fail(error) {
  toggle(false);
  $("status").dataset.state = "failed";
  $("status").textContent = `The model could not be run: ${error.message || error}`;
}

async function start() {
  const abouts = await (await fetch("models.json")).json();
  for (const about of abouts) {
    const tab = document.createElement("button");
    Object.assign(tab, { type: "button", textContent: about.title, role: "tab" });
    tab.dataset.name = about.name;
    tab.addEventListener("click", () => choose(about).catch(fail));
    $("puzzles").append(tab);
  }
  $("puzzles").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const tabs = [...$("puzzles").children], next = step && tabs[tabs.indexOf(document.activeElement) + step];
    if (next) { next.focus(); next.click(); }
  });
  $("play").addEventListener("click", () => {
    if (!playing && at >= number("steps")) return begin();
    toggle(!playing);
  });
  $("back").addEventListener("click", () => { toggle(false); at--; show(); });
  $("forward").addEventListener("click", () => { toggle(false); forward().catch(fail); });
  $("step").addEventListener("input", async () => {
    toggle(false);
    const wanted = number("step"), now = version;
    while (now === version && history.length <= wanted) { at = history.length - 1; await forward(); }
    if (now === version) { at = wanted; show(); }
  });
  $("steps").addEventListener("input", () => {
    const trained = abouts.find((about) => document.documentElement.dataset.ready === about.name)?.steps_trained;
    $("steps-shown").textContent = number("steps") === trained ? `${trained} (as trained)` : $("steps").value;
    at = Math.min(at, number("steps"));
    show();
  });
  $("speed").addEventListener("input", () => ($("speed-shown").textContent = `${$("speed").value} a second`));
  for (const [id, act] of [["new", "fresh"], ["clear", "clear"]]) {
    $(id).addEventListener("click", () => { board[act](); board.draw(); begin(); });
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=range]):not([type=radio])") || event.ctrlKey || event.metaKey) return;
    const button = { p: "play", ",": "back", ".": "forward" }[event.key.toLowerCase()];
    if (button && !$(button).disabled) $(button).click();
  });
  await choose(abouts[0]);
}

// For tests and the curious: what the model is asked, and what it says now
globalThis.playground = {
  get board() { return board; },
  get thought() { return history[at]; },
  get step() { return at; },
  get playing() { return playing; },
};
start().catch(fail);
