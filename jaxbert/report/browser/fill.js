// Fills the masks of a text, as `jaxbert fill-mask` does. `form` is the object that the page holds.

// Returns a function (text, top) -> {masks, unknown} or {problem, ...}.
//   masks: for each mask of the text [{token, id, probability}, ...], the likeliest first.
//   unknown: the stretches of the text that the vocabulary lacks.
//   problem: "no mask", or "too long" with `has` and `takes`, in tokens.
function makeFiller(form) {
  const tokenizer = makeTokenizer(form.tokenizer);
  const logits = makeModel(form.model, fromBase64(form.weights));
  const { cls, sep, mask } = form.tokenizer;

  return (text, top) => {
    const { ids, unknown } = tokenizer.encode(text);
    if (!ids.includes(mask)) return { problem: "no mask", unknown };
    const takes = form.model.longest - 2;
    if (ids.length > takes) return { problem: "too long", has: ids.length, takes, unknown };
    const row = [cls, ...ids, sep];
    const columns = row.flatMap((id, column) => (id === mask ? [column] : []));
    const masks = logits(row, columns).map((found) =>
      likeliest(found, top).map(([id, probability]) => ({ token: tokenizer.show(id), id, probability })),
    );
    return { masks, unknown };
  };
}
