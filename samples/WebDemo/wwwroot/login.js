import { rememberedName, rememberName } from "./names.js";
import { storeSession } from "./session.js";

const $ = id => document.getElementById(id);

// #region login
async function logIn(name, password) {
  const response = await fetch("login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name, password }),
  });
  if (!response.ok) throw new Error(await response.text());
  storeSession(await response.json());
}
// #endregion

$("login").addEventListener("submit", async event => {
  event.preventDefault();
  $("problem").textContent = "";
  try {
    await logIn($("name").value, $("password").value);
    rememberName($("name").value);
    location.href = "members.html";
  } catch (error) {
    $("problem").textContent = error.message;
    $("password").select();
  }
});

$("name").value = rememberedName() ?? "";
($("name").value ? $("password") : $("name")).focus();
