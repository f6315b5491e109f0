// The part of the page in which a reader types a text and sees the words for its masks.

const TOP = 5;
const byId = (id) => document.getElementById(`try-${id}`);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

function start() {
  const form = JSON.parse(byId("data").textContent);
  const [input, said, found, insert] = [byId("text"), byId("said"), byId("found"), byId("insert")];
  const name = form.tokenizer.pieces[form.tokenizer.mask];
  let filler = null;

  // One table for each mask.
  function table(words, number, count) {
    const made = element("table", undefined, "try-words");
    made.append(element("caption", count > 1 ? `Mask ${number + 1} of ${count}` : "Words for the mask"));
    const head = made.createTHead().insertRow();
    for (const title of ["word", "probability"]) {
      const cell = element("th", title);
      cell.scope = "col";
      head.append(cell);
    }
    const body = made.createTBody();
    for (const { token, probability } of words) {
      const row = body.insertRow();
      const word = element("th");
      word.scope = "row";
      const text = element("bdi", token);
      word.append(text);
      const bar = element("span", undefined, "try-bar");
      bar.setAttribute("aria-hidden", "true");
      const part = element("span");
      part.style.width = percent(probability);
      bar.append(part);
      const cell = element("td");
      cell.append(bar, element("span", percent(probability), "try-share"));
      row.append(word, cell);
    }
    return made;
  }

  function say(...parts) {
    said.replaceChildren(...parts);
  }

  function unknownWords(unknown) {
    const words = [...new Set(unknown)];
    if (!words.length) return "";
    const more = words.length > 8 ? " …" : "";
    return ` Not in the vocabulary, so the model does not see them: ${words.slice(0, 8).join(" ")}${more}.`;
  }

  function fill() {
    filler = filler || makeFiller(form);
    const answer = filler(input.value, TOP);
    found.replaceChildren();
    input.removeAttribute("aria-invalid");
    insert.classList.remove("try-needed");
    if (answer.problem) input.setAttribute("aria-invalid", "true");
    if (answer.problem === "no mask") {
      insert.classList.add("try-needed");
      say(`There is no ${name} in the text. Write ${name} in the place of a word, or press “Insert ${name}”.`);
    } else if (answer.problem === "too long") {
      say(`The text has ${answer.has} tokens, and the model takes ${answer.takes}. Shorten it.`);
    } else {
      const best = answer.masks.map((words) => `${words[0].token} ${percent(words[0].probability)}`).join("; ");
      say(`Most likely: ${best}.${unknownWords(answer.unknown)}`);
      found.append(...answer.masks.map((words, number) => table(words, number, answer.masks.length)));
    }
  }

  // A mask replaces the selected text. Without a selection it goes to the cursor, with a space on either side.
  function insertMask() {
    const [before, after] = [input.value.slice(0, input.selectionStart), input.value.slice(input.selectionEnd)];
    const left = before && !/\s$/.test(before) && input.selectionStart === input.selectionEnd ? " " : "";
    const right = after && /^[\p{L}\p{N}]/u.test(after) ? " " : "";
    input.value = before + left + name + right + after;
    const end = before.length + left.length + name.length;
    input.focus();
    input.setSelectionRange(end, end);
    fill();
  }

  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    fill();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      fill();
    }
  });
  insert.addEventListener("click", insertMask);
  for (const button of document.querySelectorAll(".try-example")) {
    button.addEventListener("click", () => {
      input.value = button.textContent;
      fill();
    });
  }
  // The page is drawn first.
  setTimeout(fill, 0);
}

start();
