"use strict";
// Which pixels to look at next, and the moments of draws.

// The pixels to look at next: those that, once known, leave the least variance in the draws of the rest. What is
// computed is documented in mtvae_jax/trained/acquisition.py.
// draws: Float32Array [S · P · C]; mask: Uint8Array [P]; variance: of the noise of a pixel; root: of the covariance by
// factor analysis, Float32Array [K · P · C] or null, and its share. Returns `count` pixels.
function nextPixels(draws, mask, count, variance, C, root, share) {
  const P = mask.length, D = P * C, num = draws.length / D, known = Uint8Array.from(mask), chosen = [];
  const S = num + (root ? root.length / D : 0), own = Math.sqrt((root ? 1 - share : 1) / (num - 1));
  const centred = new Float32Array(S * D), deviations = new Float32Array(D * S); // by draws; by values
  const { mean } = moments(draws, num, D);
  for (let s = 0; s < S; s++) {
    for (let d = 0; d < D; d++) {
      centred[s * D + d] = deviations[d * S + s] = s < num ? (draws[s * D + d] - mean[d]) * own
                                                           : root[(s - num) * D + d] * Math.sqrt(share);
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

// Mean and standard deviation of the first `count` draws, by value.
function moments(draws, count, D) {
  const mean = new Float32Array(D), deviation = new Float32Array(D);
  for (let s = 0; s < count; s++) for (let d = 0; d < D; d++) mean[d] += draws[s * D + d] / count;
  for (let s = 0; s < count; s++) for (let d = 0; d < D; d++) deviation[d] += (draws[s * D + d] - mean[d]) ** 2 / count;
  return { mean, deviation: deviation.map(Math.sqrt) };
}
