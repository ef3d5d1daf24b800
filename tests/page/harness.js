// node harness.js SCRIPT … < JSON: runs the code of a page on a page's data, and prints what the model says.
const fs = require("fs");
const [, , ...scripts] = process.argv;
const source = scripts.map((path) => fs.readFileSync(path, "utf8")).join("\n");
const { Model, nextPixels, largestDifference, bytesOf } = new Function(
  `${source}\nreturn { Model, nextPixels, largestDifference, bytesOf };`)();
const floats = (text) => new Float32Array(bytesOf(text));
const base64 = (array) => Buffer.from(Float32Array.from(array).buffer).toString("base64");
const { page, weights, image, masks, noise, pixels } = JSON.parse(fs.readFileSync(0, "utf8"));
const answer = {};
if (page) {
  const model = new Model(page, bytesOf(weights));
  const z = model.encode(floats(image));
  answer.mean = base64(z);
  answer.alone = base64(model.reconstruct(z));
  answer.difference = page.check ? String(largestDifference(model)) : null;
  answer.conditioned = [];
  answer.draws = [];
  answer.roots = [];
  const begin = performance.now();
  for (const mask of masks) {
    const seen = model.see(floats(image), Uint8Array.from(floats(mask)));
    answer.conditioned.push(base64(model.reconstructConditioned(z, seen)));
    answer.draws.push(base64(model.draw(floats(noise), seen)));
    answer.roots.push(base64(model.linearRoot(seen) || []));
  }
  answer.milliseconds = performance.now() - begin;
}
if (pixels) {
  answer.pixels = nextPixels(floats(pixels.draws), Uint8Array.from(floats(pixels.mask)), pixels.count, pixels.variance,
                             pixels.channels, pixels.root ? floats(pixels.root) : null, pixels.share);
}
process.stdout.write(JSON.stringify(answer));
