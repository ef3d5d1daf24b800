"use strict";
// What a visitor sees and touches. The model itself works in a worker, or here where a browser has none.
(() => {
  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("data").textContent);
  const [H, W, C] = page.shape, P = H * W, D = P * C;
  const paint = painter(page.shape);
  const DRAWS = 64, SHOWN = 8, ASKED = 6, START = 12;
  const KEYS = {
    reveal: byId("keys").textContent,
    draw: "Draw with the mouse or a finger. Keys: arrows and space.",
  };

  const pixels = new Uint8Array(bytesOf(page.images));
  const images = Array.from({ length: pixels.length / D }, (_, n) =>
    Float32Array.from(pixels.subarray(n * D, (n + 1) * D), (v) => v / 255));
  const trainingMasks = new Uint8Array(bytesOf(page.masks));
  const state = {
    image: images[0].slice(), imageId: 0, place: 0, // place: of the image in the strip, null for one that is drawn
    mask: new Uint8Array(P), asked: new Set(), // asked: pixels that the model has chosen last
    mode: "reveal", brush: { reveal: 1, draw: 2 }, cursor: null, noise: noise(DRAWS),
    id: 0, answer: null, drawnTraining: 0,
  };

  // ------------------------------------------------------------------------------------------------------- the model

  const engine = start();

  // A function of a request; `received` gets the answers.
  function start() {
    const weights = byId("weights").textContent;
    let handle = null;
    const workHere = () => (handle = serve(new Model(page, bytesOf(weights)), received));
    try {
      const source = byId("engine").textContent + `
        let handle = null;
        self.onmessage = ({ data }) => {
          if (handle) return handle(data);
          handle = serve(new Model(data.page, bytesOf(data.weights)), (answer) => self.postMessage(answer));
        };`;
      const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      worker.onmessage = ({ data }) => received(data);
      worker.onerror = (event) => {
        if (state.answer) return failed(event.message);
        workHere(); // it was not let in
        look();
      };
      worker.postMessage({ page, weights });
      handle = (request) => worker.postMessage(request);
    } catch {
      workHere();
    }
    return (request) => handle(request);
  }

  let frame = 0;

  // Asks the model about what is revealed now, once a frame at most.
  function look() {
    state.id++;
    byId("ask").setAttribute("aria-busy", false);
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      showMask();
      const { id, image, imageId, mask, noise } = state;
      engine({ id, image: image.slice(), imageId, mask: mask.slice(), noise });
    });
  }

  // Asks it to choose so many pixels, once its draws are there.
  function ask(number) {
    byId("ask").setAttribute("aria-busy", true);
    engine({ id: state.id, ask: number });
  }

  function received(answer) {
    if (answer.check !== undefined) return checked(answer.check);
    if (answer.id !== state.id) return;
    if (answer.pixels) {
      state.asked = new Set(answer.pixels);
      for (const pixel of answer.pixels) state.mask[pixel] = 1;
      return look();
    }
    state.answer = { ...answer, draws: answer.draws || (state.answer && state.answer.draws) };
    showAnswer();
    if (answer.count === DRAWS && !document.documentElement.dataset.difference) engine({ check: true });
  }

  function checked(difference) {
    document.documentElement.dataset.difference = difference;
    const equal = difference < 1e-4;
    byId("check").textContent = equal
      ? `Compared with Python when it was opened, its numbers differ by ${difference.toExponential(0)} at most.`
      : `Compared with Python when it was opened, its numbers differ by ${difference}: do not trust them.`;
  }

  function failed(message) {
    byId("sentence").textContent = `The model does not run in this browser (${message}).`;
  }

  // Standard normal numbers [rows · Z], by Box and Muller.
  function noise(rows) {
    return Float32Array.from({ length: rows * page.latentDim }, () =>
      Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));
  }

  // ------------------------------------------------------------------------------------------------------- to be seen

  const paintBoard = () => paint.board(byId("board"), state, state.mode === "draw");
  const count = () => state.mask.reduce((sum, v) => sum + v, 0);

  function showMask() {
    const revealed = count();
    byId("count").textContent = `${revealed} of ${P} pixels revealed`;
    byId("board").setAttribute("aria-label",
      `The image, ${H} by ${W} pixels, ${revealed} revealed` + (state.cursor === null ? "" :
        `; row ${Math.floor(state.cursor / W) + 1}, column ${(state.cursor % W) + 1}`));
    byId("ask").disabled = byId("random").disabled = revealed === P;
    byId("clear").disabled = revealed === 0;
    byId("ask").textContent = `Reveal ${Math.min(ASKED, P - revealed) || ASKED} the model asks for`;
    byId("random").textContent = `Reveal ${Math.min(ASKED, P - revealed) || ASKED} at random`;
    paintBoard();
  }

  function showAnswer() {
    const { alone, conditioned, mean, deviation, draws, milliseconds } = state.answer;
    paint.image(byId("truth"), state.image);
    paint.image(byId("alone"), alone);
    paint.image(byId("conditioned"), conditioned);
    paint.image(byId("mean"), mean);
    paint.deviation(byId("deviation"), deviation);
    if (draws) {
      [...byId("draws").children].forEach((canvas, n) => paint.image(canvas, draws.subarray(n * D, (n + 1) * D)));
    }
    byId("draw-count").textContent = state.answer.count;
    for (const [id, image] of Object.entries({ alone, conditioned })) {
      byId(`${id}-error`).textContent = `off by ${rootMeanSquare(state.image, image, () => true).toFixed(2)}`;
    }
    if (state.answer.count === SHOWN) {
      document.documentElement.dataset.milliseconds = milliseconds;
      byId("time").textContent = `The last look took ${Math.max(Math.round(milliseconds), 1)} ms.`;
    }
    if (state.answer.count < DRAWS) return;
    byId("sentence").textContent = sentence(mean, deviation);
    document.documentElement.dataset.state = "ready";
  }

  // What is to be seen, in words.
  function sentence(mean, deviation) {
    const revealed = count();
    if (revealed === P) return "All pixels are revealed: there is nothing left to guess.";
    if (state.mode === "draw" && revealed === 0) return "You are drawing; it has seen nothing of it yet.";
    const hidden = (pixel) => !state.mask[pixel];
    const error = rootMeanSquare(state.image, mean, hidden);
    const expected = Math.sqrt(rootMeanSquare(deviation, new Float32Array(D), hidden) ** 2 + page.variance);
    const whole = revealed === 0 ? "Nothing is revealed, so these are images from nothing."
      : `${revealed} ${revealed === 1 ? "pixel is" : "pixels are"} revealed.`;
    return `${whole} At the hidden pixels the mean of the draws is off by ${error.toFixed(2)}, where the model ` +
      `expects ${expected.toFixed(2)} (black is 0, white is 1).`;
  }

  function rootMeanSquare(a, b, where) {
    let sum = 0, n = 0;
    for (let d = 0; d < D; d++) {
      if (!where(Math.floor(d / C))) continue;
      sum += (a[d] - b[d]) ** 2;
      n++;
    }
    return Math.sqrt(sum / n);
  }

  // ------------------------------------------------------------------------------------------------------- to be done

  function reveal(pixelsToReveal) {
    state.asked.clear();
    for (const pixel of pixelsToReveal) state.mask[pixel] = 1;
    look();
  }

  function atRandom(number) {
    const hidden = Array.from({ length: P }, (_, pixel) => pixel).filter((pixel) => !state.mask[pixel]);
    for (let i = 0; i < Math.min(number, hidden.length); i++) {
      const j = i + Math.floor(Math.random() * (hidden.length - i));
      [hidden[i], hidden[j]] = [hidden[j], hidden[i]];
    }
    return hidden.slice(0, number);
  }

  function trainingMask() {
    const n = state.drawnTraining++ % (trainingMasks.length / P);
    return trainingMasks.subarray(n * P, (n + 1) * P);
  }

  function setMode(mode) {
    state.mode = mode;
    for (const name of ["reveal", "draw"]) byId(`mode-${name}`).setAttribute("aria-pressed", name === mode);
    byId("revealing").hidden = mode !== "reveal";
    byId("drawing").hidden = mode !== "draw";
    byId("brush").value = byId("brush-size").textContent = state.brush[mode];
    byId("keys").textContent = KEYS[mode];
    paintBoard();
    if (state.answer?.count === DRAWS) {
      byId("sentence").textContent = sentence(state.answer.mean, state.answer.deviation);
    }
  }

  function choose(place) {
    state.place = place;
    state.image = place === null ? new Float32Array(D) : images[place].slice();
    state.imageId++;
    state.asked.clear();
    [...byId("strip").children].forEach((button, n) => {
      const chosen = n === place || (place === null && n === 0);
      button.setAttribute("aria-checked", n === place);
      button.tabIndex = chosen ? 0 : -1;
    });
    if (place === null) state.mask.fill(0);
    setMode(place === null ? "draw" : "reveal");
    look();
  }

  // One touch of the brush at a pixel, which reveals, hides or draws. `value`: what the mask becomes there.
  function touch(pixel, value) {
    const row = Math.floor(pixel / W), column = pixel % W, radius = Number(byId("brush").value) / 2;
    const reach = Math.ceil(radius);
    for (let r = Math.max(row - reach, 0); r <= Math.min(row + reach, H - 1); r++) {
      for (let q = Math.max(column - reach, 0); q <= Math.min(column + reach, W - 1); q++) {
        const distance = Math.hypot(r - row, q - column), cover = Math.min(Math.max(radius + 0.5 - distance, 0), 1);
        if (state.mode === "reveal") {
          if (distance < radius + 0.1 || distance === 0) state.mask[r * W + q] = value;
        } else {
          mix(r * W + q, cover);
        }
      }
    }
    if (state.mode === "draw") state.imageId++;
    state.asked.clear();
    look();
  }

  function mix(pixel, cover) {
    for (let c = 0; c < C; c++) {
      const old = state.image[pixel * C + c], pen = penColour(c);
      const mixed = old + cover * (pen - old);
      state.image[pixel * C + c] = C === 3 ? mixed : pen ? Math.max(old, cover) : Math.min(old, 1 - cover);
    }
  }

  const penColour = (c) => C === 3 ? parseInt(byId("pen").value.slice(1 + 2 * c, 3 + 2 * c), 16) / 255
    : byId("rubber").getAttribute("aria-pressed") === "true" ? 0 : 1;

  function pixelAt(event) {
    const box = byId("board").getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * W);
    const row = Math.floor(((event.clientY - box.top) / box.height) * H);
    return row < 0 || column < 0 || row >= H || column >= W ? null : row * W + column;
  }

  // All pixels on the way of a stroke from one to another.
  function between(from, to) {
    const [r0, c0, r1, c1] = [Math.floor(from / W), from % W, Math.floor(to / W), to % W];
    const steps = Math.max(Math.abs(r1 - r0), Math.abs(c1 - c0), 1);
    return Array.from({ length: steps }, (_, i) =>
      Math.round(r0 + ((r1 - r0) * (i + 1)) / steps) * W + Math.round(c0 + ((c1 - c0) * (i + 1)) / steps));
  }

  let stroke = null; // { pixel, value } of the stroke that is being made

  byId("board").addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const pixel = pixelAt(event);
    if (pixel === null) return;
    byId("board").setPointerCapture(event.pointerId);
    stroke = { pixel, value: state.mask[pixel] ? 0 : 1 };
    state.cursor = null;
    touch(pixel, stroke.value);
  });
  byId("board").addEventListener("pointermove", (event) => {
    if (stroke === null) return;
    const samples = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const sample of samples.length ? samples : [event]) {
      const pixel = pixelAt(sample);
      if (pixel === null || pixel === stroke.pixel) continue;
      for (const passed of between(stroke.pixel, pixel)) touch(passed, stroke.value);
      stroke.pixel = pixel;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) byId("board").addEventListener(name, () => (stroke = null));

  byId("board").addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cursor = state.cursor === null ? Math.floor(H / 2) * W + Math.floor(W / 2) : state.cursor;
    if (step) {
      const row = Math.min(Math.max(Math.floor(cursor / W) + step[0], 0), H - 1);
      const column = Math.min(Math.max((cursor % W) + step[1], 0), W - 1);
      state.cursor = state.cursor === null ? cursor : row * W + column;
      showMask();
    } else if (event.key === " " || event.key === "Enter") {
      state.cursor = cursor;
      touch(cursor, state.mask[cursor] ? 0 : 1);
    } else {
      return;
    }
    event.preventDefault();
  });
  for (const name of ["focus", "blur"]) byId("board").addEventListener(name, paintBoard);

  byId("ask").addEventListener("click", () => ask(Math.min(ASKED, P - count())));
  byId("random").addEventListener("click", () => reveal(atRandom(ASKED)));
  byId("clear").addEventListener("click", () => {
    state.mask.fill(0);
    reveal([]);
  });
  if (byId("training")) {
    byId("training").addEventListener("click", () => {
      state.mask.set(trainingMask());
      reveal([]);
    });
  }
  byId("next").addEventListener("click", () => choose(state.place === null ? 0 : (state.place + 1) % images.length));
  byId("own").addEventListener("click", () => choose(null));
  byId("blank").addEventListener("click", () => choose(null));
  byId("done").addEventListener("click", () => setMode("reveal"));
  byId("again").addEventListener("click", () => {
    state.noise = noise(DRAWS);
    look();
  });
  byId("mode-reveal").addEventListener("click", () => setMode("reveal"));
  byId("mode-draw").addEventListener("click", () => setMode("draw"));
  if (byId("rubber")) {
    byId("rubber").addEventListener("click", ({ target }) =>
      target.setAttribute("aria-pressed", target.getAttribute("aria-pressed") !== "true"));
  }
  byId("brush").addEventListener("input", ({ target }) => {
    byId("brush-size").textContent = state.brush[state.mode] = target.value;
  });

  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    byId("theme").textContent = name === "dark" ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", `Change to ${name === "dark" ? "light" : "dark"} colours`);
    paintBoard();
    if (state.answer) showAnswer();
  }

  byId("theme").addEventListener("click", () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  prefersDark.addEventListener("change", () => setTheme(prefersDark.matches ? "dark" : "light"));
  new ResizeObserver(paintBoard).observe(byId("board"));

  for (let n = 0; n < SHOWN; n++) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Draw ${n + 1} of ${SHOWN} given the revealed pixels`);
    byId("draws").append(canvas);
  }
  for (const canvas of document.querySelectorAll(".panels canvas")) [canvas.width, canvas.height] = [W, H];
  images.forEach((image, n) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Test image ${n + 1}`);
    button.append(canvas);
    button.addEventListener("click", () => choose(n));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose((n + step + images.length) % images.length);
      byId("strip").children[state.place].focus();
    });
    paint.image(canvas, image);
    byId("strip").append(button);
  });
  if (byId("training")) state.mask.set(trainingMask());
  setTheme(prefersDark.matches ? "dark" : "light");
  choose(0);
  showMask();
  if (!byId("training")) ask(Math.min(START, P)); // so that there is something to be seen at once
})();
