// The npm package nsfwjs, for tfjs_packages.py:
//
//   node nsfwjs.cjs PACKAGES unpack MODEL FOLDER    writes the model that the package carries as TensorFlow.js keeps models
//   node nsfwjs.cjs PACKAGES classify FOLDER KIND   for each line [PIXELS, TENSOR, HEIGHT, WIDTH, CHANNELS] of the input, writes the
//                                                   tensor that the package feeds the model, and prints the probabilities

const fs = require("fs");
const path = require("path");
const readline = require("readline");

const [packages, action, ...rest] = process.argv.slice(2);
const load = require("module").createRequire(path.resolve(packages, "package.json"));
// The output is for answers.
console.log = console.info = console.error;

function unpack(model, folder) {
  const inside = path.resolve(packages, "node_modules", "nsfwjs", "dist", "models", model);
  const described = require(path.join(inside, "model.min.js"));
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "model.json"), JSON.stringify(described));
  for (const name of described.weightsManifest.flatMap((group) => group.paths)) {
    const content = require(path.join(inside, `${name}.min.js`));
    fs.writeFileSync(path.join(folder, name), Buffer.from(content, "base64"));
  }
}

// As `tf.io.fileSystem` of tfjs-node reads it.
function files(folder) {
  const described = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
  const weights = described.weightsManifest.flatMap((group) => group.paths);
  const content = Buffer.concat(weights.map((name) => fs.readFileSync(path.join(folder, name))));
  return {
    load: async () => ({
      ...described,
      weightSpecs: described.weightsManifest.flatMap((group) => group.weights),
      weightData: content.buffer.slice(content.byteOffset, content.byteOffset + content.length),
    }),
  };
}

async function classify(folder, kind) {
  const tf = load("@tensorflow/tfjs");
  await tf.setBackend("cpu");
  const network = await load("nsfwjs").load(files(folder), kind === "graph" ? { size: 224, type: "graph" } : { size: 224 });
  const predict = network.model.predict.bind(network.model);
  let fed;
  network.model.predict = (batch) => {
    fed = batch.dataSync();
    return predict(batch);
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [pixels, tensor, ...shape] = JSON.parse(line);
    const answers = await network.classify(tf.tensor3d(new Uint8Array(fs.readFileSync(pixels)), shape, "int32"));
    fs.writeFileSync(tensor, Buffer.from(fed.buffer, fed.byteOffset, fed.byteLength));
    const named = Object.fromEntries(answers.map((answer) => [answer.className, answer.probability]));
    process.stdout.write(`${JSON.stringify(named)}\n`);
  }
}

if (action === "unpack") {
  unpack(...rest);
} else {
  classify(...rest);
}
