// Token ids of a text, the same as those of jaxbert's tokenizers. Three kinds: WordPiece, byte-level BPE and unigram.
//
// `makeTokenizer(form)` takes the object that `jaxbert/report/browser/vocabulary.py` writes. It uses nothing of a
// browser. Classes of characters come from `form`, because browsers differ in their versions of Unicode.

// White space as Unicode's property White_Space has it. JavaScript's \s has U+FEFF too, and lacks U+0085.
const WHITE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WHITE_CHAR = new RegExp(`^[${WHITE}]$`, "u");
const WHITE_END = new RegExp(`[${WHITE}]*$`, "u");
const WHITE_START = new RegExp(`^[${WHITE}]*`, "u");
const WORD_END = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const WORD_START = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const ENDINGS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
const EDGES = new RegExp(`^[${WHITE}\\x1c-\\x1f]+|[${WHITE}\\x1c-\\x1f]+$`, "gu");
const SPACE_MARK = "\u2581";

// Returns the text without the white space at its ends, as Python has it.
function strip(text) {
  return text.replace(EDGES, "");
}

// Returns [first, last, first, last, ...] of numbers that are each the distance from the one before.
function unpackRanges(distances) {
  let sum = 0;
  return distances.map((distance) => (sum += distance));
}

// Returns a function: whether a code point is in the ranges.
function memberOf(distances) {
  const ranges = unpackRanges(distances || []);
  return (code) => {
    let low = 0;
    let high = ranges.length / 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ranges[2 * middle + 1] < code) low = middle + 1;
      else high = middle;
    }
    return 2 * low < ranges.length && ranges[2 * low] <= code;
  };
}

// Returns the text with U+FFFD for each half of a surrogate pair that lacks its other half.
function wellFormed(text) {
  let found = "";
  for (const char of text) found += /^[\ud800-\udfff]$/.test(char) ? "\ufffd" : char;
  return found;
}

// Returns a function: text, form ("NFD", ...) -> the text in this normal form. The characters of `distances` stay as they
// are: they are newer than the tables of the Rust library, and a browser may know them or not.
function makeNormal(distances) {
  const late = memberOf(distances);
  return (text, form) => {
    let found = "";
    let start = 0;
    let at = 0;
    for (const char of text) {
      if (late(char.codePointAt(0))) {
        found += text.slice(start, at).normalize(form) + char;
        start = at + char.length;
      }
      at += char.length;
    }
    return found + text.slice(start).normalize(form);
  };
}

// Lower case one by one, without the rule for the sigma at the end of a word.
function lowerEach(text) {
  let found = "";
  for (const char of text) found += char.toLowerCase();
  return found;
}

// Returns the UTF-8 bytes of a text.
function utf8(text) {
  const bytes = [];
  for (const char of text) {
    const code = char.codePointAt(0);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return bytes;
}

// Returns the text of UTF-8 bytes, with U+FFFD for each stretch that is not a character.
function fromUtf8(bytes) {
  let found = "";
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    let more = 0;
    let low = 0x80;
    let high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) more = 1;
    else if (first >= 0xe0 && first <= 0xef) more = 2;
    else if (first >= 0xf0 && first <= 0xf4) more = 3;
    if (first === 0xe0) low = 0xa0;
    if (first === 0xed) high = 0x9f;
    if (first === 0xf0) low = 0x90;
    if (first === 0xf4) high = 0x8f;
    let code = more ? first & (0x3f >> more) : first;
    let taken = 1;
    while (taken <= more && i + taken < bytes.length && bytes[i + taken] >= low && bytes[i + taken] <= high) {
      code = (code << 6) | (bytes[i + taken] & 63);
      taken += 1;
      low = 0x80;
      high = 0xbf;
    }
    found += taken === more + 1 && (more > 0 || first < 0x80) ? String.fromCodePoint(code) : "\ufffd";
    i += taken;
  }
  return found;
}

