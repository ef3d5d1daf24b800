"""A network as data: a list of operations on named values, and their weights. `network.js` carries it out."""

import base64

import numpy as np


class Graph:
    """Operations in an order in which they can run; each method adds one and returns the name of its value.

    Values are float [B, H, W, C], or [B, N]. Where two of them meet, the one of fewer rows is taken over and over.

    **Attributes:** `ops`: dicts of `op`, `inputs`, `outputs`, `weights` (role → index into the next) and settings;
    `weights`: float32 arrays, as `network.js` wants them.
    """

    def __init__(self):
        self.ops = []
        self.weights = []

    def conv(self, x, kernel, bias=None, *, stride=1):
        """Returns a convolution with SAME padding by a kernel [kh, kw, C, D]."""
        return self._add("conv", [x], {"kernel": kernel.swapaxes(2, 3), "bias": bias}, stride=stride)

    def conv_transpose(self, x, kernel, bias=None, *, size, stride=2):
        """Returns the transpose of `conv` on images of `size` (H, W), by a kernel [kh, kw, D, C]."""
        return self._add(
            "conv_transpose", [x], {"kernel": kernel, "bias": bias}, stride=stride, size=list(map(int, size))
        )

    def dense(self, x, kernel, bias=None, *, shape=None):
        """Returns the product of x, made flat, and a kernel [N, M]; to a map of `shape` (h, w, F) if that is given."""
        shape = [kernel.shape[1]] if shape is None else list(shape)
        return self._add("dense", [x], {"kernel": kernel.T, "bias": bias}, shape=shape)

    def affine(self, x, scale, offset):
        """Returns a multiple and an offset for each channel, [C] each."""
        return self._add("affine", [x], {"scale": scale, "offset": offset})

    def leaky(self, x, slope):
        return self._add("leaky", [x], slope=slope)

    def sigmoid(self, x):
        return self._add("sigmoid", [x])

    def add(self, x, y):
        return self._add("add", [x, y])

    def concat(self, x, y):
        """Returns the channels of both."""
        return self._add("concat", [x, y])

    def push_pull(self, m, num_layers):
        """Returns the maps of `mtvae_jax.models.context.push_pull`: their names."""
        return self._add("push_pull", [m], num_outputs=num_layers + 1)

    def fill(self, m, guess, num_layers):
        """Returns the maps of `mtvae_jax.models.context.fill`: their names."""
        return self._add("fill", [m, guess], num_outputs=num_layers + 1)

    def factors(self, m, mean, loadings, noise):
        """Returns three names, see `mtvae_jax.models.factors.posterior`: the mean of p(f|m), that with the standard
        deviations behind it, and L⁻¹."""
        weights = {"mean": mean, "loadings": loadings, "noise": noise}
        return self._add("factors", [m], weights, num_outputs=3)

    def normal(self, moments, noise):
        """μ + L⁻ᵀ noise [B, Z] for `moments` [B, Z (Z + 3) / 2]: μ, the logarithm of the diagonal of L, and what is
        below it, row by row."""
        return self._add("normal", [moments, noise])

    def fold(self, wanted):
        """Takes multiples and offsets of the outputs of convolutions into their weights, wherever nothing else needs
        those outputs.

        **Arguments:** `wanted`: names of values that must stay what they are.
        """
        uses = [*wanted, *(name for op in self.ops for name in op["inputs"])]
        producers = {name: op for op in self.ops for name in op["outputs"]}

        def absorbs(name):
            op = producers.get(name)
            if op is None or uses.count(name) > 1:
                return False
            return op["op"] in ("conv", "conv_transpose") or (op["op"] == "add" and all(map(absorbs, op["inputs"])))

        def absorb(name, scale, offset):
            op = producers[name]
            if op["op"] == "add":
                first, second = op["inputs"]
                absorb(first, scale, offset)
                absorb(second, scale, np.zeros_like(offset))
                return
            kernel, bias = (op["weights"][role] for role in ("kernel", "bias"))
            self.weights[kernel] = self.weights[kernel] * scale[:, None]
            if bias is None:
                op["weights"]["bias"] = self._weight(offset)
            else:
                self.weights[bias] = self.weights[bias] * scale + offset

        kept = []
        for op in self.ops:
            if op["op"] != "affine" or not absorbs(op["inputs"][0]):
                kept.append(op)
                continue
            source = producers[op["inputs"][0]]
            absorb(op["inputs"][0], *(self.weights[op["weights"][role]] for role in ("scale", "offset")))
            source["outputs"] = op["outputs"]
            producers[op["outputs"][0]] = source
        self.ops = kept
        self._forget_unused_weights()

    def pack(self):
        """Returns the graph as JSON values: {"ops": …, "weights": [{"shape", "type", "start"}, …]}, and the bytes of
        all weights in base64. A weight whose numbers are those of float16 takes two bytes each.
        """
        entries, parts, start = [], [], 0
        for weight in self.weights:
            kind = "<f4"
            with np.errstate(over="ignore"):
                if np.array_equal(weight.astype("<f2").astype(np.float32), weight):
                    kind = "<f2"
            data = np.ascontiguousarray(weight, kind).tobytes()
            entries.append({"shape": list(weight.shape), "type": f"float{8 * int(kind[-1])}", "start": start})
            data += b"\0" * (-len(data) % 4)  # a Float32Array begins at a multiple of four
            parts.append(data)
            start += len(data)
        return {"ops": self.ops, "weights": entries}, base64.b64encode(b"".join(parts)).decode()

    def _add(self, op, inputs, weights=None, num_outputs=1, **settings):
        outputs = [f"{op}_{len(self.ops)}" + (f"_{n}" if num_outputs > 1 else "") for n in range(num_outputs)]
        indices = {role: None if value is None else self._weight(value) for role, value in (weights or {}).items()}
        self.ops.append({"op": op, "inputs": list(inputs), "outputs": outputs, "weights": indices} | settings)
        return tuple(outputs) if num_outputs > 1 else outputs[0]

    def _weight(self, value):
        self.weights.append(np.asarray(value, np.float32))
        return len(self.weights) - 1

    def _forget_unused_weights(self):
        roles = [op["weights"] for op in self.ops]
        used = sorted({index for indices in roles for index in indices.values() if index is not None})
        place = {old: new for new, old in enumerate(used)} | {None: None}
        for indices in roles:
            indices.update({role: place[index] for role, index in indices.items()})
        self.weights = [self.weights[index] for index in used]
