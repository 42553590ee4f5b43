// A step model of `headwise export`: question and state in, prediction and state out.
import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more would ask the server for headers that static ones do not send
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const KINDS = { Uint8Array: "bool", BigInt64Array: "int64", Float32Array: "float32" };

export const tensor = (values, sizes) => new ort.Tensor(KINDS[values.constructor.name], values, sizes);

export class StepModel {
  static async load(about) {
    const session = await ort.InferenceSession.create(new URL(about.file, import.meta.url).href);
    return new StepModel(session, about);
  }

  constructor(session, about) {
    Object.assign(this, { session, about, queue: Promise.resolve() });
  }

  // From the beginning: `question` holds the tensors of one puzzle, `tokens` is how many the model makes of it.
  begin(question, tokens) {
    const state = {};
    for (const [name, sizes] of Object.entries(this.about.state)) {
      const real = sizes.map((size, place) => (place === 0 ? 1 : typeof size === "number" ? size : tokens));
      state[name] = tensor(new Float32Array(real.reduce((a, b) => a * b, 1)), real);
    }
    return { question, state: { ...state, steps_taken: tensor(new BigInt64Array(1), [1]) } };
  }

  // One step; steps wait for each other, as a session runs one at a time.
  step(thought) {
    const run = async () => {
      const given = { ...thought.question, ...thought.state };
      const feed = Object.fromEntries(this.session.inputNames.map((name) => [name, given[name]]));
      const found = await this.session.run(feed);
      const state = {};
      for (const name of Object.keys(found)) if (name.startsWith("next_")) state[name.slice(5)] = found[name];
      const [before, after] = [thought.state.hidden.data, state.hidden.data];
      let change = 0, size = 0;
      for (let i = 0; i < after.length; i++) { change += (after[i] - before[i]) ** 2; size += after[i] ** 2; }
      return { question: thought.question, state, prediction: found.prediction.data, moved: Math.sqrt(change / size) };
    };
    return (this.queue = this.queue.then(run, run));
  }
}
