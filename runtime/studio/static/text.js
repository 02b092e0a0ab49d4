// The words of the page in the chosen language. Each language has a file, and all files have the same keys.

const LANGUAGES = ["en", "de"];
let words = {};

export const language = () => document.documentElement.lang;

// Returns the text of a key, with values instead of {names}. If the value of {count} is 1, the text of "key.one" is
// used if there is such a key.
export function t(key, values = {}) {
  const text = (values.count === 1 && words[`${key}.one`]) || words[key] || key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Returns the language that the user chose before, otherwise the browser's first language that the page has.
export function preferred() {
  const wanted = [localStorage.getItem("language"), ...navigator.languages.map((code) => code.slice(0, 2))];
  return wanted.find((code) => LANGUAGES.includes(code)) ?? "en";
}

// Changes the page to a language.
export async function speak(code) {
  words = await (await fetch(`strings.${code}.json`)).json();
  localStorage.setItem("language", code);
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
}

// Returns a number as the chosen language writes it.
export const number = (value, digits = 2, options = {}) =>
  new Intl.NumberFormat(language(), {
    minimumFractionDigits: digits, maximumFractionDigits: digits, ...options,
  }).format(value);
// Returns a part's score as text. It is rounded down, so that 1.00 is never shown for a part below the threshold.
export const score = (value) => number(Math.min(value, 999), 2, { roundingMode: "floor" });
