const KEY = "name";

/** Returns the most recent name of this tab, or else of this browser. Two tabs may have different names. */
export function rememberedName() {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
}

export function rememberName(name) {
  sessionStorage.setItem(KEY, name);
  localStorage.setItem(KEY, name);
}

/** Fills in the remembered name, or a guest name. Remembers each new name. */
export function useName(input) {
  const guest = guestName();
  input.value = rememberedName() ?? guest;
  input.placeholder = guest;
  input.addEventListener("change", () => rememberName(nameIn(input)));
}

export function guestName() {
  return `Guest ${Math.floor(Math.random() * 900) + 100}`;
}

export function nameIn(input) {
  return input.value.trim().toWellFormed() || input.placeholder;
}

/** Returns a hue for a name. The golden angle gives similar names different hues. */
export function hueOf(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 65536;
  return (hash * 137.508) % 360;
}
