const main = document.querySelector("main"), page = main.dataset.page, inputs = [...document.querySelectorAll("input")];
const pairs = document.querySelectorAll("fieldset").length, done = document.getElementById("done");
const kept = () => { try { return JSON.parse(localStorage.getItem(page)) || {}; } catch { return {}; } };
const chosen = () => Object.fromEntries(inputs.filter(each => each.checked).map(each => [each.name, each.value]));
const tell = () => { done.textContent = `${Object.keys(chosen()).length} of ${pairs} rated`; };
const before = kept();
for (const each of inputs) {
  each.checked = before[each.name] === each.value;
  each.addEventListener("change", () => {
    try { localStorage.setItem(page, JSON.stringify(chosen())); } catch { /* a browser that keeps nothing */ }
    tell();
  });
}
tell();
document.getElementById("save").addEventListener("click", () => {
  const said = { document: "quality-ratings", schema_version: 1, page, ratings: chosen() };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(said, null, 2)], { type: "application/json" }));
  link.download = "ratings.json";
  link.click();
});
