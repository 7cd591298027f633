// Keeps the end of the conversation in sight while it grows, unless the reader has scrolled up.
const scroller = document.getElementById("scroller");
const NEAR = 60; // pixels from the end that count as the end
let following = true;
let own = -1; // where the page itself has scrolled to
let lastTop = 0;

const fromEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

function showJump() {
  document.getElementById("jump").hidden = fromEnd() < NEAR;
}

// After the conversation has grown.
export function follow() {
  if (following) {
    scroller.scrollTop = scroller.scrollHeight;
    own = scroller.scrollTop;
  }
  showJump();
}

export function jumpToEnd() {
  following = true;
  follow();
}

const leave = () => { following = false; };

// A reader's move shows in a scroll event, which may come after more text has moved the page back to
// its end; so the beginning of the move counts.
scroller.addEventListener("wheel", (event) => { if (event.deltaY < 0) leave(); }, { passive: true });
scroller.addEventListener("touchmove", leave, { passive: true });
scroller.addEventListener("pointerdown", (event) => { if (event.offsetX >= scroller.clientWidth) leave(); });
document.addEventListener("keydown", ({ key }) => { if (["PageUp", "Home"].includes(key)) leave(); });
scroller.addEventListener("scroll", () => {
  const top = scroller.scrollTop;
  // At the end without a move down: the text has become shorter.
  if (top !== own) following = fromEnd() < 1 || (fromEnd() < NEAR && top > lastTop);
  lastTop = top;
  showJump();
}, { passive: true });
document.getElementById("jump").addEventListener("click", jumpToEnd);
