// The functions that both pages need: to find and make elements, to ask the server, and to ask the user yes or no.

// The first element that a CSS selector matches.
export const $ = (selector, inside = document) => inside.querySelector(selector);
// A new element with a text.
export const make = (tag, text = "", className = "") =>
  Object.assign(document.createElement(tag), { textContent: text, className });

// The server refused a request; the message is the reason, the status is HTTP's.
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// Sends a request and returns the decoded JSON answer. With an action it is a POST request, otherwise GET. A request
// that has no answer after `patience` milliseconds fails.
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

// Shows a question in a dialog and returns whether the user answered yes.
export function confirmed(text) {
  const dialog = $("#confirm");
  $("p", dialog).textContent = text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// Shows the alarm that the page is out of date, with a text; an empty text removes the alarm.
export function alarm(text) {
  $("#alarm").textContent = text;
  $("#alarm").hidden = !text;
  document.body.classList.toggle("old", Boolean(text));
}

// Sends the token to the server. If the server refuses it, the element `refused` shows the reason.
export async function logIn(token, refused) {
  try {
    await ask("login", { token });
    refused.textContent = "";
  } catch (error) {
    refused.textContent = error.message;
  }
}
