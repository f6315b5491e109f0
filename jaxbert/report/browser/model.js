// The post-LN encoder and its masked-LM head, for one text at a time.
//
// `makeModel(form, bytes)` takes the object and the bytes that `jaxbert/report/browser/weights.py` writes. Matrices are
// int8 with a float32 scale for each row. They become floats once, when the model is made.

// The error function: 2/sqrt(pi) exp(-x^2) times the sum of 2^n x^(2n+1) / (1 * 3 * ... * (2n+1)). All terms have the
// sign of x, so nothing cancels. Beyond 5 it differs from 1 by less than 2e-12.
function erf(x) {
  if (Math.abs(x) > 5) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; Math.abs(term) > 1e-12 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return 2 * Math.sqrt(1 / Math.PI) * Math.exp(-x * x) * sum;
}

function geluErf(x) {
  return 0.5 * x * (1 + erf(x * Math.SQRT1_2));
}

function geluTanh(x) {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
}

// Returns y (L, O) = x (L, I) times the transpose of w (O, I), plus the bias (O).
function affine(x, w, bias, length, inner, outer) {
  const y = new Float32Array(length * outer);
  // Four outputs at once, so that each input is read once for them.
  for (let row = 0; row < length; row++) {
    const from = row * inner;
    let o = 0;
    for (; o + 3 < outer; o += 4) {
      let [a, b, c, d] = [0, 0, 0, 0];
      const [at, bt, ct, dt] = [o * inner, (o + 1) * inner, (o + 2) * inner, (o + 3) * inner];
      for (let i = 0; i < inner; i++) {
        const value = x[from + i];
        a += value * w[at + i];
        b += value * w[bt + i];
        c += value * w[ct + i];
        d += value * w[dt + i];
      }
      const to = row * outer + o;
      y[to] = a + bias[o];
      y[to + 1] = b + bias[o + 1];
      y[to + 2] = c + bias[o + 2];
      y[to + 3] = d + bias[o + 3];
    }
    for (; o < outer; o++) {
      let a = 0;
      for (let i = 0; i < inner; i++) a += x[from + i] * w[o * inner + i];
      y[row * outer + o] = a + bias[o];
    }
  }
  return y;
}

// Normalises each row of x (L, D) in place.
function layerNorm(x, norm, length, width, epsilon) {
  for (let row = 0; row < length; row++) {
    const from = row * width;
    let mean = 0;
    for (let i = 0; i < width; i++) mean += x[from + i];
    mean /= width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (x[from + i] - mean) ** 2;
    const factor = 1 / Math.sqrt(variance / width + epsilon);
    for (let i = 0; i < width; i++) x[from + i] = (x[from + i] - mean) * factor * norm.scale[i] + norm.bias[i];
  }
  return x;
}

// Adds y to x in place.
function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
}

// Returns the context (L, D) of queries, keys and values, which are the thirds of each row of x (L, 3D).
function attend(x, length, width, heads) {
  const size = width / heads;
  const context = new Float32Array(length * width);
  const scores = new Float64Array(length);
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < length; row++) {
      const query = row * 3 * width + head * size;
      let greatest = -Infinity;
      for (let other = 0; other < length; other++) {
        const key = other * 3 * width + width + head * size;
        let score = 0;
        for (let i = 0; i < size; i++) score += x[query + i] * x[key + i];
        scores[other] = score / Math.sqrt(size);
        greatest = Math.max(greatest, scores[other]);
      }
      let sum = 0;
      for (let other = 0; other < length; other++) sum += scores[other] = Math.exp(scores[other] - greatest);
      const to = row * width + head * size;
      for (let other = 0; other < length; other++) {
        const value = other * 3 * width + 2 * width + head * size;
        const weight = scores[other] / sum;
        for (let i = 0; i < size; i++) context[to + i] += weight * x[value + i];
      }
    }
  }
  return context;
}

