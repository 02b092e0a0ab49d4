// What every page needs: elements, questions to the server, and a question to the person.

export const $ = (selector, inside = document) => inside.querySelector(selector);
export const make = (tag, text = "", className = "") => Object.assign(document.createElement(tag), { textContent: text, className });

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function ask(path, action, patience = 8000) {
  const options = action && {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Goodparts": "1" },
    body: JSON.stringify(action),
  };
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience), ...options });
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  return answer.json();
}

export function confirmed(text) {
  const dialog = $("#confirm");
  $("p", dialog).textContent = text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
