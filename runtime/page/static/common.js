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

// Shows why what is seen may be old; an empty text takes that back.
export function alarm(text) {
  $("#alarm").textContent = text;
  $("#alarm").hidden = !text;
  document.body.classList.toggle("old", Boolean(text));
}

// Sends the token, and shows in the element `refused` why it was not accepted.
export async function logIn(token, refused) {
  try {
    await ask("login", { token });
    refused.textContent = "";
  } catch (error) {
    refused.textContent = error.message;
  }
}
