// The inbox's page. Nothing is ever made of an HTML string: the page's policy forbids it.

const at = (id) => document.getElementById(id);
const PAGE = 50;
const SHOWN = 300000;
const COUNTED = 1000;
const WIDE = matchMedia("(min-width: 721px)");
const LONGEST = 300;
const GONE = [404, 410];
const state = {
  // Numbers mean a message each within their epoch; `before` is where the page of the list begins.
  epoch: null, rows: [], before: null, next: null, total: 0, query: "",
  current: null, detail: null, view: null, picked: new Set(), settings: {}, mode: "message",
};

// Making elements.

function make(kind, options = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(options)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "text") element.textContent = kind === "pre" ? value : plain(value);
    else if (name === "class") element.className = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// What turns the letters after it round could make an “exe” read as a “png”.
const plain = (text) => String(text).replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, (sign) =>
  /\s/.test(sign) ? " " : `[U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
const cut = (text) => text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
const several = (addresses) => {
  const most = WIDE.matches ? 50 : 8;
  const more = addresses.length - most;
  return addresses.slice(0, most).map(cut).join(", ") + (more > 0 ? ` and ${more} more` : "");
};

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
  if (!response.ok && !(value && value.outcomes)) throw Object.assign(new Error(value.error || `${response.status}`), { status: response.status });
  return value;
}

const listUrl = (words = {}) => `api/messages?${new URLSearchParams({ limit: PAGE, query: state.query, ...words })}`;
const mailUrl = ({ id, epoch }, view = "", words = {}) => `api/messages/${id}${view}?${new URLSearchParams({ ...words, epoch })}`;

function complain(error) {
  at("error").textContent = error ? String(error.message || error) : "";
  at("error").hidden = !error;
}
const guarded = (act) => async (...words) => {
  try { await act(...words); complain(null); } catch (error) {
    complain(error);
    if (GONE.includes(error.status)) soon();
  }
};

// The list: one page of rows at a time, whatever there is.

// What was asked for later may be answered sooner: then there is nothing left to tell.

let asked = 0, answered = 0;
async function load() {
  const mine = ++asked;
  const { before, query } = state;
  const answer = await ask(listUrl(before === null ? {} : { before }));
  if (mine < answered || before !== state.before || query !== state.query) return;
  answered = mine;
  const isAnew = state.epoch !== null && answer.epoch !== state.epoch;
  const old = new Set(state.rows.map((row) => row.id));
  const fresh = old.size && !isAnew ? answer.messages.filter((row) => !old.has(row.id)).map((row) => row.id) : [];
  if (isAnew) {
    state.picked.clear();
    if (state.current !== null) gone();
  }
  Object.assign(state, { epoch: answer.epoch, rows: answer.messages, next: answer.next, total: answer.total });
  if (state.before !== null && (isAnew || !state.rows.length)) {
    state.before = null;
    return load();
  }
  list(new Set(fresh));
  const shown = state.current;
  if (shown !== null && !(await isThere(shown)) && shown === state.current) gone();
}

async function isThere(id) {
  if (state.rows.some((row) => row.id === id)) return true;
  const { messages } = await ask(listUrl({ query: "", limit: 1, before: id + 1 }));
  return messages.some((row) => row.id === id);
}

// A page follows another, in place of a list that grows without end.
async function page(words) {
  let answer = await ask(listUrl({ ...words, epoch: state.epoch }));
  const isFirst = "after" in words && answer.messages.length < PAGE;
  if (isFirst) answer = await ask(listUrl({ epoch: state.epoch }));
  if (!answer.messages.length) return;
  answered = ++asked;
  const before = isFirst ? null : answer.messages[0].id + 1;
  Object.assign(state, { rows: answer.messages, next: answer.next, total: answer.total, before });
  list(new Set());
  at("list").scrollTop = 0;
}

// Of a search, matches are counted only so far.
const some = (word, query, total) => plural(total, word).replace("matchs", "matches") + (query && total >= COUNTED ? " or more" : "");

function list(fresh) {
  const words = some(state.query ? "match" : "message", state.query, state.total);
  at("found").textContent = state.total ? words : state.query ? "Nothing matches" : "No messages yet";
  const items = state.rows.map((row) => item(row, fresh.has(row.id)));
  at("list").replaceChildren(...items);
  at("newer").hidden = state.before === null;
  at("older").hidden = state.next === null;
  at("turn").hidden = at("newer").hidden && at("older").hidden;
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
  make("span", { class: "people" }, make("bdi", { text: named(row.from) || row.sender || "<>" }), " → ", make("bdi", { text: to })),
  make("span", { class: "marks" },
    row.breaches ? make("span", { class: "mark bad", text: plural(row.breaches, "breach").replace("breachs", "breaches") }) : null,
    row.findings ? make("span", { class: "mark warn", text: `lint ${row.findings}` }) : null,
    row.attachments ? make("span", { class: "mark", text: plural(row.attachments, "file") }) : null,
    make("span", { class: "mark", text: size(row.size) })));
}

function mark() {
  for (const element of at("list").children) {
    element.setAttribute("aria-selected", String(state.current !== null && element.dataset.id === String(state.current)));
  }
  const chosen = state.current === null ? null : at(`m${state.current}`);
  if (!chosen) at("list").removeAttribute("aria-activedescendant");
  else if (at("list").getAttribute("aria-activedescendant") !== chosen.id) at("list").setAttribute("aria-activedescendant", chosen.id);
}

// Where we are is in the address: one step back from any view leads to the list.

// A number means a message only within its epoch, which a step in history keeps.

function stand(place, epoch = null) {
  const before = location.hash.slice(1);
  const url = place ? `#${place}` : location.pathname + location.search;
  if (place && !before) history.pushState({ isInside: true, epoch }, "", url);
  else history.replaceState({ ...history.state, epoch }, "", url);
}

