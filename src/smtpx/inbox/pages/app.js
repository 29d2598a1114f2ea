// The inbox's page. Nothing is ever made of an HTML string: the page's policy forbids it.

const at = (id) => document.getElementById(id);
const PAGE = 50;
const SHOWN = 300000;
const COUNTED = 1000;
const state = {
  rows: [], next: null, total: 0, query: "", current: null, detail: null, view: null,
  picked: new Set(), settings: {}, mode: "message",
};

// Making elements.

function make(kind, options = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(options)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const clock = (seconds) => {
  const moment = new Date(seconds * 1000);
  const today = new Date().toDateString() === moment.toDateString();
  return today ? moment.toLocaleTimeString() : moment.toLocaleString();
};
const size = (octets) => octets < 1024 ? `${octets} B` : octets < 1048576 ? `${(octets / 1024).toFixed(1)} kB` : `${(octets / 1048576).toFixed(1)} MB`;
const named = (author) => author.replace(/\s*<[^>]*>$/, "").replace(/^"(.*)"$/, "$1") || author;
const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;

// Asking the server.

async function ask(path, options = {}) {
  const { body, ...rest } = options;
  if (body !== undefined) { rest.body = JSON.stringify(body); rest.headers = { "Content-Type": "application/json" }; }
  const response = await fetch(path, rest);
  const kind = response.headers.get("Content-Type") || "";
  const value = kind.startsWith("application/json") ? await response.json() : await response.text();
  if (!response.ok && !(value && value.outcomes)) throw new Error(value.error || `${response.status}`);
  return value;
}

function complain(error) {
  at("error").textContent = error ? String(error.message || error) : "";
  at("error").hidden = !error;
}
const guarded = (act) => async (...words) => { try { await act(...words); complain(null); } catch (error) { complain(error); } };

// The list: one page of rows at a time, whatever there is.

let asked = 0;
async function load() {
  const mine = ++asked;
  const answer = await ask(`api/messages?limit=${PAGE}&query=${encodeURIComponent(state.query)}`);
  if (mine !== asked) return;
  const old = new Set(state.rows.map((row) => row.id));
  const fresh = old.size ? answer.messages.filter((row) => !old.has(row.id)).map((row) => row.id) : [];
  Object.assign(state, { rows: answer.messages, next: answer.next, total: answer.total });
  list(new Set(fresh));
}

async function page(before) {
  const answer = await ask(`api/messages?limit=${PAGE}&before=${before}&query=${encodeURIComponent(state.query)}`);
  // The page follows another, in place of growing without end.
  Object.assign(state, { rows: answer.messages, next: answer.next });
  list(new Set());
  at("list").scrollTop = 0;
}

// Of a search, matches are counted only so far.
const some = (word) => plural(state.total, word).replace("matchs", "matches") + (state.query && state.total >= COUNTED ? " or more" : "");

function list(fresh) {
  const words = some(state.query ? "match" : "message");
  at("found").textContent = state.total ? words : state.query ? "Nothing matches" : "No messages yet";
  const items = state.rows.map((row) => item(row, fresh.has(row.id)));
  if (state.next !== null) {
    items.push(make("li", { role: "presentation", class: "turn" },
      make("button", { type: "button", class: "more", text: "Older messages", on: { click: guarded(() => page(state.next)) } })));
  }
  at("list").replaceChildren(...items);
  mark();
}

function item(row, isNew) {
  const more = row.recipient_count - 1;
  const to = `${row.recipients[0] || "nobody"}${more > 0 ? ` +${more}` : ""}${row.bcc.length ? ` (${row.bcc.length} Bcc)` : ""}`;
  return make("li", {
    id: `m${row.id}`, role: "option", "data-id": row.id, "aria-selected": "false",
    class: `${row.seen ? "" : "unread"} ${isNew ? "new" : ""} ${state.picked.has(row.id) ? "picked" : ""}`,
    on: { click: guarded(() => open(row.id)) },
  },
  make("span", { class: "subject", text: row.subject || "(no subject)" }),
  make("span", { class: "when", text: clock(row.taken) }),
  make("span", { class: "people", text: `${named(row.from) || row.sender || "<>"} → ${to}` }),
  make("span", { class: "marks" },
    row.breaches ? make("span", { class: "mark bad", text: plural(row.breaches, "breach").replace("breachs", "breaches") }) : null,
    row.findings ? make("span", { class: "mark warn", text: `lint ${row.findings}` }) : null,
    row.attachments ? make("span", { class: "mark", text: plural(row.attachments, "file") }) : null,
    make("span", { class: "mark", text: size(row.size) })));
}

function mark() {
  const list = at("list");
  list.removeAttribute("aria-activedescendant");
  for (const element of list.children) {
    const chosen = state.current !== null && element.dataset.id === String(state.current);
    if (element.getAttribute("role") === "option") element.setAttribute("aria-selected", String(chosen));
    if (chosen) list.setAttribute("aria-activedescendant", element.id);
  }
}

// One message.

const VIEWS = [["html", "HTML"], ["text", "Text"], ["source", "Source"], ["headers", "Header"], ["parts", "Parts"], ["smtp", "SMTP"], ["lint", "Lint"]];

async function open(id) {
  const detail = await ask(`api/messages/${id}`);
  Object.assign(state, { current: id, detail, mode: "message" });
  modes();
  state.view = detail.has_html ? "html" : detail.has_text ? "text" : "source";
  history.replaceState(null, "", `#/m/${id}`);
  document.body.classList.add("open");
  await show();
  mark();
  const row = state.rows.find((each) => each.id === id);
  if (row && !row.seen) {
    row.seen = true;
    const element = at(`m${id}`);
    if (element) element.classList.remove("unread");
    await ask(`api/messages/${id}`, { method: "PATCH", body: { seen: true } });
  }
}

function close() {
  document.body.classList.remove("open");
  at("list").focus();
}

async function show() {
  const { detail } = state;
  const outside = new Set(detail.bcc);
  const visible = detail.recipients.filter((each) => !outside.has(each));
  const facts = make("dl", { class: "facts" },
    make("dt", { text: "From" }), make("dd", { text: detail.from || "(nobody)" }),
    make("dt", { text: "To" }), make("dd", { text: visible.slice(0, 50).join(", ") || "(nobody the header names)" }));
  if (detail.bcc.length) facts.append(make("dt", { text: "Bcc" }), make("dd", { class: "bcc", text: detail.bcc.slice(0, 50).join(", ") }));
  facts.append(make("dt", { text: "Envelope" }), make("dd", {
    text: `from <${detail.sender}>, ${plural(detail.recipient_count, "recipient")}, ${size(detail.size)} by ${detail.via}${detail.tls ? ", TLS" : ""}${detail.user ? `, as ${detail.user}` : ""}`,
  }));
  const extras = make("div", { class: "row" });
  const acts = make("div", { class: "row" },
    make("button", { type: "button", class: "back", text: "Back", on: { click: close } }),
    state.settings.release ? make("button", { type: "button", text: "Release", on: { click: guarded(release) } }) : null,
    make("a", { class: "chip", href: `api/messages/${detail.id}/source?download`, text: "Download .eml" }),
    make("button", { type: "button", class: "danger", text: "Delete", on: { click: guarded(drop) } }));
  const tabs = make("div", { class: "tabs", role: "tablist", "aria-label": "Views" });
  VIEWS.forEach(([name, title]) => {
    const missing = (name === "html" && !detail.has_html) || (name === "text" && !detail.has_text);
    if (missing) return;
    const extra = name === "lint" && detail.findings ? ` ${detail.findings}` : name === "parts" ? ` ${detail.parts.length}` : "";
    tabs.append(make("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-selected": String(name === state.view), "aria-controls": "view",
      tabindex: name === state.view ? "0" : "-1", text: `${title}${extra}`, on: { click: guarded(() => turn(name)), keydown: walk },
    }));
  });
  const head = make("div", { class: "head" }, make("h2", { text: detail.subject || "(no subject)" }), facts);
  if (detail.problem) head.append(make("p", { class: "error", text: `Shown as its source alone: ${detail.problem}` }));
  head.append(extras, acts);
  at("pane").replaceChildren(head, tabs, make("div", { class: "view", id: "view", role: "tabpanel", tabindex: "0" }));
  await fill();
  await lift(extras, detail.id);
}

