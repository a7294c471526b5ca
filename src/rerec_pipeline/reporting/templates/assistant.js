"use strict";
// The conversation lives here: the server keeps nothing. All text is set as text, never as HTML.
const talk = document.getElementById("talk"), form = document.getElementById("ask"), wish = document.getElementById("wish");
const messages = [];
const SIGNS = {confirmed: ["✓", "right"], contradicted: ["✗", "wrong"], unknown: ["?", "quiet"]};

function add(parent, tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  parent.append(node);
  return node;
}

function showFacts(parent, facts, head) {
  if (!facts.length) return;
  add(parent, "h3", head);
  const list = add(parent, "ul", undefined, "facts");
  for (const fact of facts) {
    const [sign, name] = SIGNS[fact.status];
    const row = add(list, "li");
    const mark = add(row, "span", sign + " ", name);
    mark.setAttribute("aria-label", fact.status);
    add(row, "span", fact.text);
  }
}

function showAnswer(box, answer) {
  const [best] = answer.items;
  if (best) {
    const card = add(box, "div", undefined, "card");
    add(card, "h2", best.title);
    for (const reason of best.reasons) add(card, "p", reason);
    const row = add(card, "div", undefined, "actions");
    const more = (label, text) => add(row, "button", label).addEventListener("click", () => send(text));
    more("Not this", "Something else, please.");
    more("Seen it", "I have seen " + best.title + ". Something else, please.");
    more("More like this", "More like " + best.title + ".");
  }
  showFacts(box, answer.request_facts, "What you said");
  showFacts(box, answer.facts, "What the reasoning states");
  if (answer.candidates.length) {
    const fold = add(box, "details");
    add(fold, "summary", "What I looked at (" + answer.candidates.length + ")");
    const list = add(fold, "ol", undefined, "seen");
    for (const item of answer.candidates)
      add(list, "li", item.title + (item.reasons.length ? " — " + item.reasons.join("; ") : ""));
  }
}

async function send(text) {
  if (!text.trim() || form.dataset.busy) return;
  form.dataset.busy = "1";
  messages.push({role: "user", content: text});
  add(talk, "article", text, "me");
  const box = add(talk, "article"), thinking = add(box, "p", "…", "thinking");
  let said = "", done = null;
  try {
    const reply = await fetch("v1/chat/completions", {
      method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({messages, stream: true}),
    });
    if (!reply.ok) throw new Error(reply.status === 429 ? "Many are asking now. Please try again." : (await reply.json()).error?.message || reply.statusText);
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", part; !(part = await reader.read()).done;) {
      const events = (rest + part.value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (event === "data: [DONE]") continue;
        const body = JSON.parse(event.slice(6));
        if (body.error) throw new Error(body.error.message);
        said += body.choices[0].delta.content || "";
        if (body.rerec) done = body.rerec;
        thinking.textContent = said.trim().replace(/\n{3,}/g, "\n\n") || "…";
      }
    }
    if (done) showAnswer(box, done);
    messages.push({role: "assistant", content: said.trim()});
  } catch (error) {
    thinking.textContent = "That did not work: " + error.message;
    messages.pop();
  }
  delete form.dataset.busy;
  box.scrollIntoView({block: "end", behavior: "smooth"});
  wish.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = wish.value;
  wish.value = "";
  send(text);
});
wish.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
});
