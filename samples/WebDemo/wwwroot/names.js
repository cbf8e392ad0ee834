/** Fills in what this tab's visitor was called before, or a guest's name, and keeps what they call themselves. */
export function useName(input) {
  const guest = `Guest ${Math.floor(Math.random() * 900) + 100}`;
  input.value = sessionStorage.getItem("name") ?? guest;
  input.placeholder = guest;
  input.addEventListener("change", () => sessionStorage.setItem("name", nameIn(input)));
}

export function nameIn(input) {
  return input.value.trim().toWellFormed() || input.placeholder;
}

/** Each name has its colour; the golden angle keeps names that differ little apart. */
export function hueOf(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 65536;
  return (hash * 137.508) % 360;
}