async function lift(extras, id) {
  const { codes } = await ask(`api/messages/${id}/codes`);
  if (state.current !== id) return;
  for (const code of codes) {
    extras.append(make("button", { type: "button", class: "chip", title: "Copy", "aria-label": `Copy the code ${code}`, text: `⧉ ${code}`, on: { click: () => navigator.clipboard && navigator.clipboard.writeText(code) } }));
  }
}

async function turn(name) {
  state.view = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  await fill();
}

function walk(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const next = tabs[(tabs.indexOf(event.currentTarget) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

async function fill() {
  const { detail, view } = state;
  const children = await FILL[view](detail);
  if (state.detail !== detail || state.view !== view) return;
  at("view").replaceChildren(...children);
  at("view").setAttribute("aria-labelledby", `tab-${view}`);
}

const FILL = {
  async html(detail) {
    const stage = make("div", { class: "stage" });
    const box = (id) => make("input", { type: "checkbox", id, on: { change: () => put() } });
    const remote = box("remote");
    const original = box("original");
    const put = () => {
      const words = [remote.checked ? "images=remote" : "", original.checked ? "original" : ""].filter(Boolean).join("&");
      stage.replaceChildren(make("iframe", {
        title: "The message's HTML", sandbox: "allow-popups allow-popups-to-escape-sandbox", referrerpolicy: "no-referrer",
        src: `api/messages/${detail.id}/html${words && `?${words}`}`,
      }));
    };
    const wide = (name) => () => { stage.className = `stage ${name}`; };
    put();
    return [make("div", { class: "tools" },
      make("span", { text: "Width" }),
      make("button", { type: "button", text: "320", on: { click: wide("w320") } }),
      make("button", { type: "button", text: "768", on: { click: wide("w768") } }),
      make("button", { type: "button", text: "full", on: { click: wide("") } }),
      make("span", { class: "choice" }, remote, make("label", { for: "remote", text: "load remote images" })),
      make("span", { class: "choice", title: "Not cleaned: frames in it may connect, which tells its author that you look" },
        original, make("label", { for: "original", text: "as it came" }))), stage];
  },
  async text(detail) { return [make("pre", { text: await ask(`api/messages/${detail.id}/text`) })]; },
  async source(detail) {
    const source = await ask(`api/messages/${detail.id}/source?limit=${SHOWN}`);
    return [make("pre", { text: source + (detail.size > SHOWN ? "\n… (download it to see the rest)" : "") })];
  },
  async headers(detail) {
    const { headers } = await ask(`api/messages/${detail.id}/headers`);
    return [make("table", {}, make("tbody", {}, ...headers.map(([name, value]) =>
      make("tr", {}, make("td", { class: "name", text: name }), make("td", { text: value.slice(0, 5000) })))))];
  },
  async parts(detail) {
    const rows = detail.parts.slice(0, 300).map((part) => make("tr", {},
      make("td", { text: part.number }), make("td", { text: part.kind }), make("td", { text: part.name || "–" }), make("td", { text: size(part.size) }),
      make("td", {}, make("a", { href: `api/messages/${detail.id}/parts/${part.number}`, text: "Download", "aria-label": `Download part ${part.number}` }))));
    const heads = ["No.", "Type", "Name", "Size", ""].map((text) => make("th", { scope: "col", text }));
    return [make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows))];
  },
  async smtp(detail) {
    try { return dialogue(await ask(`api/sessions/${detail.session}`)); } catch (error) {
      return [make("p", { class: "pad", text: `The session is no longer known: ${error.message}` })];
    }
  },
  async lint(detail) {
    const { findings, dkim } = await ask(`api/messages/${detail.id}/findings`);
    const kinds = { valid: "good", invalid: "error", unknown: "warning" };
    const signed = dkim.map((each) => make("div", { class: "finding" },
      make("b", { class: kinds[each.verdict], text: `DKIM ${each.verdict}: ` }), make("span", { text: `${each.domain}, selector ${each.selector}` }),
      make("p", { text: each.text })));
    if (!findings.length) return [...signed, make("p", { class: "pad", text: "Nothing is wrong with it." })];
    return [...signed, ...findings.map((each) => make("div", { class: "finding" },
      make("b", { class: each.severity, text: `${each.severity}: ` }), make("span", { text: `${each.where}: ${each.problem}` }),
      make("p", { text: `${each.remedy} (${each.section})` })))];
  },
};

function dialogue(session) {
  const facts = [
    session.tls ? `${session.tls}${session.tls_resumed ? ", resumed" : ""}` : "no TLS", session.user ? `logged in as ${session.user}` : "no login",
    plural(session.round_trips, "round trip"), session.quit ? "ended by QUIT" : session.open ? "still open" : "ended without QUIT",
  ];
  const rows = session.dialogue.map((line) => make("tr", { class: line.breaches.length ? "breach" : "" },
    make("td", { class: "ms", text: line.ms.toFixed(1) }), make("td", { class: line.who, text: line.who }),
    make("td", { class: line.who }, document.createTextNode(line.text), ...line.breaches.map((text) => make("div", { text: `✗ ${text}` })))));
  const heads = ["ms", "Who", "Line"].map((text) => make("th", { scope: "col", text }));
  return [
    make("div", { class: "tools" }, make("span", { text: `Session ${session.number}: ${facts.join(", ")}` }),
      make("button", { type: "button", text: "Copy as a test", on: { click: () => navigator.clipboard && navigator.clipboard.writeText(session.test) } })),
    session.tls_error ? make("p", { class: "error", text: `TLS failed: ${session.tls_error}` }) : null,
    make("table", { class: "dialogue" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
  ].filter((each) => each !== null);
}

// Sessions and faults.

function modes() {
  at("show-sessions").setAttribute("aria-pressed", String(state.mode === "sessions"));
  at("show-faults").setAttribute("aria-pressed", String(state.mode === "faults"));
}

async function sessions() {
  state.mode = "sessions";
  modes();
  document.body.classList.add("open");
  const { sessions } = await ask("api/sessions?limit=100");
  const inner = make("div", { class: "view", id: "view" });
  const rows = sessions.map((each) => make("tr", {},
    make("td", {}, make("button", { type: "button", text: `${each.number}`, "aria-label": `Show session ${each.number}`, on: { click: guarded(async () => inner.replaceChildren(...dialogue(await ask(`api/sessions/${each.number}`)))) } })),
    make("td", { text: each.tls || (each.tls_error ? "TLS failed" : "–") }), make("td", { text: each.user || "–" }), make("td", { text: each.round_trips }),
    make("td", { text: each.open ? "open" : each.quit ? "QUIT" : "broken off" }), make("td", { text: each.breaches.length || "" })));
  const heads = ["Session", "TLS", "User", "Round trips", "End", "Breaches"].map((text) => make("th", { scope: "col", text }));
  at("pane").replaceChildren(
    make("div", { class: "head" }, make("button", { type: "button", class: "back", text: "Back", on: { click: close } }), make("h2", { text: "Sessions" })),
    make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)), inner);
}

async function faults() {
  state.mode = "faults";
  modes();
  document.body.classList.add("open");
  const { faults } = await ask("api/faults");
  const field = make("textarea", { id: "faults", spellcheck: "false", "aria-describedby": "faults-help" });
  field.value = faults.map((each) => each.fault).join("\n");
  const said = make("p", { role: "status" });
  const put = guarded(async () => {
    const lines = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    try { const answer = await ask("api/faults", { method: "PUT", body: { faults: lines } }); said.textContent = `${plural(answer.faults.length, "fault")} armed.`; } catch (error) { said.textContent = error.message; }
    await armed();
  });
  const struck = faults.filter((each) => each.struck).map((each) => make("li", { text: `${each.fault}: struck ${each.struck}×` }));
  at("pane").replaceChildren(make("div", { class: "pad" },
    make("button", { type: "button", class: "back", text: "Back", on: { click: close } }),
    make("h2", { text: "Faults" }),
    make("p", { id: "faults-help", text: "One a line: COMMAND [ADDRESS]: ACTION [xN]. For example “RCPT bob@*: 451 4.3.0 later x2”, “END-OF-DATA: lose”, “MAIL: close”, “latency: 0.5”." }),
    make("label", { for: "faults", text: "Armed" }), field,
    make("div", { class: "row" }, make("button", { type: "button", class: "primary", text: "Arm these", on: { click: put } }),
      make("button", { type: "button", text: "Disarm all", on: { click: () => { field.value = ""; return put(); } } })),
    said, make("ul", {}, ...struck)));
}

async function armed() {
  try { const { faults } = await ask("api/faults"); at("fault-count").textContent = faults.length ? ` ${faults.length}` : ""; } catch { at("fault-count").textContent = ""; }
}

// What changes something.

function confirmed({ title, text = "", label = "", value = "", yes }) {
  at("ask-title").textContent = title;
  at("ask-text").textContent = text;
  at("ask-field").hidden = !label;
  at("ask-label").textContent = label;
  at("ask-value").value = value;
  at("ask-yes").textContent = yes;
  const dialog = at("ask");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes" ? at("ask-value").value || true : null), { once: true }));
}

async function drop() {
  const doomed = state.picked.size ? [...state.picked] : state.current === null ? [] : [state.current];
  if (!doomed.length) return;
  const index = state.rows.findIndex((row) => row.id === doomed[0]);
  for (const id of doomed) await ask(`api/messages/${id}`, { method: "DELETE" }).catch(() => null);
  state.picked.clear();
  state.current = null;
  await load();
  const next = state.rows[Math.min(index, state.rows.length - 1)];
  if (next && !document.body.matches(".open") || (next && matchMedia("(min-width: 721px)").matches)) await open(next.id);
  else { empty(); close(); }
}

function empty() {
  at("pane").replaceChildren(make("div", { class: "empty" }, make("p", { text: "Nothing is selected." })));
  history.replaceState(null, "", location.pathname + location.search);
}

async function clear() {
  const what = state.query ? `the ${some("message")} that match “${state.query}”` : "all messages";
  if (!(await confirmed({ title: "Delete?", text: `This deletes ${what}.`, yes: "Delete" }))) return;
  await ask(`api/messages?query=${encodeURIComponent(state.query)}`, { method: "DELETE" });
  state.current = null;
  empty();
  await load();
}

async function release() {
  if (!state.settings.release || !state.detail) return;
  const to = await confirmed({ title: "Release to a real server", label: "Recipients", value: state.detail.recipients.slice(0, 20).join(", "), yes: "Release" });
  if (typeof to !== "string") return;
  const { outcomes } = await ask(`api/messages/${state.detail.id}/release`, { method: "POST", body: { to: to.split(/[\s,]+/).filter(Boolean) } });
  await confirmed({ title: "What became of it", text: outcomes.map((each) => `${each.recipient}: ${each.status}${each.reply ? `, ${each.reply}` : ""}`).join("\n"), yes: "Good" });
}

// Keys.

function step(by) {
  const index = state.rows.findIndex((row) => row.id === state.current);
  const next = state.rows[index < 0 ? 0 : Math.max(0, Math.min(state.rows.length - 1, index + by))];
  if (!next) return;
  at(`m${next.id}`).scrollIntoView({ block: "nearest" });
  return open(next.id);
}

const KEYS = {
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), d: drop, r: release,
  x: () => { if (state.current !== null) { state.picked.has(state.current) ? state.picked.delete(state.current) : state.picked.add(state.current); list(new Set()); } },
  "/": () => at("query").focus(), "?": () => at("keys").showModal(), Escape: close,
};

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, textarea, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (field) { if (event.key === "Escape" && event.target.id === "query") at("list").focus(); return; }
  if (event.key.startsWith("Arrow") && event.target.id !== "list") return;
  const number = Number(event.key);
  const tabs = document.querySelectorAll("[role=tab]");
  const act = KEYS[event.key] || (number >= 1 && number <= tabs.length ? () => tabs[number - 1].click() : null);
  if (!act) return;
  event.preventDefault();
  guarded(async () => act())();
});

