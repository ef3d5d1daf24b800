"use strict";
// The network, in plain JavaScript: what `graph.py` has written down is carried out on Float32Arrays.
//
// A value is { shape: [B, …], data: Float32Array }; maps are [B, H, W, C]. Where values of few rows B meet one of many,
// they are taken over and over: the maps of the revealed pixels serve all draws.

const size = (shape) => shape.reduce((product, n) => product * n, 1);
const value = (shape, data) => ({ shape, data: data || new Float32Array(size(shape)) });

// y[ys[r] + n] += Σ_k x[xs[r] + k] · w[first + n · K + k]: the arithmetic of convolutions and fully connected layers.
// Four rows and two outputs at a time, so that a number that is loaded serves several products.
function multiplyAdd(x, xs, y, ys, rows, w, first, K, N) {
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    const x0 = xs[r], x1 = xs[r + 1], x2 = xs[r + 2], x3 = xs[r + 3];
    const y0 = ys[r], y1 = ys[r + 1], y2 = ys[r + 2], y3 = ys[r + 3];
    let n = 0;
    for (; n + 1 < N; n += 2) {
      const a = first + n * K, b = a + K;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let k = 0; k < K; k++) {
        const wa = w[a + k], wb = w[b + k];
        const p0 = x[x0 + k], p1 = x[x1 + k], p2 = x[x2 + k], p3 = x[x3 + k];
        a0 += p0 * wa; a1 += p1 * wa; a2 += p2 * wa; a3 += p3 * wa;
        b0 += p0 * wb; b1 += p1 * wb; b2 += p2 * wb; b3 += p3 * wb;
      }
      y[y0 + n] += a0; y[y1 + n] += a1; y[y2 + n] += a2; y[y3 + n] += a3;
      y[y0 + n + 1] += b0; y[y1 + n + 1] += b1; y[y2 + n + 1] += b2; y[y3 + n + 1] += b3;
    }
    for (; n < N; n++) {
      const a = first + n * K;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0;
      for (let k = 0; k < K; k++) {
        const wa = w[a + k];
        a0 += x[x0 + k] * wa; a1 += x[x1 + k] * wa; a2 += x[x2 + k] * wa; a3 += x[x3 + k] * wa;
      }
      y[y0 + n] += a0; y[y1 + n] += a1; y[y2 + n] += a2; y[y3 + n] += a3;
    }
  }
  for (; r < rows; r++) {
    const x0 = xs[r], y0 = ys[r];
    for (let n = 0; n < N; n++) {
      const a = first + n * K;
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[x0 + k] * w[a + k];
      y[y0 + n] += sum;
    }
  }
}

function filled(shape, bias) {
  const y = value(shape);
  if (bias) for (let i = 0; i < y.data.length; i++) y.data[i] = bias[i % bias.length];
  return y;
}

// A convolution takes, for each tap of its kernel, pixel stride · p + tap − before of the image to pixel p of the
// features; a transposed one takes the features back by the same way. `padding` is SAME, an odd pixel behind.
function convolve(x, kernel, bias, stride, imageSize, transposed) {
  const [kh, kw, N, K] = kernel.shape;
  const batch = x.shape[0], [H, W] = imageSize;
  const h = Math.ceil(H / stride), w = Math.ceil(W / stride);
  const top = Math.max((h - 1) * stride + kh - H, 0) >> 1, left = Math.max((w - 1) * stride + kw - W, 0) >> 1;
  const [outH, outW] = transposed ? [H, W] : [h, w];
  const y = filled([batch, outH, outW, N], bias);
  const xs = new Int32Array(batch * h * w), ys = new Int32Array(batch * h * w);
  for (let i = 0; i < kh; i++) {
    for (let j = 0; j < kw; j++) {
      let rows = 0;
      for (let b = 0; b < batch; b++) {
        for (let p = 0; p < h; p++) {
          const row = stride * p + i - top;
          if (row < 0 || row >= H) continue;
          for (let q = 0; q < w; q++) {
            const column = stride * q + j - left;
            if (column < 0 || column >= W) continue;
            const image = (b * H + row) * W + column, feature = (b * h + p) * w + q;
            xs[rows] = (transposed ? feature : image) * K;
            ys[rows++] = (transposed ? image : feature) * N;
          }
        }
      }
      multiplyAdd(x.data, xs, y.data, ys, rows, kernel.data, (i * kw + j) * N * K, K, N);
    }
  }
  return y;
}