// Returns [[id, probability], ...] of the `top` greatest logits, the greatest first; of equal ones the lowest id.
function likeliest(logits, top) {
  let greatest = -Infinity;
  for (const logit of logits) greatest = Math.max(greatest, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - greatest);
  const best = [];
  for (let id = 0; id < logits.length; id++) {
    if (best.length === top && logits[id] <= logits[best[top - 1]]) continue;
    let at = best.length;
    while (at > 0 && logits[best[at - 1]] < logits[id]) at--;
    best.splice(at, 0, id);
    best.length = Math.min(best.length, top);
  }
  return best.map((id) => [id, Math.exp(logits[id] - greatest) / sum]);
}

// Returns a function (ids, columns) -> one Float32Array of logits (V) for each of `columns`.
function makeModel(form, bytes) {
  const floats = (at, count) => new Float32Array(bytes.buffer.slice(bytes.byteOffset + at, bytes.byteOffset + at + 4 * count));
  // Numbers at an index of bytes, and for a matrix its scales.
  function read([rows, columns, at, scales]) {
    if (scales < 0) return floats(at, rows * columns);
    const values = new Int8Array(bytes.buffer, bytes.byteOffset + at, rows * columns);
    const scale = floats(scales, rows);
    const found = new Float32Array(rows * columns);
    for (let row = 0, i = 0; row < rows; row++) for (let column = 0; column < columns; column++, i++) found[i] = values[i] * scale[row];
    return found;
  }
  const weights = (tree) =>
    Array.isArray(tree) && typeof tree[0] === "number"
      ? read(tree)
      : Array.isArray(tree)
        ? tree.map(weights)
        : Object.fromEntries(Object.entries(tree).map(([name, inner]) => [name, weights(inner)]));
  const { embeddings, layers, head } = weights(form.tensors);
  const { width, embedding, inner, heads, epsilon, offset, vocab } = form;
  const gelu = form.activation === "gelu_tanh" ? geluTanh : geluErf;

  function embed(ids) {
    const x = new Float32Array(ids.length * embedding);
    ids.forEach((id, row) => {
      for (let i = 0; i < embedding; i++) {
        x[row * embedding + i] =
          embeddings.word[id * embedding + i] +
          embeddings.position[(row + offset) * embedding + i] +
          (embeddings.type ? embeddings.type[i] : 0);
      }
    });
    layerNorm(x, embeddings.norm, ids.length, embedding, epsilon);
    const { projection } = embeddings;
    return projection ? affine(x, projection.kernel, projection.bias, ids.length, embedding, width) : x;
  }

  function block(x, layer, length) {
    const qkv = affine(x, layer.qkv.kernel, layer.qkv.bias, length, width, 3 * width);
    const context = attend(qkv, length, width, heads);
    add(x, affine(context, layer.out.kernel, layer.out.bias, length, width, width));
    layerNorm(x, layer.attention_norm, length, width, epsilon);
    const between = affine(x, layer.up.kernel, layer.up.bias, length, width, inner);
    for (let i = 0; i < between.length; i++) between[i] = gelu(between[i]);
    add(x, affine(between, layer.down.kernel, layer.down.bias, length, inner, width));
    return layerNorm(x, layer.output_norm, length, width, epsilon);
  }

  return (ids, columns) => {
    let x = embed(ids);
    for (let n = 0; n < form.layers; n++) {
      // Layers of one group share their weights.
      x = block(x, layers[Math.floor((n * layers.length) / form.layers)], ids.length);
    }
    return columns.map((column) => {
      const row = x.slice(column * width, (column + 1) * width);
      const h = affine(row, head.dense.kernel, head.dense.bias, 1, width, embedding);
      for (let i = 0; i < embedding; i++) h[i] = gelu(h[i]);
      layerNorm(h, head.norm, 1, embedding, epsilon);
      return affine(h, embeddings.word, head.bias, 1, embedding, vocab);
    });
  };
}
