/** Fills in the last name of this tab, or a guest name. Stores each new name for this tab. */
export function useName(input) {
  const guest = `Guest ${Math.floor(Math.random() * 900) + 100}`;
  input.value = sessionStorage.getItem("name") ?? guest;
  input.placeholder = guest;
  input.addEventListener("change", () => sessionStorage.setItem("name", nameIn(input)));
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
