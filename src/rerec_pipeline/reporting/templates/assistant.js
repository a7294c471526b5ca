"use strict";
// The conversation lives here: the server keeps nothing. All text is set as text, never as HTML.
const talk = document.getElementById("talk"), form = document.getElementById("ask"), wish = document.getElementById("wish");
const gate = document.getElementById("gate"), token = document.getElementById("token");
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
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", fact.status);
    add(row, "span", fact.text);
  }
}

function showAnswer(box, answer) {
  const [best] = answer.items;
  if (best) {
    const card = add(box, "div", undefined, "card");
    const [, name, year] = /^(.*?)(?: \((\d{4})\))?$/.exec(best.title);
    add(card, "h2", name);
    add(card, "p", [year, ...best.kinds].filter(Boolean).join(" · "), "kinds");
    if (best.reasons.length) {
      const why = add(card, "ul", undefined, "why");
      for (const reason of best.reasons) add(why, "li", reason);
    }
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

// The token stays in this tab.
function askForToken() {
  return new Promise((done) => {
    gate.addEventListener("close", () => {
      sessionStorage.setItem("token", token.value);
      done(Boolean(token.value));
      token.value = "";
    }, {once: true});
    gate.showModal();
  });
}

async function ask() {
  const headers = {"Content-Type": "application/json"}, known = sessionStorage.getItem("token");
  if (known) headers.Authorization = "Bearer " + known;
  const reply = await fetch("v1/chat/completions", {method: "POST", headers, body: JSON.stringify({messages, stream: true})});
  if (reply.status === 401 && await askForToken()) return ask();
  if (reply.status === 429) throw new Error("Many are asking now. Please try again.");
  if (!reply.ok) throw new Error((await reply.json()).error?.message || reply.statusText);
  return reply;
}

async function send(text) {
  if (!text.trim() || form.dataset.busy) return;
  form.dataset.busy = "1";
  messages.push({role: "user", content: text});
  add(talk, "article", text, "me");
  const box = add(talk, "article"), thinking = add(box, "p", "…", "thinking");
  let said = "", done = null;
  talk.setAttribute("aria-busy", "true");
  try {
    const reply = await ask();
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
    // The card says what is recommended.
    if (done?.items.length) thinking.textContent = done.reasoning;
    if (done) showAnswer(box, done);
    messages.push({role: "assistant", content: said.trim()});
  } catch (error) {
    thinking.textContent = "That did not work: " + error.message;
    messages.pop();
  }
  delete form.dataset.busy;
  talk.removeAttribute("aria-busy");
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
