"use strict";
// What the worker does: it answers the page's requests, and compares itself with Python.

// How far the browser's numbers are from Python's at most, over the cases that the page brings along.
function largestDifference(model) {
  const { image, masks, noise, mean, alone, conditioned, draws } = Object.fromEntries(
    Object.entries(model.page.check).map(([name, text]) => [name, new Float32Array(bytesOf(text))]));
  const [H, W, C] = model.page.shape, D = H * W * C, Z = model.page.latentDim;
  const z = model.encode(image);
  const pairs = [[z, mean], [model.reconstruct(z), alone]];
  for (let start = 0, n = 0; start < masks.length; start += H * W, n++) {
    const seen = model.see(image, Uint8Array.from(masks.subarray(start, start + H * W)));
    pairs.push([model.reconstructConditioned(z, seen), conditioned.subarray(n * D, (n + 1) * D)]);
    const count = draws.length / (masks.length / (H * W)), first = count * n;
    const rows = noise.subarray((first / D) * Z, ((first + count) / D) * Z);
    pairs.push([model.draw(rows, seen), draws.subarray(first, first + count)]);
  }
  let largest = 0;
  for (const [ours, theirs] of pairs) {
    if (ours.length !== theirs.length) return Infinity;
    for (let i = 0; i < ours.length; i++) {
      const difference = Math.abs(ours[i] - theirs[i]);
      if (Number.isNaN(difference)) return NaN;
      largest = Math.max(largest, difference);
    }
  }
  return largest;
}

// Answers one request after the other by `post`, in slices: a newer request ends an older one.
// A request: { id, image, imageId, mask, noise }; imageId changes with the image. Its answers: several { id, count,
// alone, conditioned, mean, deviation, draws, milliseconds } of more and more draws.
// To { id, ask } the answer is { id, pixels }, as many as are asked for, chosen by all draws of the request of that id.
// To { check: true } it is { check: the largest difference }.
function serve(model, post) {
  const SLICE = 8;
  let latest = null, encoded = null, finished = null, asked = null;

  async function answer({ id, image, imageId, mask, noise }) {
    const begin = performance.now();
    if (encoded === null || encoded.imageId !== imageId) {
      const z = model.encode(image);
      encoded = { imageId, z, alone: model.reconstruct(z) };
    }
    const seen = model.see(image, mask), D = image.length, Z = model.page.latentDim;
    const conditioned = model.reconstructConditioned(encoded.z, seen);
    const total = noise.length / Z, draws = new Float32Array(total * D);
    for (let count = 0; count < total; ) {
      const next = Math.min(count + SLICE, total);
      draws.set(model.draw(noise.subarray(count * Z, next * Z), seen), count * D);
      count = next;
      const { mean, deviation } = moments(draws, count, D);
      post({ id, alone: encoded.alone, conditioned, count, mean, deviation, milliseconds: performance.now() - begin,
             draws: count === SLICE || count === total ? draws.slice(0, SLICE * D) : null });
      await new Promise((resume) => setTimeout(resume));
      if (latest !== id) return;
    }
    finished = { id, draws, mask, root: model.linearRoot(seen) };
    choose();
  }

  function choose() {
    if (asked === null || finished === null || asked.id !== finished.id) return;
    const { id, draws, mask, root } = finished, { variance, shape, linearShare } = model.page;
    post({ id, pixels: nextPixels(draws, mask, asked.ask, variance, shape[2], root, linearShare) });
    asked = null;
  }

  return async (request) => {
    if (request.check) return post({ check: largestDifference(model) });
    if (request.ask) {
      asked = request;
      return choose();
    }
    latest = request.id;
    await new Promise((resume) => setTimeout(resume)); // whatever else has come in the meantime comes first
    if (latest === request.id) await answer(request);
  };
}
