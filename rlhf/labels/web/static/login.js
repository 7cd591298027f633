// The token comes behind the #, which browsers send to no server and put in no log.
const field = document.getElementById("token");
field.value = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
if (field.value) document.querySelector("button").focus(); else field.focus();

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: field.value.trim().split("#").pop() }),
  });
  const said = await answer.json();
  if (answer.ok) location.replace(said.to); // so that "back" does not lead here
  else document.getElementById("wrong").textContent = said.detail;
});
