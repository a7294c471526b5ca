const form = document.getElementById("filters");
const articles = [...document.querySelectorAll("article")];
const apply = () => {
  const wanted = ["type", "before", "after"].map((name) => [name, form.elements[name].value]);
  const text = form.elements.text.value.trim().toLowerCase();
  let shown = 0;
  for (const article of articles) {
    article.hidden = !(wanted.every(([name, value]) => !value || article.dataset[name] === value)
      && article.textContent.toLowerCase().includes(text));
    shown += !article.hidden;
  }
  form.elements.shown.value = `${shown} of ${articles.length} shown`;
};
form.addEventListener("input", apply);
form.addEventListener("submit", (event) => event.preventDefault());
apply();