function dense(x, kernel, bias, shape) {
  const [N, K] = kernel.shape, batch = x.shape[0];
  const y = filled([batch, ...shape], bias);
  const rows = Int32Array.from({ length: batch }, (_, b) => b);
  multiplyAdd(x.data, rows.map((b) => b * K), y.data, rows.map((b) => b * N), batch, kernel.data, 0, K, N);
  return y;
}

// Loops of their own, because a function that is given one calls it for each number.
function leaky(x, slope) {
  const y = value(x.shape);
  for (let i = 0; i < y.data.length; i++) y.data[i] = x.data[i] >= 0 ? x.data[i] : slope * x.data[i];
  return y;
}

function sigmoid(x) {
  const y = value(x.shape);
  for (let i = 0; i < y.data.length; i++) y.data[i] = 1 / (1 + Math.exp(-x.data[i]));
  return y;
}

function affine(x, scale, offset) {
  const y = value(x.shape), n = scale.length;
  for (let i = 0; i < y.data.length; i++) y.data[i] = scale[i % n] * x.data[i] + offset[i % n];
  return y;
}

function add(a, b) {
  const [most, fewest] = a.data.length >= b.data.length ? [a, b] : [b, a];
  const n = fewest.data.length, y = value(most.shape);
  for (let start = 0; start < y.data.length; start += n) {
    for (let i = 0; i < n; i++) y.data[start + i] = most.data[start + i] + fewest.data[i];
  }
  return y;
}

function concat(a, b) {
  const batch = Math.max(a.shape[0], b.shape[0]), [, h, w, first] = a.shape, second = b.shape[3];
  const y = value([batch, h, w, first + second]);
  for (let pixel = 0; pixel < batch * h * w; pixel++) {
    const from = (pixel % (a.shape[0] * h * w)) * first, then = (pixel % (b.shape[0] * h * w)) * second;
    y.data.set(a.data.subarray(from, from + first), pixel * (first + second));
    y.data.set(b.data.subarray(then, then + second), pixel * (first + second) + first);
  }
  return y;
}

// The means of the revealed pixels at every scale, and holes filled from the next coarser one; see models/context.py.
function pushPull(m, levels) {
  const sums = [m];
  while (sums.length < levels) sums.push(sumOfFour(sums[sums.length - 1]));
  const maps = new Array(levels);
  let coarser = null;
  for (let level = levels - 1; level >= 0; level--) {
    const { shape: [batch, h, w, channels], data } = sums[level], C = channels - 1;
    const filledUp = value([batch, h, w, C]), map = value([batch, h, w, C + 2]);
    const below = coarser && smoothed(twiceAsLarge(coarser, h, w));
    for (let pixel = 0; pixel < batch * h * w; pixel++) {
      const count = data[pixel * channels + C], known = Math.min(count, 1);
      for (let c = 0; c < C; c++) {
        const hole = below ? (1 - known) * below.data[pixel * C + c] : 0;
        const mean = data[pixel * channels + c] / Math.max(count, 1) + hole;
        filledUp.data[pixel * C + c] = map.data[pixel * (C + 2) + c] = mean;
      }
      map.data[pixel * (C + 2) + C] = Math.log1p(count);
      map.data[pixel * (C + 2) + C + 1] = known;
    }
    maps[level] = map;
    coarser = filledUp;
  }
  return maps;
}

