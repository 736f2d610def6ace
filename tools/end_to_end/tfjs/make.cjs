// Made model.json, weights.bin and answer.json here, with @tensorflow/tfjs 4.22.0: a model around a model, as Teachable Machine saves
// them, with random weights, and what TensorFlow.js answers on the first picture that conversion/photos.py draws.
//
//   node make.cjs PACKAGES PIXELS HEIGHT WIDTH
//
// PIXELS holds the picture's bytes, red first.

const fs = require("fs");
const path = require("path");

const [packages, pixels, ...sides] = process.argv.slice(2);
const tf = require("module").createRequire(path.resolve(packages, "package.json"))("@tensorflow/tfjs");
const here = (name) => path.join(__dirname, name);

async function main() {
  await tf.setBackend("cpu");
  const inner = tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [48, 64, 3], filters: 8, kernelSize: 3, strides: 2, activation: "relu6" }),
      tf.layers.batchNormalization(),
      tf.layers.depthwiseConv2d({ kernelSize: 3, padding: "same" }),
      tf.layers.separableConv2d({ filters: 6, kernelSize: 3, strides: 2 }),
      tf.layers.prelu({ sharedAxes: [1, 2] }),
      tf.layers.dropout({ rate: 0.2 }),
    ],
  });
  const model = tf.sequential({
    layers: [inner, tf.layers.globalAveragePooling2d({}), tf.layers.dense({ units: 3, activation: "softmax" })],
  });
  model.weights.forEach((weight, index) => {
    const least = weight.name.includes("variance") ? 0.5 : -0.7;
    weight.write(tf.randomUniform(weight.shape, least, least + 1.4, "float32", index + 1));
  });
  await model.save({
    save: async (saved) => {
      fs.writeFileSync(here("weights.bin"), Buffer.from(saved.weightData));
      const { modelTopology, format, generatedBy } = saved;
      const weightsManifest = [{ paths: ["./weights.bin"], weights: saved.weightSpecs }];
      fs.writeFileSync(here("model.json"), JSON.stringify({ modelTopology, format, generatedBy, weightsManifest }));
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" } };
    },
  });
  const picture = tf.tensor3d(new Uint8Array(fs.readFileSync(pixels)), [...sides.map(Number), 3], "int32");
  const batch = tf.image.resizeBilinear(picture.toFloat().div(255), [48, 64], true).expandDims();
  fs.writeFileSync(here("answer.json"), `${JSON.stringify(model.predict(batch).arraySync()[0])}\n`);
}

main();
