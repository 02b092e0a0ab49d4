// The words of the page, in the language that was chosen; each language is a file of the same keys.

const LANGUAGES = ["en", "de"];
let words = {};

export const language = () => document.documentElement.lang;

// A text, with {names} filled in. Where a number comes as {count}, "key.one" is the text for 1.
export function t(key, values = {}) {
  const text = (values.count === 1 && words[`${key}.one`]) || words[key] || key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function preferred() {
  const wanted = [localStorage.getItem("language"), ...navigator.languages.map((code) => code.slice(0, 2))];
  return wanted.find((code) => LANGUAGES.includes(code)) ?? "en";
}

export async function speak(code) {
  words = await (await fetch(`strings.${code}.json`)).json();
  localStorage.setItem("language", code);
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
}

export const number = (value, digits = 2) =>
  new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
