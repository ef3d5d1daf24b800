"use strict";
// What a page asks of the trained model.

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

  // R, Float32Array [K · H · W · C], with Rᵀ R the covariance of the image by factor analysis; null without one.
  linearRoot(seen) {
    const guess = this.ops.find(({ op }) => op === "factors");
    if (!guess) return null;
    const inverse = seen.get(guess.outputs[2]), K = inverse.shape[1];
    return products(inverse.data, K, guess.loadings, guess.loadings.length / K, K);
  }
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;
