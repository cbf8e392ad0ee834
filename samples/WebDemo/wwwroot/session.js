const KEY = "session";

/** Returns the session of this tab: { name, token, expires }. Returns null if there is no valid token. */
export function readSession() {
  const session = JSON.parse(sessionStorage.getItem(KEY));
  return session?.expires > Date.now() ? session : null;
}

export function storeSession(session) {
  sessionStorage.setItem(KEY, JSON.stringify(session));
}

export function endSession() {
  sessionStorage.removeItem(KEY);
  location.href = "login.html";
}
