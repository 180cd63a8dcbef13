
// The page is complete without this: it says how old the page itself is when somebody looks at it later.
const made = Date.parse(document.querySelector("header time").dateTime);
const hours = (Date.now() - made) / 3600000;
if (hours >= 2) {
  const age = document.getElementById("age");
  age.textContent = hours < 48 ? `This page is ${Math.floor(hours)} hours old.` : `This page is ${Math.floor(hours / 24)} days old.`;
  age.hidden = false;
}