// Live: an event says that something has changed; what it is, is asked for, and never more than four times a second.

// An answer may take seconds, while much mail comes in: one at a time is waited for, and shown.
let waiting = null, stale = false;
function soon() {
  stale = true;
  if (waiting !== null) return;
  waiting = setTimeout(guarded(async () => {
    stale = false;
    try { await load(); } finally {
      waiting = null;
      if (stale) soon();
    }
  }), 250);
}

function listen() {
  const source = new EventSource("api/events");
  const say = (kind, word) => { at("live").className = `live ${kind}`; at("live").querySelector(".word").textContent = word; };
  source.addEventListener("open", () => { say("on", "live"); soon(); });
  source.addEventListener("error", () => say("off", "not connected"));
  for (const kind of ["message", "removed"]) source.addEventListener(kind, soon);
  source.addEventListener("faults", () => armed());
}

let typing = null;
at("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(guarded(async () => { state.query = at("query").value.trim(); await load(); }), 200);
});
at("search").addEventListener("submit", (event) => { event.preventDefault(); at("list").focus(); });
at("show-sessions").addEventListener("click", guarded(sessions));
at("show-faults").addEventListener("click", guarded(faults));
at("clear").addEventListener("click", guarded(clear));
at("help").addEventListener("click", () => at("keys").showModal());

addEventListener("hashchange", guarded(async () => {
  const link = location.hash.match(/^#\/m\/(\d+)$/);
  if (link && Number(link[1]) !== state.current) await open(Number(link[1]));
}));

guarded(async () => {
  state.settings = await ask("api/settings");
  at("where").textContent = state.settings.smtp ? `${state.settings.smtp.replace(/^\w+:\/\//, "")}${state.settings.tls === "none" ? "" : `, ${state.settings.tls}`}` : "";
  listen();
  await load();
  await armed();
  const link = location.hash.match(/^#\/m\/(\d+)$/);
  if (link) await open(Number(link[1]));
})();
