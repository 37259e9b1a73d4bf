// Draws what /page.json says, once a second while somebody looks; asks less often while nobody
// answers. All text goes through textContent: nothing that a server says is ever markup.
"use strict";

const EVERY = 1000; // ms between two looks
const LONGEST_WAIT = 30000; // ms, while nobody answers
const PATIENCE = 5000; // ms for one answer
const HISTORY = 300; // points kept
const GAP = 5; // s without an answer that show as a gap

const by = (id) => document.getElementById(id);
const points = []; // {at, generation, rate: {section: n}, errors: {section: n}, p50, p99}
let last = null; // the facts of the last answer
let failures = 0;
let selected = null; // slot of the child whose details are shown
let timer = 0;
let heardAt = 0; // ms, of this clock
let dismissed = 0; // `at` of the newest crash that is not to be shown any more

// Words and numbers.

function element(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function drawing(name, attributes, ...content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function count(n) {
  if (n >= 1e9) return (n / 1e9).toFixed(2) + " G";
  if (n >= 1e7) return (n / 1e6).toFixed(1) + " M";
  return Math.round(n).toLocaleString("en");
}

function rate(n) {
  return n >= 100 || n === 0 ? count(n) : n.toFixed(n >= 10 ? 1 : 2);
}

function latency(seconds) {
  if (seconds === null || seconds === 0) return ["–", ""];
  if (seconds < 1e-3) return [(seconds * 1e6).toFixed(0), "µs"];
  if (seconds < 1) return [(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0), "ms"];
  return [seconds.toFixed(2), "s"];
}

function bytes(n) {
  if (n >= 2 ** 30) return [(n / 2 ** 30).toFixed(2), "GiB"];
  return [(n / 2 ** 20).toFixed(n < 100 * 2 ** 20 ? 1 : 0), "MiB"];
}

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const days = Math.floor(whole / 86400);
  const clock = `${Math.floor((whole % 86400) / 3600)}:${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

const join = (pair) => pair.filter(Boolean).join(" ");
// One time zone, that of the log.
const clockTime = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19) + " UTC";
const instant = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";
const sum = (list) => list.reduce((total, n) => total + n, 0);

// From two looks to what happened between them.

function difference(now, before) {
  // A new generation counts from zero, and so does a server that was started anew.
  const same = before && before.generation === now.generation && before.pid === now.pid && before.started_at === now.started_at;
  const seconds = before ? Math.max(1e-3, now.monotonic - before.monotonic) : now.uptime;
  const point = { at: now.at, generation: now.generation, rate: {}, errors: {}, p50: null, p99: null, cpu: null, seconds };
  // Between two generations nobody knows a rate: the plots have a mark there, and a gap.
  if (before && !same) return point;
  const buckets = new Map();
  for (const worker of now.workers) {
    const old = same ? before.workers.find((one) => one.name === worker.name) : null;
    const grown = (key) => Math.max(0, worker[key] - (old ? old[key] : 0));
    point.rate[worker.name] = grown("requests") / seconds;
    point.errors[worker.name] = grown("errors") / seconds;
    if (worker.type === "status") continue;
    const olds = new Map(old ? old.histogram : []);
    for (const [middle, n] of worker.histogram) {
      const more = n - (olds.get(middle) || 0);
      if (more > 0) buckets.set(middle, (buckets.get(middle) || 0) + more);
    }
  }
  point.p50 = percentile(buckets, 0.5);
  point.p99 = percentile(buckets, 0.99);
  const cpuOf = (facts) => sum(facts.children.map((child) => child.cpu_seconds));
  point.cpu = Math.max(0, cpuOf(now) - (same ? cpuOf(before) : 0)) / seconds;
  return point;
}

function percentile(buckets, fraction) {
  const wanted = fraction * sum([...buckets.values()]);
  let seen = 0;
  for (const [middle, n] of [...buckets].sort((a, b) => a[0] - b[0])) {
    seen += n;
    if (seen >= wanted) return middle;
  }
  return null;
}

// The parts of the page.

function showFacts(list, facts) {
  list.replaceChildren(...facts.filter(([, value]) => value !== "").map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, String(value)))));
}

function showHead(facts) {
  document.title = `${facts.name}: ${facts.state}`;
  by("name").textContent = facts.name;
  by("state").textContent = facts.state === "running" && !facts.ready ? "not ready" : facts.state;
  document.body.dataset.state = facts.state;
  showFacts(by("facts"), [
    ["pid", facts.pid + (facts.master.is_frozen ? " (frozen)" : "")],
    ["not ready", facts.reason === facts.state ? "" : facts.reason],
    ["generation", facts.generation],
    ["restarts", facts.generation - 1],
    ["up", duration(facts.uptime)],
    ["since", instant(facts.started_at)],
    ["killed while stopping", facts.forced || ""],
    ["draining", facts.draining.map((one) => `generation ${one.generation}: ${one.active} in hand`).join(", ")],
  ]);
}

function showFigures(facts, point) {
  const served = facts.workers.filter((one) => one.type !== "status");
  const of = (pairs) => (Object.keys(pairs).length ? sum(served.map((one) => pairs[one.name] || 0)) : null);
  const known = (n, show) => (n === null ? "–" : show(n));
  const queued = sum(served.flatMap((one) => one.listen.map((listen) => listen.queued || 0)));
  const errors = of(point.errors);
  const memory = sum(facts.children.map((one) => one.pss_bytes || one.rss_bytes)) + (facts.master.pss_bytes || facts.master.rss_bytes);
  const figures = [
    ["requests", known(of(point.rate), rate), "/s"],
    ["errors", known(errors, rate), "/s", errors > 0],
    ["latency p50", ...latency(point.p50)],
    ["latency p99", ...latency(point.p99)],
    ["in hand", count(sum(served.map((one) => one.active))), ""],
    ["queued", count(queued), "", queued > 0],
    ["CPU", known(point.cpu, (cpu) => (cpu * 100).toFixed(cpu < 0.1 ? 1 : 0)), "%"],
    ["memory", ...bytes(memory)],
  ];
  by("figures").replaceChildren(
    ...figures.map(([label, value, unit, bad]) =>
      element("div", { class: bad ? "figure bad" : "figure" }, element("span", {}, label), element("strong", {}, value, element("small", {}, unit))),
    ),
  );
}

function showWorkers(facts, point) {
  const heads = ["section", "type", "listens on", "children", "requests/s", "requests", "errors", "in hand", "queued", "p50", "p90", "p99", "longest"];
  const words = 3;
  const rows = facts.workers.map((one) => {
    const queued = one.listen.map((listen) => (listen.queued === null ? "?" : `${listen.queued} of ${listen.backlog}`));
    const times = ["p50", "p90", "p99", "max"].map((key) => join(latency(one.latency[key])));
    return [one.name, one.type, one.listen.map((listen) => listen.address).join(" "), one.children, point.rate[one.name] === undefined ? "–" : rate(point.rate[one.name]), count(one.requests), one.errors, one.active, queued.join(", "), ...times];
  });
  const kind = (index) => (index < words ? { class: "word" } : {});
  by("workers").replaceChildren(
    element("tr", {}, ...heads.map((head, index) => element("th", { scope: "col", ...kind(index) }, head))),
    ...rows.map((row) => element("tr", {}, ...row.map((cell, index) => element("td", index === 6 && cell > 0 ? { class: "bad" } : kind(index), String(cell))))),
  );
}

function showChildren(facts) {
  const tally = {};
  for (const child of facts.children) tally[child.state] = (tally[child.state] || 0) + 1;
  const all = sum(facts.workers.map((one) => one.children));
  by("tally").textContent = Object.entries({ ...tally, ...(all > facts.children.length ? { gone: all - facts.children.length } : {}) }).map(([state, n]) => `${n} ${state}`).join(" · ");
  const living = new Map(facts.children.map((child) => [child.slot, child]));
  let slot = 0;
  const groups = facts.workers.map((worker) => {
    const slots = Array.from({ length: worker.children }, () => slot++);
    return element("div", { class: "group" }, element("h3", {}, worker.name), element("div", { class: "tiles" }, ...slots.map((number) => tile(number, living.get(number)))));
  });
  const focused = document.activeElement && document.activeElement.dataset.slot;
  by("children").replaceChildren(...groups);
  if (focused !== undefined) by("children").querySelector(`[data-slot="${focused}"]`)?.focus();
  showChild(living.get(selected));
}

function tile(slot, child) {
  const state = child ? child.state : "gone";
  const requests = child ? child.in_hand.map(([name]) => name) : [];
  const words = requests.length ? requests[0] : state;
  const more = child && child.active > 1 ? ` +${child.active - 1}` : "";
  const made = element("button", { type: "button", class: `tile ${state}`, "data-slot": slot, "aria-pressed": String(slot === selected), title: [child ? `pid ${child.pid}, ${state}` : state, ...requests].join("\n") }, element("b", {}, String(slot), element("small", {}, more)), element("span", {}, words));
  made.addEventListener("click", () => {
    selected = selected === slot ? null : slot;
    showChildren(last);
  });
  return made;
}

function showChild(child) {
  by("child").hidden = !child;
  if (!child) return;
  showFacts(by("child"), [
    ["slot", child.slot], ["section", child.worker], ["pid", child.pid],
    ["state", child.state === "frozen" ? "frozen" : `${child.state} for ${duration(child.since)}`], ["in hand", child.in_hand.map(([name, seconds, id]) => join([name, duration(seconds), id])).join(", ")],
    ["requests", count(child.requests)], ["errors", count(child.errors)], ["active", child.active],
    ["busy", `${child.busy_seconds.toFixed(1)} s`], ["CPU", `${child.cpu_seconds.toFixed(1)} s`],
    ["resident", join(bytes(child.rss_bytes))], ["own share", child.pss_bytes ? join(bytes(child.pss_bytes)) : ""],
    ["up", duration(child.uptime)],
  ]);
}

function age(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

function crashLine(crash) {
  const lock = crash.lock ? `, holding the lock ${crash.lock}` : "";
  const oom = crash.oom ? ", killed by the kernel's OOM killer" : "";
  return `${crash.worker}/${crash.slot} (pid ${crash.pid}) died of ${crash.cause} while ${crash.requests.length ? `serving ${crash.requests[0]}` : crash.state}${lock}${oom}, in generation ${crash.generation}`;
}

const crashText = (crash) => [...crash.requests.map((request) => `in hand: ${request}`), crash.traceback].filter(Boolean).join("\n");

function showCrash(crash, now) {
  by("crash").hidden = !crash || crash.at <= dismissed;
  if (!crash) return;
  by("crash-line").textContent = `Last crash, ${age(now - crash.at)}: ${crashLine(crash)}`;
  by("crash-line").title = instant(crash.at);
  write(by("crash-traceback"), crashText(crash));
  by("crash-dismiss").onclick = () => {
    dismissed = crash.at;
    by("crash").hidden = true;
  };
}

function write(box, words) {
  box.hidden = !words;
  if (box.textContent !== words) box.textContent = words;
}

// Crashes and what else went wrong, newest first. What is open stays open.
function showHistory(facts) {
  const events = [...facts.crashes.map((one) => [one.at, crashLine(one), crashText(one)]), ...facts.incidents.map((one) => [one.at, incidentLine(one), one.traceback])];
  events.sort((a, b) => b[0] - a[0]);
  by("history-card").hidden = events.length === 0;
  const key = JSON.stringify(events);
  if (by("history").dataset.key === key) return;
  by("history").dataset.key = key;
  by("history").replaceChildren(
    ...events.map(([at, line, words]) => {
      const head = [element("time", { class: "quiet", datetime: new Date(at * 1000).toISOString() }, instant(at)), ` ${line}`];
      return element("li", {}, ...(words ? [element("details", {}, element("summary", {}, ...head), element("pre", { tabindex: "0" }, words))] : head));
    }),
  );
}

function incidentLine(incident) {
  const where = incident.worker ? `, ${incident.worker}/${incident.slot} (pid ${incident.pid})` : "";
  return `${incident.kind}: ${incident.reason}${where}, in generation ${incident.generation}`;
}

function showCounters(counters) {
  by("counters-card").hidden = Object.keys(counters).length === 0;
  showFacts(by("counters"), Object.entries(counters).map(([name, n]) => [name, count(n)]));
}

// Plots.

const WIDTH = 360;
const HEIGHT = 168;
const LEFT = 44;
const TOP = 22; // above it stand the labels of marks, where no line runs
const BOTTOM = 20;

function niceTop(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= value * 0.999);
}

// "50.0 ms" as an axis says it: "50 ms".
const round = (text) => text.replace(/\.0+(?=\D|$)/, "").replace(/(\.\d*?)0+(?=\D|$)/, "$1");

// How a value becomes a part of the height, and where the grid is: even steps from zero, or a decade
// each for latencies, which are a few microseconds or many seconds.
function evenly(values) {
  const top = niceTop(Math.max(0, ...values));
  return { part: (value) => value / top, grid: [0, top / 2, top] };
}

function byDecades(values) {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(1e-3, ...positive)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1e-3, ...positive))));
  const decades = Array.from({ length: high - low + 1 }, (_, n) => 10 ** (low + n));
  return { part: (value) => Math.max(0, (Math.log10(value) - low) / (high - low)), grid: decades };
}

function plot(place, series, label, now, scale = evenly) {
  const width = Math.max(240, place.clientWidth || WIDTH);
  const span = Math.max(60, Math.min(HISTORY, now - (points[0] ? points[0].at : now)));
  const { part, grid } = scale(series.flatMap((one) => points.map((point) => one.of(point) || 0)));
  const x = (at) => width - ((now - at) / span) * (width - LEFT);
  const y = (value) => HEIGHT - BOTTOM - part(value) * (HEIGHT - BOTTOM - TOP);
  const svg = drawing("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.append(drawing("title", {}, series.map((one) => `${one.name} ${label(one.of(points.at(-1)))}`).join(", ")));
  for (const value of grid) {
    svg.append(drawing("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }));
    svg.append(drawing("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, round(label(value))));
  }
  for (const [part, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    const ago = Math.round(span * (1 - part));
    svg.append(drawing("text", { x: LEFT + (width - LEFT) * part, y: HEIGHT - 4, "text-anchor": anchor }, ago ? `${ago} s ago` : "now"));
  }
  let marked = 0; // x of the label before: labels never overlap
  points.forEach((point, index) => {
    if (!index || point.generation === points[index - 1].generation) return;
    const here = x(point.at);
    svg.append(drawing("line", { class: "mark", x1: here, x2: here, y1: 4, y2: HEIGHT - BOTTOM }));
    if (here - marked < 80) return;
    svg.append(drawing("text", { class: "mark-text", x: here - 4, y: 12, "text-anchor": "end" }, `generation ${point.generation}`));
    marked = here;
  });
  series.forEach((one, index) => {
    let path = "";
    let pen = "M";
    points.forEach((point, at) => {
      const value = one.of(point);
      if (value === null || value === undefined || (at && point.at - points[at - 1].at > GAP)) pen = "M";
      if (value === null || value === undefined) return;
      // A point between two gaps is a line of no length, which has round ends.
      path += `${pen}${x(point.at).toFixed(1)} ${y(value).toFixed(1)}${pen === "M" ? "h0" : ""}`;
      pen = "L";
    });
    svg.append(drawing("path", { class: `series s${index % 6}`, d: path || "M0 0" }));
  });
  const legend = element("div", { class: "legend" });
  const write = (point) => {
    const entries = series.map((one, index) => element("span", {}, drawing("svg", { viewBox: "0 0 8 8", "aria-hidden": "true" }, drawing("rect", { class: `s${index % 6}`, width: 8, height: 8, rx: 2 })), one.name, element("b", {}, label(one.of(point)))));
    if (point !== points.at(-1)) entries.push(element("span", { class: "quiet" }, `at ${clockTime(point.at)}`));
    legend.replaceChildren(...entries);
  };
  const cursor = drawing("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = now - ((box.right - event.clientX) / box.width) * (width / (width - LEFT)) * span;
    const nearest = points.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best));
    cursor.setAttribute("x1", x(nearest.at));
    cursor.setAttribute("x2", x(nearest.at));
    cursor.setAttribute("visibility", "visible");
    write(nearest);
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    write(points.at(-1));
  });
  write(points.at(-1));
  place.replaceChildren(svg, legend);
}

function showPlots(facts) {
  const served = facts.workers.filter((one) => one.type !== "status");
  const sections = served.length ? served : facts.workers;
  const perSection = (key) => sections.map((one) => ({ name: one.name, of: (point) => point[key][one.name] }));
  const times = ["p50", "p99"].map((key) => ({ name: key, of: (point) => point[key] }));
  const rates = (n) => (n === undefined || n === null ? "–" : rate(n));
  plot(by("plot-rate"), perSection("rate"), rates, facts.at);
  plot(by("plot-latency"), times, (n) => (n ? join(latency(n)) : "–"), facts.at, byDecades);
  plot(by("plot-errors"), perSection("errors"), rates, facts.at);
}

// Life.

function show(facts) {
  const point = difference(facts, last);
  // A first look knows no rate.
  if (last) points.push(point);
  else points.push({ ...point, rate: {}, errors: {}, p50: null, p99: null, cpu: null });
  while (points.length > HISTORY) points.shift();
  last = facts;
  heardAt = Date.now();
  failures = 0;
  by("notice").hidden = true;
  showHead(facts);
  showCrash(facts.last_crash, facts.at);
  showHistory(facts);
  showFigures(facts, points.at(-1));
  showPlots(facts);
  showChildren(facts);
  showWorkers(facts, points.at(-1));
  showCounters(facts.counters);
  by("updated").textContent = `As of ${clockTime(facts.at)}.`;
}

function showSilence(wait, reason) {
  document.body.dataset.state = "gone";
  document.title = `${last ? last.name : "supervisor"}: gone`;
  by("state").textContent = "gone";
  const since = heardAt ? `no answer since ${clockTime(heardAt / 1000)}` : "no answer";
  by("notice").textContent = `The server is gone: ${since} (${reason}). What is shown is what it said last. Asking again in ${Math.round(wait / 1000)} s.`;
  by("notice").hidden = false;
}

async function look() {
  clearTimeout(timer);
  let wait = EVERY;
  try {
    const answer = await fetch("page.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    failures += 1;
    wait = Math.min(LONGEST_WAIT, EVERY * 2 ** (failures - 1));
    // One miss may be a generation that just changes.
    if (failures > 1 || !last) showSilence(wait, error.name === "TimeoutError" ? "it does not answer in time" : error instanceof TypeError ? "it cannot be reached" : error.message);
  }
  // Nobody looks: nobody asks. The event below begins again.
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
look();
