// The token comes in the fragment, which browsers send to nobody. Move it into the form, and out
// of the address bar, the history and whatever gets to see either.
const field = document.querySelector("input[name=token]");
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (field && token) {
  field.value = token;
  history.replaceState(null, "", location.pathname);
}