// A guess of the image fills what is hidden, and the whole is averaged at every scale; see models/context.py.
function fill(m, guess, levels) {
  const { shape: [batch, H, W, channels], data } = m, C = channels - 1;
  let sums = value([batch, H, W, C + 2]);  // of the image, of its places, of the known ones
  for (let pixel = 0; pixel < batch * H * W; pixel++) {
    const known = data[pixel * channels + C], to = pixel * (C + 2);
    for (let c = 0; c < C; c++)
      sums.data[to + c] = data[pixel * channels + c] + (1 - known) * guess.data[pixel * C + c];
    sums.data[to + C] = 1;
    sums.data[to + C + 1] = known;
  }
  const maps = [];
  for (let level = 0; level < levels; level++, sums = sumOfFour(sums)) {
    const map = value(sums.shape);
    for (let at = 0; at < map.data.length; at += C + 2) {
      for (let c = 0; c < C; c++) map.data[at + c] = sums.data[at + c] / sums.data[at + C];
      map.data[at + C] = Math.log1p(sums.data[at + C + 1]);
      map.data[at + C + 1] = Math.min(sums.data[at + C + 1], 1);
    }
    maps.push(map);
  }
  return maps;
}

// The posterior of the factors f of x = μ + W f + ε given the revealed pixels: the inverse of L, the Cholesky factor of
// I + Wᵀ Ψ⁻¹ W over those pixels, gives its mean and its standard deviations; all three are returned. See
// models/factors.py.
function factors({ shape: [batch, H, W, channels], data }, mean, loadings, noise) {
  const C = channels - 1, K = loadings.length / mean.length;
  const means = value([batch, K]), both = value([batch, 2 * K]), inverses = value([batch, K, K]);
  for (let b = 0; b < batch; b++) {
    const L = new Float64Array(K * K), sums = new Float64Array(K);
    for (let i = 0; i < K; i++) L[i * K + i] = 1;
    for (let pixel = 0; pixel < H * W; pixel++) {
      const from = (b * H * W + pixel) * channels;
      if (!data[from + C]) continue;
      for (let c = 0; c < C; c++) {
        const d = pixel * C + c;
        for (let i = 0; i < K; i++) {
          const weight = loadings[d * K + i] / noise[d];
          sums[i] += weight * (data[from + c] - mean[d]);
          for (let j = 0; j <= i; j++) L[i * K + j] += weight * loadings[d * K + j];
        }
      }
    }
    for (let i = 0; i < K; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = L[i * K + j];
        for (let k = 0; k < j; k++) sum -= L[i * K + k] * L[j * K + k];
        L[i * K + j] = i === j ? Math.sqrt(sum) : sum / L[j * K + j];
      }
    }
    const inverse = new Float64Array(K * K), white = new Float64Array(K);
    for (let i = 0; i < K; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = i === j ? 1 : 0;
        for (let k = j; k < i; k++) sum -= L[i * K + k] * inverse[k * K + j];
        inverse[i * K + j] = sum / L[i * K + i];
        white[i] += inverse[i * K + j] * sums[j];
      }
    }
    inverses.data.set(inverse, b * K * K);
    for (let j = 0; j < K; j++) {
      let average = 0, variance = 0;
      for (let i = j; i < K; i++) {
        average += inverse[i * K + j] * white[i];
        variance += inverse[i * K + j] ** 2;
      }
      means.data[b * K + j] = both.data[b * 2 * K + j] = average;
      both.data[b * 2 * K + K + j] = Math.sqrt(variance);
    }
  }
  return [means, both, inverses];
}

function sumOfFour({ shape: [batch, H, W, C], data }) {
  const h = Math.ceil(H / 2), w = Math.ceil(W / 2), y = value([batch, h, w, C]);
  for (let b = 0; b < batch; b++)
    for (let r = 0; r < H; r++)
      for (let q = 0; q < W; q++)
        for (let c = 0; c < C; c++)
          y.data[((b * h + (r >> 1)) * w + (q >> 1)) * C + c] += data[((b * H + r) * W + q) * C + c];
  return y;
}

