// Live update and keyboard. Pages are whole without it.
(() => {
  "use strict";
  const body = document.body;
  const main = document.getElementById("main");
  const busy = () => {
    const at = document.activeElement;
    const typing = at && (at.matches("input:not([type=checkbox], [type=hidden]), select, textarea"));
    // What was typed and not sent yet is not taken away.
    const typed = [...main.querySelectorAll("input:not([type=checkbox], [type=hidden]), textarea")]
      .some((field) => field.value !== field.defaultValue);
    return typing || typed || document.querySelector("details.stop[open]") || document.querySelector("input[type=checkbox]:checked");
  };

  // A page that changed on the server is fetched again and its main part swapped; focus and open folds stay.
  let pending = null, wanted = false;
  const swap = async () => {
    pending = null;
    if (document.hidden || busy()) { wanted = true; return; }
    wanted = false;
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" }).catch(() => null);
    if (!answer || !answer.ok || answer.redirected) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
    if (!next || next.innerHTML === main.innerHTML) return;
    const open = [...main.querySelectorAll("details[id][open]")].map((fold) => fold.id);
    const focus = document.activeElement && document.activeElement.id;
    main.replaceChildren(...next.childNodes);
    open.forEach((id) => { const fold = document.getElementById(id); if (fold) fold.open = true; });
    if (focus) { const again = document.getElementById(focus); if (again) again.focus({ preventScroll: true }); }
  };
  const soon = () => { if (!pending) pending = setTimeout(swap, 350); };
  if (body.dataset.live && window.EventSource) {
    const kinds = (body.dataset.kinds || "").split(" ");
    const source = new EventSource(body.dataset.live);
    kinds.concat("missed").forEach((kind) => source.addEventListener(kind, soon));
    addEventListener("pagehide", () => source.close());
    document.addEventListener("visibilitychange", () => { if (!document.hidden && wanted) soon(); });
    addEventListener("focusout", () => { if (wanted) soon(); });
  }

  // Keyboard: g then a letter goes to a page, / searches, j and k walk the rows, x ticks, ? lists the keys.
  let prefix = false;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      document.querySelectorAll("details.stop[open]").forEach((fold) => { fold.open = false; });
      return;
    }
    if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    const key = event.key;
    if (prefix) {
      prefix = false;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (key === "g") { prefix = true; setTimeout(() => { prefix = false; }, 1200); return; }
    if (key === "/") {
      const search = document.querySelector("input[type=search]");
      if (search) { event.preventDefault(); search.focus(); }
      return;
    }
    if (key === "j" || key === "k") {
      const links = [...main.querySelectorAll("a[data-row]")];
      if (!links.length) return;
      const at = links.indexOf(document.activeElement);
      const next = at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + (key === "j" ? 1 : -1)));
      event.preventDefault();
      links[next].focus();
      return;
    }
    if (key === "x") {
      const row = document.activeElement && document.activeElement.closest("tr");
      const box = row && row.querySelector("input[type=checkbox]");
      if (box) { event.preventDefault(); box.checked = !box.checked; box.dispatchEvent(new Event("change", { bubbles: true })); }
    }
  });

  // The number of ticked rows stands on the button.
  document.addEventListener("change", (event) => {
    const form = event.target.closest && event.target.closest("form[data-count]");
    const button = form && form.querySelector("button[data-counted]");
    if (!button) return;
    const ticked = form.querySelectorAll("input[name=item]:checked").length;
    button.textContent = ticked ? `${button.dataset.counted} (${ticked})` : button.dataset.counted;
  });
})();
