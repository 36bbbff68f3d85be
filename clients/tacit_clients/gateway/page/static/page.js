"use strict";
// The live try-it box. Everything else on these pages works without a script. Text is only ever set as text.
(() => {
  const form = document.getElementById("try");
  const [text, state] = [document.getElementById("text"), document.getElementById("try-state")];
  const [found, leaves, refused] = ["found", "leaves", "refused"].map((id) => document.getElementById(id));
  const csrf = document.querySelector("meta[name=csrf]").content;
  const kinds = { keep: "kept", block: "held", local_only: "held" };
  let waiting = 0;
  let running = null;

  const piece = ({ text, type, score, action }) => {
    if (!type) return document.createTextNode(text);
    const span = document.createElement("span");
    span.className = "span " + (kinds[action] || "masked");
    span.append(text);
    const label = document.createElement("small");
    label.textContent = type + " " + score.toFixed(2);
    span.append(label);
    return span;
  };

  const show = ({ pieces, leaves: whole, refused: why }) => {
    found.replaceChildren(...pieces.map(piece));
    leaves.textContent = whole === null ? "" : whole;
    refused.hidden = whole !== null;
    refused.textContent = whole === null ? "Nothing: " + why + "." : "";
    const count = pieces.filter((each) => each.type).length;
    state.textContent = text.value ? (count === 1 ? "1 found" : count + " found") : "";
  };

  const look = async () => {
    if (running) running.abort();
    running = new AbortController();
    const { signal } = running;
    state.textContent = "Looking …";
    try {
      const answer = await fetch("/owner/try", {
        method: "POST", signal, cache: "no-store", credentials: "same-origin",
        headers: { "content-type": "application/json", "x-tacit-csrf": csrf },
        body: JSON.stringify({ text: text.value }),
      });
      const told = await answer.json();
      if (signal.aborted) return;
      if (answer.ok) show(told);
      else throw new Error(answer.status === 401 ? "This page is closed: open a new link." : told.error.message);
    } catch (error) {
      if (signal.aborted) return;
      [found, leaves].forEach((each) => each.replaceChildren());  // what stands there would be of another text
      refused.hidden = true;
      state.textContent = error instanceof TypeError ? "The gateway does not answer." : error.message;
    }
  };

  text.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, 250);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    look();
  });
  document.getElementById("look").hidden = true;
  if (text.value) look();  // as the browser kept it over a reload
})();
