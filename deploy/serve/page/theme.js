// Light or dark: as the system says, until a person chooses.

import { byId } from "./dom.js";

const KEY = "edgetwin-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

function kept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is off: the choice holds for this visit
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    return; // as above
  }
}

let chosen = kept();

function show() {
  const name = chosen ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = name;
  const button = byId("theme");
  if (button) {
    button.setAttribute("aria-label", name === "dark" ? "Use light colours" : "Use dark colours");
    button.setAttribute("aria-pressed", String(name === "dark"));
  }
}

export function startTheme() {
  show();
  dark.addEventListener("change", show);
  byId("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    keep(chosen);
    show();
  });
}