function twiceAsLarge({ shape: [batch, h, w, C], data }, H, W) {
  const y = value([batch, H, W, C]);
  for (let b = 0; b < batch; b++)
    for (let r = 0; r < H; r++)
      for (let q = 0; q < W; q++)
        for (let c = 0; c < C; c++)
          y.data[((b * H + r) * W + q) * C + c] = data[((b * h + (r >> 1)) * w + (q >> 1)) * C + c];
  return y;
}

// (1, 2, 1) / 4 along both sides; the edge goes on as it is.
function smoothed(x) {
  const [batch, H, W, C] = x.shape;
  for (const [count, n, stride] of [[batch, H, W * C], [batch * H, W, C]]) {
    const y = value(x.shape);
    for (let line = 0; line < count; line++)
      for (let i = 0; i < n; i++)
        for (let c = 0; c < stride; c++) {
          const at = (j) => x.data[(line * n + Math.min(Math.max(j, 0), n - 1)) * stride + c];
          y.data[(line * n + i) * stride + c] = (at(i - 1) + 2 * at(i) + at(i + 1)) / 4;
        }
    x = y;
  }
  return x;
}

// μ + L⁻ᵀ noise by back substitution; the moments, of one row, are μ, log diag L and what is below it, row by row.
function normal({ data: moments }, noise) {
  const [batch, Z] = noise.shape, z = value([batch, Z]);
  const below = (row, column) => moments[2 * Z + (row * (row - 1)) / 2 + column];
  for (let b = 0; b < batch; b++) {
    for (let i = Z - 1; i >= 0; i--) {
      let sum = noise.data[b * Z + i];
      for (let j = i + 1; j < Z; j++) sum -= below(j, i) * z.data[b * Z + j];
      z.data[b * Z + i] = sum / Math.exp(moments[Z + i]);
    }
    for (let i = 0; i < Z; i++) z.data[b * Z + i] += moments[i];
  }
  return z;
}

const OPERATIONS = {
  conv: (op, [x]) => convolve(x, op.kernel, op.bias, op.stride, x.shape.slice(1, 3), false),
  conv_transpose: (op, [x]) => convolve(x, op.kernel, op.bias, op.stride, op.size, true),
  dense: (op, [x]) => dense(x, op.kernel, op.bias, op.shape),
  affine: (op, [x]) => affine(x, op.scale, op.offset),
  leaky: (op, [x]) => leaky(x, op.slope),
  sigmoid: (op, [x]) => sigmoid(x),
  add: (op, [a, b]) => add(a, b),
  concat: (op, [a, b]) => concat(a, b),
  push_pull: (op, [m]) => pushPull(m, op.outputs.length),
  fill: (op, [m, guess]) => fill(m, guess, op.outputs.length),
  factors: (op, [m]) => factors(m, op.mean, op.loadings, op.noise),
  normal: (op, [moments, noise]) => normal(moments, noise),
};

// The operations of a graph with the weights that they name. `bytes`: an ArrayBuffer.
function load(graph, bytes) {
  const weights = graph.weights.map(({ shape, type, start }) => {
    const data = type === "float16" ? fromHalf(new Uint16Array(bytes, start, size(shape)))
                                    : new Float32Array(bytes, start, size(shape));
    return value(shape, data);
  });
  return graph.ops.map((op) => {
    const own = {};
    for (const [role, index] of Object.entries(op.weights)) {
      const weight = index === null ? null : weights[index];
      own[role] = weight && role !== "kernel" ? weight.data : weight;
    }
    return { ...op, ...own };
  });
}

function fromHalf(halves) {
  return Float32Array.from(halves, (half) => {
    const sign = half >> 15 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
}

// All that can be worked out from what is known, a Map from names to values, is added to it.
function run(ops, known) {
  for (const op of ops) {
    if (known.has(op.outputs[0]) || !op.inputs.every((name) => known.has(name))) continue;
    const result = OPERATIONS[op.op](op, op.inputs.map((name) => known.get(name)));
    op.outputs.forEach((name, n) => known.set(name, op.outputs.length > 1 ? result[n] : result));
  }
  return known;
}
