// The token follows the #, which browsers neither send to a server nor write to a log.
const field = document.getElementById("token");
field.value = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
if (field.value) document.querySelector("button").focus(); else field.focus();

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: field.value.trim().split("#").pop() }),
  });
  const content = await response.json();
  if (response.ok) location.replace(content.to); // so that "back" does not return to the login page
  else document.getElementById("login-error").textContent = content.detail;
});