async function arrive() {
  const link = location.hash.match(/^#\/m\/(\d+)$/);
  if (link) await open(Number(link[1]), (history.state && history.state.epoch) || state.epoch);
  else if (location.hash === "#/sessions") await sessions();
  else if (location.hash === "#/faults") await faults();
  else leave();
}

function close() {
  if (location.hash && history.state && history.state.isInside) history.back();
  else { stand(""); leave(); }
}

function leave() {
  document.body.classList.remove("open");
  if (state.current === null && state.mode === "message") empty("Nothing is selected.");
  at("list").focus();
}

// The focus goes along with what is shown; nobody shall have to look for it.
function settle() {
  const held = document.activeElement;
  if (held && held !== document.body && held.getClientRects().length) return;
  (at("list").getClientRects().length ? at("list") : at("pane")).focus({ preventScroll: true });
}

// One message.

const VIEWS = [["html", "HTML"], ["text", "Text"], ["source", "Source"], ["headers", "Header"], ["parts", "Parts"], ["smtp", "SMTP"], ["lint", "Lint"]];

let opening = 0;
async function open(id, epoch = state.epoch) {
  const mine = ++opening;
  let detail;
  try { detail = { ...await ask(mailUrl({ id, epoch })), epoch }; } catch (error) {
    if (mine === opening && GONE.includes(error.status)) missing(id, epoch);
    throw error;
  }
  if (mine !== opening) return;
  Object.assign(state, { current: id, detail, mode: "message" });
  modes();
  state.view = detail.has_html ? "html" : detail.has_text ? "text" : "source";
  stand(`/m/${id}`, epoch);
  document.body.classList.add("open");
  mark();
  await show();
  const row = state.rows.find((each) => each.id === id);
  if (row && !row.seen) {
    row.seen = true;
    const element = at(`m${id}`);
    if (element) element.classList.remove("unread");
    await ask(mailUrl(detail), { method: "PATCH", body: { seen: true } });
  }
}

function missing(id, epoch) {
  state.mode = "message";
  modes();
  stand(`/m/${id}`, epoch);
  document.body.classList.add("open");
  gone();
}

function gone() {
  Object.assign(state, { current: null, detail: null });
  mark();
  if (state.mode === "message") empty("This message is gone: it was deleted, or its server has begun anew.");
}

async function show() {
  const { detail } = state;
  const outside = new Set(detail.bcc);
  const visible = detail.recipients.filter((each) => !outside.has(each));
  const facts = make("dl", { class: "facts" },
    make("dt", { text: "From" }), make("dd", { text: cut(detail.from) || "(nobody)" }),
    make("dt", { text: "To" }), make("dd", { text: several(visible) || "(nobody the header names)" }));
  if (detail.bcc.length) facts.append(make("dt", { text: "Bcc" }), make("dd", { class: "bcc", text: several(detail.bcc) }));
  facts.append(make("dt", { text: "Envelope" }), make("dd", {
    text: `from <${detail.sender}>, ${plural(detail.recipient_count, "recipient")}, ${size(detail.size)} by ${detail.via}${detail.tls ? ", TLS" : ""}${detail.user ? `, as ${detail.user}` : ""}`,
  }));
  const extras = make("div", { class: "row" });
  const acts = make("div", { class: "row" },
    make("button", { type: "button", class: "back", text: "Back", on: { click: close } }),
    state.settings.release ? make("button", { type: "button", text: "Release", on: { click: guarded(release) } }) : null,
    make("a", { class: "chip", href: mailUrl(detail, "/source", { download: "" }), text: "Download .eml" }),
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
  const head = make("div", { class: "head" }, make("h2", { text: cut(detail.subject) || "(no subject)" }), facts);
  if (detail.problem) head.append(make("p", { class: "error", text: `Shown as its source alone: ${detail.problem}` }));
  head.append(extras, acts);
  at("pane").replaceChildren(head, tabs, make("div", { class: "view", id: "view", role: "tabpanel", tabindex: "0" }));
  settle();
  await fill();
  await lift(extras, detail);
}

async function lift(extras, detail) {
  const { codes } = await ask(mailUrl(detail, "/codes"));
  if (state.detail !== detail) return;
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
      const words = { ...(remote.checked && { images: "remote" }), ...(original.checked && { original: "" }) };
      stage.replaceChildren(make("iframe", {
        title: "The message's HTML", sandbox: "allow-popups allow-popups-to-escape-sandbox", referrerpolicy: "no-referrer",
        src: mailUrl(detail, "/html", words),
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
  async text(detail) { return [make("pre", { text: await ask(mailUrl(detail, "/text")) })]; },
  async source(detail) {
    const source = await ask(mailUrl(detail, "/source", { limit: SHOWN }));
    return [make("pre", { text: source + (detail.size > SHOWN ? "\n… (download it to see the rest)" : "") })];
  },
  async headers(detail) {
    const { headers } = await ask(mailUrl(detail, "/headers"));
    return [make("table", {}, make("tbody", {}, ...headers.map(([name, value]) =>
      make("tr", {}, make("td", { class: "name", text: name }), make("td", { text: value.slice(0, 5000) })))))];
  },
  async parts(detail) {
    const rows = detail.parts.slice(0, 300).map((part) => make("tr", {},
      make("td", { text: part.number }), make("td", { text: part.kind }), make("td", { text: part.name || "–" }), make("td", { text: size(part.size) }),
      make("td", {}, make("a", { href: mailUrl(detail, `/parts/${part.number}`), text: "Download", "aria-label": `Download part ${part.number}` }))));
    const heads = ["No.", "Type", "Name", "Size", "File"].map((text) => make("th", { scope: "col", text }));
    return [make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows))];
  },
  async smtp(detail) {
    try { return dialogue(await ask(`api/sessions/${detail.session}`)); } catch (error) {
      return [make("p", { class: "pad", text: `The session is no longer known: ${error.message}` })];
    }
  },
  async lint(detail) {
    const { findings, dkim } = await ask(mailUrl(detail, "/findings"));
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
  opening++;
  state.mode = "sessions";
  stand("/sessions");
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
  settle();
}

async function faults() {
  opening++;
  state.mode = "faults";
  stand("/faults");
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
  settle();
}

async function armed() {
  try { const { faults } = await ask("api/faults"); at("fault-count").textContent = faults.length ? ` ${faults.length}` : ""; } catch { at("fault-count").textContent = ""; }
}

// What changes something.

function confirmed({ title, text = "", label = "", value = "", yes, isTold = false }) {
  at("ask-title").textContent = title;
  at("ask-text").textContent = text;
  at("ask-field").hidden = !label;
  at("ask-label").textContent = label;
  at("ask-value").value = value;
  at("ask-yes").textContent = yes;
  at("ask-no").hidden = isTold;
  const dialog = at("ask");
  dialog.returnValue = "no";
  dialog.showModal();
  // Enter does what is to be done, but for what cannot be undone.
  at(label ? "ask-value" : isTold ? "ask-yes" : "ask-no").focus();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes" ? at("ask-value").value || true : null), { once: true }));
}

async function drop() {
  const { epoch } = state;
  const doomed = state.picked.size ? [...state.picked] : state.current === null ? [] : [state.current];
  if (!doomed.length) return;
  const index = state.rows.findIndex((row) => row.id === doomed[0]);
  for (const id of doomed) await ask(mailUrl({ id, epoch }), { method: "DELETE" }).catch((error) => { if (error.status !== 404) throw error; });
  state.picked.clear();
  Object.assign(state, { current: null, rows: state.rows.filter((row) => !doomed.includes(row.id)) });
  await load();
  const next = state.rows[Math.max(0, Math.min(index, state.rows.length - 1))];
  const isOpen = document.body.matches(".open");
  if (next && (!isOpen || WIDE.matches)) await open(next.id);
  else { empty("Nothing is selected."); close(); }
}

function empty(text) {
  const back = make("button", { type: "button", class: "back", text: "Back", on: { click: close } });
  at("pane").replaceChildren(make("div", { class: "empty" }, make("p", { role: "status", text }), back));
  settle();
}

async function clear() {
  const { epoch, query } = state;
  const { messages: [newest], total } = await ask(listUrl({ query, epoch, limit: 1 }));
  if (!newest) {
    await confirmed({ title: "There is nothing to delete", yes: "Close", isTold: true });
    return;
  }
  const what = `${some("message", query, total)}${query ? ` that match${total === 1 ? "es" : ""} “${query}”` : ""}`;
  if (!(await confirmed({ title: "Delete?", text: `This deletes ${what}.`, yes: "Delete" }))) return;
  // Mail that has come since is none of those that were told.
  const before = newest.id + 1;
  await ask(`api/messages?${new URLSearchParams({ query, before, epoch })}`, { method: "DELETE" });
  state.current = null;
  empty("Nothing is selected.");
  close();
  await load();
}

async function release() {
  const { detail, settings } = state;
  if (!settings.release || !detail || state.mode !== "message") return;
  const to = await confirmed({ title: "Release to a real server", label: "Recipients", value: detail.recipients.slice(0, 20).join(", "), yes: "Release" });
  if (typeof to !== "string") return;
  const { outcomes } = await ask(mailUrl(detail, "/release"), { method: "POST", body: { to: to.split(/[\s,]+/).filter(Boolean) } });
  const advice = outcomes.some((each) => each.status === "in doubt") ? ["In doubt: it may have been delivered. Do not release it again blindly."] : [];
  const told = outcomes.map((each) => `${each.recipient}: ${each.status}${each.reply ? `, ${each.reply}` : ""}`);
  await confirmed({ title: "What became of it", text: [...told, ...advice].join("\n"), yes: "Close", isTold: true });
}

// Keys.

async function step(by) {
  const { current } = state;
  const near = () => by > 0 ? state.rows.find((row) => row.id < current) : state.rows.findLast((row) => row.id > current);
  if (current === null) return choose(state.rows[0]);
  // A burst, a search or a page may have taken it out of the list: what is next to it is asked for.
  const isListed = state.rows.some((row) => row.id === current);
  if (!(isListed && near())) {
    const words = by > 0 ? { before: current } : { after: current };
    const { messages } = await ask(listUrl({ ...words, limit: 1, epoch: state.epoch }));
    if (!messages.length) return;
    if (!state.rows.some((row) => row.id === messages[0].id)) await page(words);
  }
  return choose(near());
}

function choose(row) {
  if (!row) return;
  at(`m${row.id}`).scrollIntoView({ block: "nearest" });
  return open(row.id);
}

const KEYS = {
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), d: drop, Delete: drop, r: release,
  Home: () => choose(state.rows[0]), End: () => choose(state.rows.at(-1)),
  Enter: () => state.current === null ? step(1) : open(state.current),
  x: () => { if (state.current !== null) { state.picked.has(state.current) ? state.picked.delete(state.current) : state.picked.add(state.current); list(new Set()); } },
  "/": () => at("query").focus(), "?": () => at("keys").showModal(), Escape: close,
};

const OF_LIST = /^(Arrow.*|Home|End|Delete|Enter)$/;

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, textarea, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (field) { if (event.key === "Escape" && event.target.id === "query") at("list").focus(); return; }
  // Elsewhere they mean what they always do.
  if (OF_LIST.test(event.key) && event.target.id !== "list") return;
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
  source.addEventListener("open", () => {
    say("on", "live");
    soon();
    // Another server may have begun, whose sessions have the same numbers.
    if (state.mode === "sessions") guarded(sessions)();
  });
  source.addEventListener("error", () => say("off", "not connected"));
  for (const kind of ["message", "removed"]) source.addEventListener(kind, soon);
  source.addEventListener("faults", () => armed());
}

let typing = null;
at("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(guarded(async () => { state.query = at("query").value.trim(); state.before = null; await load(); }), 200);
});
at("search").addEventListener("submit", (event) => { event.preventDefault(); at("list").focus(); });
at("show-sessions").addEventListener("click", guarded(sessions));
at("show-faults").addEventListener("click", guarded(faults));
at("clear").addEventListener("click", guarded(clear));
at("newer").addEventListener("click", guarded(async () => { await page({ after: state.rows[0].id }); at("list").focus(); }));
at("older").addEventListener("click", guarded(async () => { await page({ before: state.next }); at("list").focus(); }));
at("help").addEventListener("click", () => at("keys").showModal());

addEventListener("popstate", guarded(arrive));

guarded(async () => {
  state.settings = await ask("api/settings");
  at("where").textContent = state.settings.smtp ? `${state.settings.smtp.replace(/^\w+:\/\//, "")}${state.settings.tls === "none" ? "" : `, ${state.settings.tls}`}` : "";
  listen();
  await load();
  await armed();
  if (location.hash) await arrive();
})();
