// Small comforts: long tables start folded on a phone, and everything is open in print.
"use strict";
if (matchMedia("(max-width: 52rem)").matches) {
  for (const part of document.querySelectorAll("details.fold-on-phone")) part.open = false;
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not(.licence)")) part.open = true;
});
