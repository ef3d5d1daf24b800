"use strict";
// What a page asks of the trained model, and the worker that answers.

class Model {
  // page: as build.py writes it; bytes: the weights, an ArrayBuffer.
  constructor(page, bytes) {
    this.page = page;
    this.ops = load(page.graph, bytes);
    const [H, W, C] = page.shape;
    // Where no decoder is for z alone, the conditional one with nothing revealed is.
    this.nothing = page.names.alone ? new Map() : this.see(new Float32Array(H * W * C), new Uint8Array(H * W));
  }

  // The mean of q(z|x), Float32Array [Z]. image: Float32Array [H · W · C].
  encode(image) {
    return run(this.ops, new Map([["x", value([1, ...this.page.shape], image)]])).get(this.page.names.mean).data;
  }

  // All that follows from the pixels which mask, Uint8Array [H · W], reveals.
  see(image, mask) {
    const [H, W, C] = this.page.shape, m = value([1, H, W, C + 1]);
    for (let pixel = 0; pixel < H * W; pixel++) {
      if (!mask[pixel]) continue;
      for (let c = 0; c < C; c++) m.data[pixel * (C + 1) + c] = image[pixel * C + c];
      m.data[pixel * (C + 1) + C] = 1;
    }
    return run(this.ops, new Map([["m", m]]));
  }

  // x̂ from z alone, Float32Array [H · W · C].
  reconstruct(z) {
    const { alone, conditioned } = this.page.names, row = value([1, z.length], z);
    return run(this.ops, new Map(this.nothing).set(alone ? "z_alone" : "z", row)).get(alone || conditioned).data;
  }

  // x̂ from z and what was seen, Float32Array [B · H · W · C]. z: [B · Z].
  reconstructConditioned(z, seen) {
    const rows = value([z.length / this.page.latentDim, this.page.latentDim], z);
    return run(this.ops, new Map(seen).set("z", rows)).get(this.page.names.conditioned).data;
  }

  // Draws of p(x|m), Float32Array [B · H · W · C], one for each row of standard normal noise [B · Z].
  draw(noise, seen) {
    const rows = value([noise.length / this.page.latentDim, this.page.latentDim], noise);
    const z = run(this.ops, new Map(seen).set("noise", rows)).get(this.page.names.drawn).data;
    return this.reconstructConditioned(z, seen);
  }
}

// The pixels to look at next: those that, once known, leave the least variance in the draws of the rest. What is
// computed is documented in mtvae_jax/trained/acquisition.py.
// draws: Float32Array [S · P · C]; mask: Uint8Array [P]; variance: of the noise of a pixel. Returns `count` pixels.
function nextPixels(draws, mask, count, variance, C) {
  const P = mask.length, D = P * C, S = draws.length / D, known = Uint8Array.from(mask), chosen = [];
  const centred = new Float32Array(S * D), deviations = new Float32Array(D * S); // by draws; by values
  const { mean } = moments(draws, S, D);
  for (let s = 0; s < S; s++) {
    for (let d = 0; d < D; d++) {
      centred[s * D + d] = deviations[d * S + s] = (draws[s * D + d] - mean[d]) / Math.sqrt(S - 1);
    }
  }
  const gram = products(centred, S, centred, S, D);
  while (chosen.length < count) {
    const across = products(deviations, D, gram, S, S);
    let best = -1, most = -Infinity;
    for (let p = 0; p < P; p++) {
      if (known[p]) continue;
      const fall = expectedFall(deviations, across, p * C, C, S, variance);
      if (fall > most) [best, most] = [p, fall];
    }
    for (let c = 0; c < C; c++) contract(deviations, best * C + c, S, gram, variance);
    known[best] = 1;
    chosen.push(best);
  }
  return chosen;
}

// x wᵀ, Float32Array [rows · N], for x [rows · K] and w [N · K].
function products(x, rows, w, N, K) {
  const y = new Float32Array(rows * N);
  multiplyAdd(x, Int32Array.from({ length: rows }, (_, r) => r * K), y,
              Int32Array.from({ length: rows }, (_, r) => r * N), rows, w, 0, K, N);
  return y;
}

// tr((Σ_jj + σ² I)⁻¹ Σ_j· Σ_·j) of the values first … first + C − 1.
function expectedFall(deviations, across, first, C, S, variance) {
  const noisy = [], total = [];
  for (let c = 0; c < C; c++) {
    noisy.push([]);
    total.push([]);
    for (let d = 0; d < C; d++) {
      const row = (first + c) * S, other = (first + d) * S;
      let ours = c === d ? variance : 0, all = 0;
      for (let s = 0; s < S; s++) {
        ours += deviations[row + s] * deviations[other + s];
        all += across[row + s] * deviations[other + s];
      }
      noisy[c].push(ours);
      total[c].push(all);
    }
  }
  return traceOfQuotient(noisy, total);
}

// tr(A⁻¹ B) for a positive definite A, by elimination.
function traceOfQuotient(A, B) {
  const n = A.length;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      if (j === i) continue;
      const factor = A[j][i] / A[i][i];
      for (let k = 0; k < n; k++) {
        A[j][k] -= factor * A[i][k];
        B[j][k] -= factor * B[i][k];
      }
    }
  }
  return A.reduce((sum, row, i) => sum + B[i][i] / row[i], 0);
}

// The deviations, and their products, once one value is known but for noise.
function contract(deviations, place, S, gram, variance) {
  const measured = deviations.slice(place * S, (place + 1) * S);
  const ours = measured.reduce((sum, v) => sum + v * v, 0);
  const factor = 1 / ((ours + variance) * (1 + Math.sqrt(variance / (ours + variance))));
  const lower = (rows) => {
    for (let row = 0; row < rows.length; row += S) {
      let along = 0;
      for (let s = 0; s < S; s++) along += rows[row + s] * measured[s];
      for (let s = 0; s < S; s++) rows[row + s] -= factor * along * measured[s];
    }
  };
  lower(deviations);
  lower(gram);
  transpose(gram, S);
  lower(gram);
}

function transpose(matrix, n) {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const kept = matrix[i * n + j];
      matrix[i * n + j] = matrix[j * n + i];
      matrix[j * n + i] = kept;
    }
  }
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;

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
// A request: { id, image, imageId, mask, noise }; imageId changes with the image. Its answers: several { id, count, alone,
// conditioned, mean, deviation, draws, milliseconds } of more and more draws.
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
    finished = { id, draws, mask };
    choose();
  }

  function choose() {
    if (asked === null || finished === null || asked.id !== finished.id) return;
    const { id, draws, mask } = finished, channels = model.page.shape[2];
    post({ id, pixels: nextPixels(draws, mask, asked.ask, model.page.variance, channels) });
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

// Mean and standard deviation of the first `count` draws, by value.
function moments(draws, count, D) {
  const mean = new Float32Array(D), deviation = new Float32Array(D);
  for (let s = 0; s < count; s++) for (let d = 0; d < D; d++) mean[d] += draws[s * D + d] / count;
  for (let s = 0; s < count; s++) for (let d = 0; d < D; d++) deviation[d] += (draws[s * D + d] - mean[d]) ** 2 / count;
  return { mean, deviation: deviation.map(Math.sqrt) };
}