// Returns a function that cuts added tokens out of a text: text -> [[text, -1] or ["", id], ...].
function makeCutter(tokens) {
  const byContent = new Map(tokens.filter((token) => token.content).map((token) => [token.content, token]));
  if (!byContent.size) return (text) => (text ? [[text, -1]] : []);
  const contents = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const search = new RegExp(contents.map((one) => one.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")).join("|"), "gu");
  return (text) => {
    const parts = [];
    let done = 0;
    for (const match of text.matchAll(search)) {
      const token = byContent.get(match[0]);
      let start = match.index;
      let stop = start + match[0].length;
      const inside = WORD_END.test(text.slice(0, start)) || WORD_START.test(text.slice(stop));
      if (token.single_word && inside) continue;
      if (token.lstrip) start = Math.max(done, text.slice(0, start).search(WHITE_END));
      if (token.rstrip) stop += text.slice(stop).match(WHITE_START)[0].length;
      if (done < start) parts.push([text.slice(done, start), -1]);
      parts.push(["", token.id]);
      done = stop;
    }
    if (done < text.length) parts.push([text.slice(done), -1]);
    return parts;
  };
}

// BERT's WordPiece, with the normalisation and the cuts of the Rust library's BertNormalizer and BertPreTokenizer.
function wordPiece(form) {
  const dropped = memberOf(form.classes.dropped);
  const mark = memberOf(form.classes.mark);
  const punctuation = memberOf(form.classes.punctuation);
  const normal = makeNormal(form.classes.late);
  const pieces = new Map(form.pieces.slice(0, form.model_size).map((piece, id) => [piece, id]));

  function chinese(code) {
    return (
      (code >= 0x4e00 && code <= 0x9fff) ||
      (code >= 0x3400 && code <= 0x4dbf) ||
      (code >= 0x20000 && code <= 0x2a6df) ||
      (code >= 0x2a700 && code <= 0x2b73f) ||
      (code >= 0x2b740 && code <= 0x2b81f) ||
      (code >= 0x2b920 && code <= 0x2ceaf) ||
      (code >= 0xf900 && code <= 0xfaff) ||
      (code >= 0x2f800 && code <= 0x2fa1f)
    );
  }

  function normalise(text) {
    let found = "";
    for (const char of text) {
      const code = char.codePointAt(0);
      if (form.clean && dropped(code)) continue;
      const kept = form.clean && WHITE_CHAR.test(char) ? " " : char;
      found += form.chinese && chinese(code) ? ` ${kept} ` : kept;
    }
    if (form.strip) {
      let bare = "";
      for (const char of normal(found, "NFD")) if (!mark(char.codePointAt(0))) bare += char;
      found = bare;
    }
    return form.lowercase ? lowerEach(found) : found;
  }

  function words(text) {
    const found = [];
    let word = "";
    const close = () => {
      if (word) found.push(word);
      word = "";
    };
    for (const char of text) {
      if (WHITE_CHAR.test(char)) close();
      else if (punctuation(char.codePointAt(0))) {
        close();
        found.push(char);
      } else word += char;
    }
    close();
    return found;
  }

  // The longest piece first, then the longest of the rest; a word of which a part is no piece is unknown as a whole.
  function split(word) {
    const chars = [...word];
    if (chars.length > form.max_word_chars) return null;
    const ids = [];
    for (let start = 0; start < chars.length; ) {
      let stop = chars.length;
      let id;
      for (; stop > start; stop--) {
        id = pieces.get((start ? "##" : "") + chars.slice(start, stop).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return null;
      ids.push(id);
      start = stop;
    }
    return ids;
  }

  function encode(text, unknown) {
    const ids = [];
    for (const word of words(text)) {
      const found = split(word);
      if (found) ids.push(...found);
      else {
        ids.push(form.unk);
        unknown.push(word);
      }
    }
    return ids;
  }

  return { normalise, encode, show: strip };
}

// RoBERTa's byte-level BPE.
function byteLevelBPE(form) {
  const [isLetter, isNumber] = [memberOf(form.classes.letter), memberOf(form.classes.number)];
  // Bytes that are printable in Latin-1 stand for themselves, the others for the characters from U+0100 on.
  const byteChars = [];
  let further = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    byteChars.push(String.fromCharCode(printable ? byte : further++));
  }
  const charBytes = new Map(byteChars.map((char, byte) => [char, byte]));
  const pieces = new Map(form.pieces.slice(0, form.model_size).map((piece, id) => [piece, id]));
  const ranks = new Map();
  for (let i = 0; i < form.merges.length; i += 2) {
    ranks.set(`${form.pieces[form.merges[i]]} ${form.pieces[form.merges[i + 1]]}`, i);
  }

  function classOf(char) {
    if (WHITE_CHAR.test(char)) return "white";
    const code = char.codePointAt(0);
    return isLetter(code) ? "letter" : isNumber(code) ? "number" : "other";
  }

  // The cuts of GPT-2's expression: an English ending, a space before letters, numbers or other characters, white space
  // up to the space before a word, and the rest of the white space.
  function words(text) {
    const chars = [...text];
    const classes = chars.map(classOf);
    const found = [];
    for (let start = 0; start < chars.length; ) {
      let stop = start;
      const ending = ENDINGS.find((one) => one === chars.slice(start, start + one.length).join(""));
      if (ending) stop += ending.length;
      else {
        const first = chars[start] === " " && stop + 1 < chars.length && classes[stop + 1] !== "white" ? start + 1 : start;
        stop = first;
        while (stop < chars.length && classes[stop] === classes[first]) stop++;
        if (classes[first] === "white" && stop < chars.length && stop - start > 1) stop--;
      }
      found.push(chars.slice(start, stop).join(""));
      start = stop;
    }
    return found;
  }

  // The pair that was learned first is merged first; of equal pairs the leftmost.
  function merge(chars) {
    const parts = chars;
    for (;;) {
      let best = Infinity;
      let at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank !== undefined && rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return parts;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
  }

  function encode(text) {
    const given = form.prefix_space && !text.startsWith(" ") ? ` ${text}` : text;
    const ids = [];
    for (const word of words(given)) {
      for (const part of merge(utf8(word).map((byte) => byteChars[byte]))) ids.push(pieces.get(part));
    }
    return ids;
  }

  function show(piece) {
    const bytes = [];
    for (const char of piece) bytes.push(...(charBytes.has(char) ? [charBytes.get(char)] : utf8(char)));
    return strip(fromUtf8(bytes));
  }

  return { normalise: (text) => text, encode, show };
}

// A table of SentencePiece (`precompiled_charsmap`): a double array that leads from UTF-8 bytes to their replacement.
function charsMap(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(0, true);
  const unit = (index) => view.getUint32(4 + 4 * index, true);
  const replacements = bytes.subarray(4 + size);

  // Returns [number of bytes taken, their replacement as bytes] for the longest stretch from `start` on, or null.
  return (given, start) => {
    let node = 0;
    let found = null;
    node ^= offset(unit(0));
    for (let i = start; i < given.length; i++) {
      node ^= given[i];
      const here = unit(node);
      if ((here & 0x800000ff) >>> 0 !== given[i]) break;
      node ^= offset(here);
      if ((here >>> 8) & 1) {
        const at = unit(node) & 0x7fffffff;
        let end = at;
        while (replacements[end]) end++;
        found = [i + 1 - start, replacements.subarray(at, end)];
      }
    }
    return found;
  };

  function offset(value) {
    return (value >>> 10) << ((value & 0x200) >>> 6);
  }
}

// ALBERT's SentencePiece unigram: the most probable cut of each word.
function unigram(form) {
  const combining = memberOf(form.classes.combining);
  const normal = makeNormal(form.classes.late);
  const replace = form.charsmap ? charsMap(fromBase64(form.charsmap)) : null;
  const [NORMAL, OWN, UNUSED] = ["1", "4", "5"];
  const pieces = new Map();
  let longest = 1;
  // SentencePiece begins its search for the greatest score at the smallest positive float.
  let [least, greatest] = [Infinity, Math.fround(1.1754943508222875e-38)];
  form.pieces.slice(0, form.model_size).forEach((piece, id) => {
    const type = form.types[id];
    if (type === NORMAL) {
      least = Math.min(least, Math.fround(form.scores[id]));
      greatest = Math.max(greatest, Math.fround(form.scores[id]));
    }
    if (type === NORMAL || type === OWN || type === UNUSED) {
      pieces.set(piece, id);
      longest = Math.max(longest, [...piece].length);
    }
  });
  const unknownScore = Math.fround(least - 10);
  const own = form.pieces.filter((_, id) => form.types[id] === OWN).sort((a, b) => b.length - a.length);

  function normaliseWord(word) {
    if (/^[ -~]*$/.test(word)) return form.lowercase ? word.toLowerCase() : word;
    let found = word;
    if (!form.keep_accents) {
      let bare = "";
      for (const char of normal(found, "NFKD")) if (!combining(char.codePointAt(0))) bare += char;
      found = bare;
    }
    if (form.lowercase) found = lowerEach(found);
    return replace ? found : normal(nmt(found), "NFKC");
  }

  // SentencePiece's rules from machine translation: controls go, and odd spaces are spaces.
  function nmt(text) {
    return text
      .replace(/[\u0001-\u0008\u000b\u000e-\u001f\u007f\u008f\u009f]/g, "")
      .replace(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, " ");
  }

  // The model's own normalisation: its table, spaces, and the mark before a word.
  function prepare(text) {
    let found = "";
    const bytes = replace ? utf8(text) : null;
    let at = 0;
    for (let i = 0; i < text.length; ) {
      const symbol = own.find((one) => text.startsWith(one, i));
      let taken = symbol || String.fromCodePoint(text.codePointAt(i));
      let given = taken;
      if (replace) {
        const match = symbol ? null : replace(bytes, at);
        if (match) {
          taken = fromUtf8(bytes.slice(at, at + match[0]));
          given = fromUtf8(match[1]);
        }
        at += utf8(taken).length;
      }
      found += given;
      i += taken.length;
    }
    if (form.remove_extra_spaces) found = found.replace(/ +/g, " ").replace(/^ | $/g, "");
    if (!found) return "";
    if (form.dummy_prefix) found = ` ${found}`;
    return form.escape_spaces ? found.replace(/ /g, SPACE_MARK) : found;
  }

  // Viterbi, with the sums in the precision of SentencePiece.
  function cut(text) {
    const chars = [...text];
    const best = Array.from({ length: chars.length + 1 }, () => ({ from: -1, id: -1, score: 0 }));
    for (let start = 0; start < chars.length; start++) {
      const until = best[start].score;
      let single = false;
      let piece = "";
      for (let stop = start + 1; stop <= Math.min(chars.length, start + longest); stop++) {
        piece += chars[stop - 1];
        const id = pieces.get(piece);
        if (id === undefined || form.types[id] === UNUSED) continue;
        const score = form.types[id] === OWN ? utf8(piece).length * greatest - 0.1 : Math.fround(form.scores[id]);
        offer(best[stop], score + until, start, id);
        if (stop === start + 1) single = true;
      }
      if (!single) offer(best[start + 1], unknownScore + until, start, form.unk);
    }
    const found = [];
    for (let end = chars.length; end > 0; end = best[end].from) found.unshift([best[end].id, best[end].from, end]);
    return found.map(([id, from, end]) => [id, chars.slice(from, end).join("")]);
  }

  function offer(place, score, from, id) {
    if (place.from < 0 || score > place.score) {
      place.from = from;
      place.id = id;
      place.score = Math.fround(score);
    }
  }

  function encode(text, unknown) {
    const ids = [];
    // These five control characters are no white space here. Python takes four of them for it.
    for (const word of text.replace(/[\v\x1c-\x1f]/g, "").split(new RegExp(`[${WHITE}]+`, "u"))) {
      let before = false;
      for (const [id, surface] of word ? cut(prepare(normaliseWord(word))) : []) {
        const isUnknown = id === form.unk;
        if (isUnknown) {
          if (before) unknown[unknown.length - 1] += surface;
          else unknown.push(surface);
        }
        // A stretch of unknown characters is one unknown piece.
        if (!isUnknown || !before) ids.push(...(form.again[id] || [id]));
        before = isUnknown;
      }
    }
    return ids;
  }

  return { normalise: (text) => text, encode, show: (piece) => strip(piece.replaceAll(SPACE_MARK, " ")) };
}

// Returns the bytes of a base64 text.
function fromBase64(text) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const values = new Uint8Array(128);
  for (let i = 0; i < 64; i++) values[alphabet.charCodeAt(i)] = i;
  let end = text.length;
  while (end > 0 && text[end - 1] === "=") end--;
  const bytes = new Uint8Array((end * 3) >> 2);
  let [at, bits, held] = [0, 0, 0];
  for (let i = 0; i < end; i++) {
    held = ((held << 6) | values[text.charCodeAt(i)]) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (held >> bits) & 0xff;
    }
  }
  return bytes;
}

// Returns {encode, show}. encode(text) gives {ids, unknown}: the ids without special tokens around them, and the
// stretches of the text that became the unknown token. The names of special tokens in the text stand for these tokens.
// show(id) gives the text of a piece, as `jaxbert fill-mask` prints it.
function makeTokenizer(form) {
  const kind = { wordpiece: wordPiece, bpe: byteLevelBPE, unigram }[form.kind](form);
  const raw = makeCutter(form.added.filter((token) => !token.normalized));
  const normalised = makeCutter(
    form.added
      .filter((token) => token.normalized)
      .map((token) => ({ ...token, content: kind.normalise(token.content) })),
  );

  function encode(text) {
    const ids = [];
    const unknown = [];
    for (const [part, id] of raw(wellFormed(text))) {
      if (id >= 0) {
        ids.push(id);
        continue;
      }
      for (const [inner, added] of normalised(kind.normalise(part))) {
        if (added >= 0) ids.push(added);
        else ids.push(...kind.encode(inner, unknown));
      }
    }
    return { ids, unknown };
  }

  return { encode, show: (id) => kind.show(form.pieces[id]) || form.pieces[id] };
}
