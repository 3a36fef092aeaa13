// The theme lets the keyboard scroll wide code only where it was visible when the page
// was loaded. Opening a fold shows more: ask the theme to look again.
const again = () => setTimeout(() => dispatchEvent(new Event("resize")));
addEventListener("toggle", again, true);
addEventListener("click", (event) => event.target.closest?.(".admonition") && again());
