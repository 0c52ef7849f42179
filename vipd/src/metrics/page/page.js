"use strict";
// Asks for page.json every few seconds and shows it. Every text goes in as text, never as markup.
(() => {
  const EVERY_MS = 2000;
  const OPEN_UP_TO = 3;
  const PATIENCE_MS = 10000;
  const at = (id) => document.getElementById(id);
  const opened = new Map();
  const shown = new Map();
  let data = null;
  let answeredAt = 0;
  let filter = "all";

  const element = (name, classes, ...children) => {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return made;
  };

  const age = (ms) => {
    const s = Math.floor(ms / 1000);
    if (s < 1) return `${ms} ms`;
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  };
  const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
  const many = (count, one, more) => `${count} ${count === 1 ? one : more}`;

  const STATE_CLASS = { MASTER: "ok", BACKUP: "info", FAULT: "critical" };
  const stateTag = (state) => element("span", `tag ${STATE_CLASS[state] || "quiet"}`, state || "?");
  const priority = (effective, base) =>
    effective === null ? "?" : base === null || base === effective ? `${effective}` : `${effective} of ${base}`;

  const nodeName = (node) => node.host || node.router_id || node.address || "?";

  const masterText = (i) => {
    if (i.state === "MASTER") return "this node";
    if (!i.master) return "no master heard";
    const node = i.nodes.find((n) => n.address === i.master.address && n.host);
    return node ? `${node.host} (${i.master.address})` : i.master.address;
  };

  const problemsOf = (i) =>
    i.problems.map((p) => element("li", `text-${p.level}`, p.text));

  const summaryOf = (i) => {
    const first = i.problems.find((p) => p.level === i.level);
    const more = i.problems.length > 1 ? ` (and ${many(i.problems.length - 1, "other problem", "other problems")})` : "";
    const vips = i.vips.length > 1 ? `${i.vips[0]} and ${i.vips.length - 1} more` : i.vips[0] || "no VIP";
    return element("summary", "",
      element("span", "name", i.name),
      stateTag(i.state),
      element("span", "vips mono", vips),
      element("span", "master", element("span", "dim", "master "), masterText(i)),
      element("span", "prio", element("span", "dim", "prio "), priority(i.priority, i.base_priority)),
      element("span", "where dim", `${i.interface}, vrid ${i.vrid}`),
      first ? element("span", `problem text-${first.level}`, first.text + more) : null);
  };

  const cell = (head, ...content) => {
    const made = element("td", "", element("div", "", ...content));
    made.dataset.head = head;
    return made;
  };

  const note = (text) => element("span", "note", text);

  const nodeRow = (node) => {
    const known = { self: "this node", advert: "by its adverts alone", peer: "configured peer, nothing heard" };
    const heard = node.heard_ms_ago === null
      ? (node.known_by === "self" ? "–" : "never")
      : `${node.known_by === "advert" ? "advert" : "report"} ${age(node.heard_ms_ago)} ago`;
    const notes = [
      node.lost ? `was ${node.state} when it was heard last` : "",
      node.drained ? "drained" : node.handed_over ? "handed over" : "",
      node.faults || "",
      node.split_brain ? "sees another owner" : "",
      node.mismatches ? `others differ in ${node.mismatches}` : "",
      node.address_conflicts ? `${many(node.address_conflicts, "claim", "claims")} of a VIP by others` : "",
    ].filter(Boolean).map(note);
    const links = node.links.map((l) => `${l.interface}${l.heartbeat ? " (heartbeat)" : ""} ${l.state}`).join(", ");
    const state = node.lost ? element("span", "tag warning", "lost") : stateTag(node.state);
    const since = node.in_state_ms !== null && !node.lost ? ` ${age(node.in_state_ms)}` : "";
    return element("tr", node.lost ? "lost" : "",
      cell("Node", nodeName(node), known[node.known_by] ? note(known[node.known_by]) : null),
      cell("Address", element("span", "mono", node.address || "–")),
      cell("State", state, since, ...notes),
      cell("Priority", priority(node.priority, node.base_priority)),
      cell("Heard", heard, node.known_by === "report" ? note(node.signed ? "signed" : "unsigned") : null),
      cell("Links", links || "–"),
      cell("Version", node.version || "–"));
  };

  const table = (heads, rows) =>
    element("table", "",
      element("thead", "", element("tr", "", ...heads.map((head) => element("th", "", head)))),
      element("tbody", "", ...rows));

  const facts = (rows) => {
    const list = element("dl", "");
    for (const [name, value] of rows) {
      if (value === null || value === undefined || value === "") continue;
      list.append(element("dt", "", name), element("dd", "", value));
    }
    return list;
  };

  const vipText = (i, vip) => (i.vip_answers[vip] ? `${vip} (${i.vip_answers[vip]} answers)` : vip);

  const left = (i) => {
    if (i.lease_remaining_ms !== null) return ["Lease", `${seconds(i.lease_remaining_ms)} of ${seconds(i.lease_length_ms)} left`];
    if (i.master_down_in_ms !== null) return ["Takeover", `in ${seconds(i.master_down_in_ms)} without an advert`];
    return ["Lease", null];
  };

  const factsOf = (i) => {
    const discards = Object.entries(i.discards).filter(([, n]) => n > 0).map(([why, n]) => `${why} ${n}`).join(", ");
    const tracks = i.tracks.map((t) =>
      `${t.state}${t.fault ? ": FAULT" : t.adds ? ` (${t.adds > 0 ? "+" : ""}${t.adds})` : ""}`);
    return element("div", "facts",
      facts([
        ["State", `${i.state} for ${age(i.in_state_ms)}`],
        ["Reason", i.reason],
        ["Priority", `${priority(i.priority, i.base_priority)}${i.handed_over ? ", handed over" : ""}`],
        ["Master", i.master ? `${masterText(i)}, priority ${i.master.priority}` : "none heard"],
        left(i),
        ["Last advert", i.last_adv_age_ms === null ? null : `${seconds(i.last_adv_age_ms)} ago`],
        ["Tracks", tracks.length ? element("span", "", ...tracks.flatMap((t, n) => (n ? [element("br"), t] : [t]))) : null],
      ]),
      facts([
        ["VIPs", i.vips.map((vip) => vipText(i, vip)).join(", ")],
        ["Not in adverts", i.vips_excluded.map((vip) => vipText(i, vip)).join(", ")],
        ["Router", `vrid ${i.vrid} on ${i.interface}, VRRPv${i.version}, ${i.family}`],
        ["Address", i.address],
        ["Virtual MAC", i.virtual_mac],
        ["Peers", i.unicast_peers.join(", ")],
        ["Sync group", i.sync_group],
        ["Program", i.xdp_mode ? `${i.xdp_mode}${i.xdp_mode_reason ? ` (${i.xdp_mode_reason})` : ""}` : "not attached"],
        ["Adverts", `${i.adverts_sent} sent, ${i.adverts_received} received, every ${i.advert_interval_ms} ms`],
        ["Was master", i.became_master ? many(i.became_master, "time", "times") : null],
        ["Discarded", discards],
        ["Not sent", i.send_errors || null],
        ["Revoked", i.leases_revoked || null],
      ]));
  };

  const bodyOf = (i) =>
    element("div", "body",
      i.problems.length ? element("ul", "", ...problemsOf(i)) : null,
      element("h3", "", "Nodes"),
      table(["Node", "Address", "State", "Priority", "Heard", "Links", "Version"], i.nodes.map(nodeRow)),
      element("h3", "", "This node"),
      factsOf(i));

  const isOpen = (i) => (opened.has(i.name) ? opened.get(i.name) : data.instances.length <= OPEN_UP_TO);

  const words = (i) =>
    [i.name, i.interface, i.state, `vrid ${i.vrid}`, i.sync_group, ...i.vips, ...i.vips_excluded,
      ...i.nodes.flatMap((n) => [n.host, n.router_id, n.address])].filter(Boolean).join("\n").toLowerCase();

  const FILTERS = [
    ["all", "All", () => true],
    ["problems", "Problems", (i) => i.level !== "ok"],
    ["MASTER", "Master", (i) => i.state === "MASTER"],
    ["BACKUP", "Backup", (i) => i.state === "BACKUP"],
    ["FAULT", "Fault", (i) => i.state === "FAULT"],
  ];

  const drawFilters = () => {
    const buttons = FILTERS.map(([key, label, fits]) => {
      const button = element("button", "", `${label} ${data.instances.filter(fits).length}`);
      button.type = "button";
      button.setAttribute("aria-pressed", String(filter === key));
      button.addEventListener("click", () => { filter = key; draw(); });
      return button;
    });
    const focused = [...at("filters").children].indexOf(document.activeElement);
    at("filters").replaceChildren(...buttons);
    if (focused >= 0) buttons[focused].focus();
  };

  const drawInstance = (i) => {
    let card = shown.get(i.name);
    if (!card) {
      card = element("details");
      card.addEventListener("toggle", () => {
        if (card.open === isOpen(card.instance)) return;
        opened.set(card.instance.name, card.open);
        drawInstance(card.instance);
      });
      shown.set(i.name, card);
    }
    card.instance = i;
    card.className = `level-${i.level}`;
    const open = isOpen(i);
    const focused = card.contains(document.activeElement);
    card.replaceChildren(summaryOf(i), ...(open ? [bodyOf(i)] : []));
    card.open = open;
    if (focused) card.firstChild.focus();
    return card;
  };

  const drawInstances = () => {
    const wanted = at("search").value.trim().toLowerCase();
    const fits = FILTERS.find(([key]) => key === filter)[2];
    const found = data.instances.filter((i) => fits(i) && words(i).includes(wanted));
    for (const name of [...shown.keys()]) {
      if (!data.instances.some((i) => i.name === name)) shown.delete(name);
    }
    const cards = found.map(drawInstance);
    const holder = at("instances");
    const same = holder.children.length === cards.length && cards.every((card, n) => holder.children[n] === card);
    if (!same) holder.replaceChildren(...cards);
    at("none").hidden = found.length > 0;
  };

  const drawTracked = () => {
    const tag = (well) => (well === null ? ["quiet", "no result"] : well ? ["ok", "ok"] : ["critical", "failed"]);
    const card = (title, kind, [level, text], ...rest) =>
      element("div", "card", element("span", `tag ${level}`, text), title, " ", element("span", "dim", kind), ...rest);
    const tracked = data.tracked.map((t) => {
      const how = t.well === null && t.value !== null ? ["quiet", String(t.value)] : tag(t.well);
      const since = t.in_state_ms === null ? "" : `for ${age(t.in_state_ms)}`;
      const said = [since, t.outcome ? `last run: ${t.outcome}` : "", t.problem || ""].filter(Boolean).join("; ");
      return card(t.name, t.keyword, how, said ? element("div", "dim", said) : null);
    });
    const arbiters = data.arbiters.map((a) => {
      const how = a.reached === null ? ["quiet", "no result"] : a.reached ? ["ok", "reached"] : ["critical", "not reached"];
      const targets = a.targets.map((t) => {
        const last = t.rtt_us !== null ? `${(t.rtt_us / 1000).toFixed(1)} ms` : t.problem || "not asked yet";
        return element("li", t.answers === false ? "text-warning" : "", `${t.target} (${t.kind}): ${last}`);
      });
      return card(a.name, `arbiter, quorum ${a.quorum} of ${a.targets.length}`, how, element("ul", "", ...targets));
    });
    const cards = [...tracked, ...arbiters];
    const content = cards.length ? [element("h2", "", "Checks"), element("div", "cards", ...cards)] : [];
    at("tracked").replaceChildren(...content);
  };

  const octets = (count) => {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (count < 1000) return `${unit === "B" ? count : count.toFixed(1)} ${unit}`;
      count /= 1000;
    }
    return `${count.toFixed(1)} TB`;
  };
  const SERVER_CLASS = { up: "ok", down: "critical", down_serving: "critical" };

  const serverRow = (s) => {
    const weight = s.weight === null ? "–" : s.weight === s.full_weight ? `${s.weight}` : `${s.weight} of ${s.full_weight}`;
    return element("tr", "",
      cell("Server", element("span", "mono", s.server), note(s.method)),
      cell("State", element("span", `tag ${SERVER_CLASS[s.state] || "warning"}`, s.state.replace("_", " ")), ` ${age(s.in_state_ms)}`, s.why ? note(s.why) : null),
      cell("Weight", weight),
      cell("Active", `${s.active_connections}`),
      cell("Other", `${s.inactive_connections}`),
      cell("New/s", `${s.traffic.connections_per_s}`),
      cell("In, out/s", `${octets(s.traffic.octets_in_per_s)}, ${octets(s.traffic.octets_out_per_s)}`));
  };

  const serviceCard = (s) => {
    const key = `service ${s.name}`;
    const card = element("details", `level-${s.level}`);
    const well = s.servers.filter((server) => server.is_well).length;
    const first = s.problems.find((p) => p.level === s.level);
    card.open = opened.has(key) ? opened.get(key) : data.balancing.services.length <= OPEN_UP_TO;
    card.addEventListener("toggle", () => opened.set(key, card.open));
    card.append(
      element("summary", "",
        element("span", "name", s.title),
        element("span", `tag ${s.level === "ok" ? "ok" : s.level}`, `${well} of ${s.servers.length} up`),
        element("span", "vips", s.scheduler, s.persistence_s ? `, persistent ${s.persistence_s} s` : ""),
        element("span", "master", `${s.traffic.connections_per_s} connections/s`),
        element("span", "prio", ""),
        element("span", "where dim", `weight ${s.live_weight}, quorum ${s.quorum}`),
        first ? element("span", `problem text-${first.level}`, first.text) : null),
      element("div", "body",
        s.problems.length ? element("ul", "", ...problemsOf(s)) : null,
        s.addresses.length > 1 ? element("p", "mono", s.addresses.join(", ")) : null,
        s.sorry_server ? element("p", "dim", `sorry server ${s.sorry_server}`) : null,
        table(["Server", "State", "Weight", "Active", "Other", "New/s", "In, out/s"], s.servers.map(serverRow))));
    return card;
  };

  const drawServices = () => {
    const balancing = data.balancing;
    const content = [];
    if (balancing && (balancing.services.length || balancing.problem)) {
      content.push(element("h2", "", "Services"));
      if (balancing.problem) content.push(element("p", "banner critical", `Not served as configured: ${balancing.problem}.`));
      content.push(...balancing.services.map(serviceCard));
    }
    const holder = at("services");
    const focused = [...holder.children].findIndex((card) => card.contains(document.activeElement));
    holder.replaceChildren(...content);
    const summary = focused >= 0 && content[focused] && content[focused].querySelector("summary");
    if (summary) summary.focus();
  };

  const drawHeader = () => {
    const all = [...data.instances, ...(data.balancing ? data.balancing.services : [])];
    const bad = all.filter((i) => i.level === "critical").length;
    const poor = all.filter((i) => i.level === "warning").length;
    const services = all.length - data.instances.length;
    const total = many(data.instances.length, "virtual router", "virtual routers")
      + (services ? ` and ${many(services, "service", "services")}` : "");
    const [level, text] = bad
      ? ["critical", `${bad} of ${total} critical`]
      : poor ? ["warning", `${poor} of ${total} with a warning`] : ["ok", `${total}, all is well`];
    at("health").className = `health ${level}`;
    at("health").textContent = text;
    at("host").textContent = data.host || "vipd";
    const id = data.router_id && data.router_id !== data.host ? `${data.router_id}, ` : "";
    at("about").textContent = `${id}vipd ${data.version}, up ${age(data.uptime_ms)}`;
    document.title = `${bad ? `(${bad}) ` : ""}${data.host || "vipd"}`;
    const reports = data.cluster_reports;
    const refused = Object.entries(reports.refused).filter(([, n]) => n > 0).map(([why, n]) => `${why} ${n}`).join(", ");
    const banners = [
      data.drained ? ["warning", "This node is drained: every instance has the lowest priority until vipd undrain."] : null,
      data.real_time ? null : ["warning", "vipd runs without real-time scheduling."],
      reports.problem ? ["warning", `Reports of other nodes: ${reports.problem}.`] : null,
      refused ? ["info", `Reports that were not believed: ${refused}.`] : null,
      reports.instances ? null : ["quiet", "Without cluster_report other nodes are known by their adverts alone."],
    ].filter(Boolean);
    at("banners").replaceChildren(...banners.map(([kind, words]) => element("p", `banner ${kind}`, words)));
  };

  const draw = () => {
    if (!data) return;
    drawHeader();
    at("tools").hidden = data.instances.length <= 1;
    drawFilters();
    drawInstances();
    drawServices();
    drawTracked();
  };

  // A link to #NAME opens that virtual router.
  const openLinked = () => {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    if (!name) return;
    opened.set(name, true);
    draw();
    const card = shown.get(name);
    if (card && card.getBoundingClientRect().top > window.innerHeight * 0.7) card.scrollIntoView();
  };

  const drawAge = () => {
    const late = data && Date.now() - answeredAt > PATIENCE_MS;
    document.body.classList.toggle("old", Boolean(late));
    if (data) at("updated").textContent = `State of ${new Date(answeredAt).toLocaleTimeString()}`;
    return late;
  };

  const complain = (why) => {
    const since = answeredAt ? ` What is shown is ${age(Date.now() - answeredAt)} old.` : "";
    at("stale").textContent = `vipd does not answer (${why}).${since}`;
    at("stale").hidden = false;
    if (!data) at("health").textContent = "no answer";
  };

  const ask = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("page.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      data = await answer.json();
      const isFirst = answeredAt === 0;
      answeredAt = Date.now();
      at("stale").hidden = true;
      draw();
      if (isFirst) openLinked();
    } catch (error) {
      complain(error.message);
    }
    drawAge();
  };

  const forever = async () => {
    await ask();
    setTimeout(forever, EVERY_MS);
  };

  at("search").addEventListener("input", draw);
  at("tools").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("visibilitychange", ask);
  window.addEventListener("hashchange", openLinked);
  forever();
})();
