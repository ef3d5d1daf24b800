"use strict";
// Images on canvases. painter([H, W, C]) gives the three ways to paint one.

function painter([H, W, C]) {
  const P = H * W, MOST_DEVIATION = 0.4; // as the scale beside it says
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const level = (v) => Math.round(255 * Math.min(Math.max(v, 0), 1));

  // Red, green and blue of a pixel; of images that are neither grey nor in colour, the mean of the channels.
  function rgb(image, pixel) {
    if (C === 3) return [0, 1, 2].map((c) => level(image[pixel * 3 + c]));
    let mean = 0;
    for (let c = 0; c < C; c++) mean += image[pixel * C + c] / C;
    return [level(mean), level(mean), level(mean)];
  }

  function paint(canvas, colourOf) {
    if (canvas.width !== W || canvas.height !== H) [canvas.width, canvas.height] = [W, H];
    const context = canvas.getContext("2d"), picture = context.createImageData(W, H);
    for (let pixel = 0; pixel < P; pixel++) picture.data.set(colourOf(pixel), 4 * pixel);
    context.putImageData(picture, 0, 0);
  }

  const image = (canvas, values) => paint(canvas, (pixel) => [...rgb(values, pixel), 255]);

  // In the accent of the theme, the more the larger.
  function deviation(canvas, values) {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = colour("accent");
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    paint(canvas, (pixel) => {
      let mean = 0;
      for (let c = 0; c < C; c++) mean += values[pixel * C + c] / C;
      return [r, g, b, level(mean / MOST_DEVIATION)];
    });
  }

  // The board: revealed pixels as tiles, and hidden ones as points on paper; or the whole image. asked: a set of pixels
  // that the model has chosen; cursor: that of the keyboard, or null.
  function board(canvas, { image, mask, asked, cursor }, whole) {
    const scale = window.devicePixelRatio || 1;
    // A side of whole device pixels, so that tiles are crisp
    const side = Math.max(1, Math.round((canvas.clientWidth * scale) / W));
    if (canvas.width !== side * W || canvas.height !== side * H) [canvas.width, canvas.height] = [side * W, side * H];
    const context = canvas.getContext("2d"), gap = side >= 8 && !whole ? 1 : 0;
    context.fillStyle = colour("hidden");
    context.fillRect(0, 0, canvas.width, canvas.height);
    const dot = colour("dot"), radius = Math.max(1, side / 14);
    for (let pixel = 0; pixel < P; pixel++) {
      const x = (pixel % W) * side, y = Math.floor(pixel / W) * side;
      if (whole || mask[pixel]) {
        context.fillStyle = `rgb(${rgb(image, pixel)})`;
        context.fillRect(x, y, side - gap, side - gap);
      } else if (side >= 8) {
        context.fillStyle = dot;
        context.fillRect(Math.round(x + side / 2 - radius), Math.round(y + side / 2 - radius), Math.ceil(2 * radius),
                         Math.ceil(2 * radius));
      }
    }
    const ring = Math.max(2, Math.round(side / 6));
    context.strokeStyle = colour("accent");
    context.lineWidth = ring;
    const outline = (pixel, inset) => context.strokeRect(
      (pixel % W) * side + inset, Math.floor(pixel / W) * side + inset, side - gap - 2 * inset, side - gap - 2 * inset);
    if (!whole) for (const pixel of asked) if (mask[pixel]) outline(pixel, ring / 2);
    if (cursor !== null && document.activeElement === canvas) outline(cursor, -ring / 2);
  }

  return { image, deviation, board };
}
