// Two responses side by side: click one, or press 1 / ← and 2 / →; u takes the last choice back.
function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;                                  // never innerHTML: texts are anybody's
  return made;
}

function render({ model, el }) {
  const box = element("div", "preference");
  box.tabIndex = 0;
  const progress = element("div", "preference-progress");
  const prompt = element("div", "preference-prompt");
  const cards = element("div", "preference-cards");
  const buttons = [0, 1].map((which) => {
    const button = element("button", "preference-card");
    button.addEventListener("click", () => choose(which));
    cards.append(button);
    return button;
  });
  const undo = element("button", "preference-undo", "undo (u)");
  undo.addEventListener("click", back);
  box.append(progress, prompt, cards, undo);
  el.append(box);

  const choices = () => model.get("choices");
  const store = (changed) => { model.set("choices", changed); model.save_changes(); show(); };

  function choose(which) {
    if (choices().length < model.get("items").length) store([...choices(), which]);
    box.focus({ preventScroll: true });
  }

  function back() {
    if (choices().length) store(choices().slice(0, -1));
    box.focus({ preventScroll: true });
  }

  function show() {
    const items = model.get("items"), done = choices().length, over = done >= items.length;
    progress.textContent = over ? `${done} of ${items.length}: thank you` : `Which response do you prefer? ${done + 1} of ${items.length}`;
    prompt.textContent = over ? "" : items[done][0];
    buttons.forEach((button, which) => {
      button.textContent = over ? "" : items[done][1 + which];
      button.setAttribute("aria-label", over ? "" : `response ${which + 1}: ${items[done][1 + which]}`);
    });
    cards.style.display = over ? "none" : "grid";
    undo.disabled = done === 0;
  }

  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "1": () => choose(0), ArrowLeft: () => choose(0), "2": () => choose(1), ArrowRight: () => choose(1), u: back }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();                                // or the notebook moves to another cell
  });
  model.on("change:choices", show);
  show();
}

export default { render };
