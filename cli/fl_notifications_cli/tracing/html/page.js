"use strict";
/* The timeline of one training. All text in the data comes from a log and is untrusted: it reaches
   the document only through textContent and the canvas. */
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  $("data").remove();

  // ---------------------------------------------------------------------------------- the data

  const BUILT = 0, HELD = 1, ATTEMPTED = 2, DEPOSITED = 3, FETCHED = 4, ACKNOWLEDGED = 5, CONCLUDED = 6, CALLED = 7;
  const STEP_NAMES = ["built", "held back", "attempted", "deposited", "fetched", "acknowledged", "concluded", "called back"];
  const KNOWN = ["failed", "rejected", "undecided", "superseded", "accepted"];
  // How it is drawn: a type that a client does not know is as good as one that was not sent.
  const drawn = (outcome) =>
    outcome === "type unknown" ? "superseded" : KNOWN.includes(outcome) ? outcome : "undecided";
  const N = data.notifications, S = data.steps;
  const count = N.id.length;
  const outcomeOf = N.outcome.map((i) => data.outcomes[i]);
  // How bad an outcome is; an unknown one is as good as undecided.
  const badness = outcomeOf.map((o) => {
    return 4 - KNOWN.indexOf(drawn(o));
  });
  const stepFrom = new Int32Array(count + 1);
  const stepAt = new Float64Array(S.dt.length);
  const begin = new Float64Array(count), end = new Float64Array(count);
  for (let n = 0, s = 0; n < count; n++) {
    stepFrom[n] = s;
    let at = 0;
    for (let k = 0; k < N.steps[n]; k++, s++) {
      at += S.dt[s];
      stepAt[s] = at;
    }
    stepFrom[n + 1] = s;
    // The first POST may be all that is known: then the bar begins where the POST began.
    const first = stepFrom[n];
    begin[n] = stepAt[first] - (S.kind[first] === ATTEMPTED ? Math.max(0, S.latency[first]) : 0);
    end[n] = stepAt[s - 1];
  }
  let t0 = Infinity, t1 = -Infinity;
  for (let n = 0; n < count; n++) {
    t0 = Math.min(t0, begin[n]);
    t1 = Math.max(t1, end[n]);
  }
  if (!count) t0 = t1 = 0;
  const attemptsOf = new Uint16Array(count);
  for (let n = 0; n < count; n++) {
    for (let s = stepFrom[n]; s < stepFrom[n + 1]; s++) if (S.kind[s] === ATTEMPTED) attemptsOf[n]++;
  }
  const inMailbox = (n) => S.kind.slice(stepFrom[n], stepFrom[n + 1]).includes(DEPOSITED);
  const why = (n) => {
    for (let s = stepFrom[n + 1] - 1; s >= stepFrom[n]; s--) {
      if (S.kind[s] === CONCLUDED) return reason(s) || (S.status[s] ? `HTTP ${S.status[s]}` : "");
    }
    return "";
  };
  // "answered 503" says no more than the status does.
  const reason = (s) => {
    const text = S.reason[s] < 0 ? "" : data.reasons[S.reason[s]];
    return text === `answered ${S.status[s]}` ? "" : text;
  };
  const succeeded = (s) => S.status[s] >= 200 && S.status[s] < 300;

  // Short names, so that twenty of them fit beside each other.
  const SHORT = {
    TRAINING_START: "start", UPDATE_ROUND_START: "round", SWAG_ROUND_START: "SWAG",
    MODEL_TEST_ROUND: "test", TRAINING_FINISHED: "finished", TRAINING_ERROR: "error",
    CLIENT_REMOVED: "removed", PARTICIPANT_REMOVED: "other out",
  };
  const shortType = (type) => (Object.hasOwn(SHORT, type) ? SHORT[type] : type.toLowerCase().slice(0, 12));
  const shortName = (n) => {
    const name = shortType(data.types[N.type[n]]);
    return N.round[n] < 0 ? name : `${name} ${N.round[n]}`;
  };
  const longName = (n) => {
    const name = data.types[N.type[n]] || "(type not named)";
    return N.round[n] < 0 ? name : `${name}, round ${N.round[n]}`;
  };
  const receiverUuid = (r) => data.receivers[r] || "(receiver not named)";
  const receiverName = (r) => (data.names[r] ? `${data.names[r]}  ${receiverUuid(r)}` : receiverUuid(r));

  // What changed in the training: one column of the grid, one mark above the timeline.
  // A removal is a change of one participant: its column is the last.
  const changes = [];
  const changeOf = new Int32Array(count);
  {
    const at = new Map();
    for (let n = 0; n < count; n++) {
      const key = N.type[n] * 1e7 + N.round[n];
      let c = at.get(key);
      if (c === undefined) {
        const own = data.types[N.type[n]] === "CLIENT_REMOVED";
        c = changes.push({ name: shortName(n), round: N.round[n], at: begin[n], index: 0, own, type: N.type[n] }) - 1;
        at.set(key, c);
      }
      changes[c].at = Math.min(changes[c].at, begin[n]);
      changeOf[n] = c;
    }
    const order = changes.map((_, c) => c).sort((a, b) => changes[a].own - changes[b].own || changes[a].at - changes[b].at || a - b);
    order.forEach((c, i) => { changes[c].index = i; });
  }
  const inOrder = changes.slice().sort((a, b) => a.index - b.index);
  const ofTraining = inOrder.filter((change) => !change.own);

  const byReceiver = data.receivers.map(() => []);
  for (let n = 0; n < count; n++) byReceiver[N.receiver[n]].push(n);
  for (const list of byReceiver) list.sort((a, b) => begin[a] - begin[b] || changes[changeOf[a]].index - changes[changeOf[b]].index || a - b);

  // ------------------------------------------------------------------------- time, and skipping it

  // A training waits for hours between seconds in which something happens. Time is drawn on an
  // axis that is cut where nothing happens anywhere: segments of real time with short gaps between.
  function makeWarp(skip) {
    const segments = [];
    if (skip && count) {
      const order = Array.from({ length: count }, (_, n) => n).sort((a, b) => begin[a] - begin[b]);
      const busy = [];
      for (const n of order) {
        const last = busy[busy.length - 1];
        if (last && begin[n] <= last[1]) last[1] = Math.max(last[1], end[n]);
        else busy.push([begin[n], end[n]]);
      }
      const active = busy.reduce((sum, [a, b]) => sum + (b - a), 0) || 1000;
      const pad = Math.max(20, active / 150), longest = Math.max(1000, active / 25);
      for (const [a, b] of busy) {
        const last = segments[segments.length - 1];
        if (last && a - last.t1 <= longest) last.t1 = b + pad;
        else segments.push({ t0: a - pad, t1: b + pad });
      }
      const gap = Math.max(20, (active / segments.length) * 0.08);
      let w = 0;
      for (const s of segments) {
        s.w0 = w;
        w += s.t1 - s.t0;
        s.w1 = w;
        w += gap;
      }
    } else {
      const pad = Math.max(20, (t1 - t0) / 100);
      segments.push({ t0: t0 - pad, t1: t1 + pad, w0: 0, w1: t1 - t0 + 2 * pad });
    }
    const find = (value, key) => {
      let lo = 0, hi = segments.length - 1;
      while (lo < hi) {
        const mid = (lo + hi + 1) >> 1;
        if (segments[mid][key] <= value) lo = mid; else hi = mid - 1;
      }
      return segments[lo];
    };
    return {
      segments, width: segments[segments.length - 1].w1,
      of(t) { const s = find(t, "t0"); return s.w0 + Math.min(t - s.t0, s.t1 - s.t0); },
    };
  }
  const skipped = makeWarp(true), plain = makeWarp(false);
  const worthSkipping = skipped.segments.length > 1;

  // --------------------------------------------------------------------------------- state, filters

  const chosen = { outcomes: new Set(), types: new Set(), text: "" };
  let view = "timeline", order = "trouble", warp = worthSkipping ? skipped : plain;
  let lanes = [], tops = [0], shownCount = 0;
  let from = 0, scale = 1;              // timeline: the left edge (ms on the axis) and px per ms
  let gridX = 0;                        // grid: px scrolled to the right
  let hovered = -1, selected = -1, selectedLane = -1;

  const matches = (n) =>
    (!chosen.outcomes.size || chosen.outcomes.has(N.outcome[n])) &&
    (!chosen.types.size || chosen.types.has(N.type[n]));

  function filter() {
    const text = chosen.text.trim().toLowerCase();
    lanes = [];
    shownCount = 0;
    byReceiver.forEach((all, r) => {
      let list = all;
      if (text && !receiverName(r).toLowerCase().includes(text)) {
        list = all.filter((n) => N.id[n].toLowerCase().includes(text));
      }
      list = list.filter(matches);
      if (!list.length) return;
      shownCount += list.length;
      lanes.push(makeLane(r, list));
    });
    const by = {
      trouble: (a, b) => b.trouble - a.trouble || a.first - b.first || a.r - b.r,
      receiver: (a, b) => (data.receivers[a.r] < data.receivers[b.r] ? -1 : 1),
      time: (a, b) => a.first - b.first || a.r - b.r,
    }[order];
    lanes.sort(by);
    tops = new Float64Array(lanes.length + 1);
    lanes.forEach((lane, i) => { tops[i + 1] = tops[i] + laneHeight(lane); });
    $("spacer").style.height = `${tops[lanes.length] + axis}px`;
    selectedLane = selected < 0 ? -1 : lanes.findIndex((lane) => lane.r === N.receiver[selected] && lane.list.includes(selected));
    if (selectedLane < 0 && selected >= 0) select(-1);
    $("empty").hidden = lanes.length > 0;
    $("shown").textContent = lanes.length === data.receivers.length && shownCount === count
      ? `${plural(lanes.length, "receiver")}, ${plural(count, "notification")}`
      : `${number(lanes.length)} of ${plural(data.receivers.length, "receiver")}, ${number(shownCount)} of ${plural(count, "notification")}`;
    $("clear").hidden = !chosen.outcomes.size && !chosen.types.size && !text;
    hovered = -1;
    redraw();
  }

  // Notifications that overlap when everything is shown lie below each other: marks, too, have a
  // width. More than four rows help nobody.
  const MARK = 6, TRIANGLE = 15;
  function makeLane(r, list) {
    const ends = [], row = new Map(), fitted = fitScale();
    let trouble = 0;
    const counts = new Map();
    for (const n of list) {
      const x0 = warp.of(begin[n]) * fitted, x1 = warp.of(end[n]) * fitted;
      let i = ends.findIndex((e) => e <= x0 - (x1 - x0 < WIDE ? MARK : 0));
      if (i < 0) i = ends.length < 4 ? ends.length : ends.indexOf(Math.min(...ends));
      ends[i] = x1 - x0 < WIDE ? x1 + MARK : Math.max(x1 + MARK, concludedX(n, fitted) + TRIANGLE);
      row.set(n, i);
      counts.set(N.outcome[n], (counts.get(N.outcome[n]) || 0) + 1);
      trouble += [0, 0.001, 10, 1000, 1001][badness[n]] + (attemptsOf[n] > 1 ? 0.01 : 0);
    }
    return { r, list, row, rows: ends.length, counts: [...counts].sort((a, b) => a[0] - b[0]), trouble, first: begin[list[0]] };
  }

  // Where the mark of the outcome is, if a callback is drawn behind it.
  function concludedX(n, scaled) {
    let at = -Infinity;
    for (let s = stepFrom[n]; s < stepFrom[n + 1]; s++) {
      if (S.kind[s] === CONCLUDED) at = warp.of(stepAt[s]) * scaled;
      if (S.kind[s] === CALLED) return at;
    }
    return -Infinity;
  }

  // ------------------------------------------------------------------------------------- drawing

  const WIDE = 5;                       // px; what is shorter is drawn as its mark alone
  const ROW = 17, PAD = 8;
  let axis = 46;                        // the height of what is above the lanes
  const laneHeight = (lane) => (view === "grid" ? 34 : Math.max(36, lane.rows * ROW + 2 * PAD));
  const canvas = $("canvas"), scroll = $("scroll"), context = canvas.getContext("2d");
  let width = 0, height = 0, gutter = 0, colours = {};
  const FONT = '"DejaVu Sans", system-ui, sans-serif';
  const sans = (px, weight = "") => `${weight} ${px}px ${getComputedStyle(document.body).fontFamily || FONT}`.trim();
  let fonts = {};

  function readStyle() {
    const style = getComputedStyle(document.documentElement);
    colours = {};
    for (const name of ["bg", "panel", "stripe", "line", "line-2", "ink", "ink-2", "accent", "accepted", "rejected", "failed", "superseded", "undecided", "on-mark", "on-rejected", "try", "try-fill", "queue", "wait", "held", "gap"]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    fonts = { small: sans(11), label: sans(12), bold: sans(12, "600"), mono: `12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace` };
  }

  function resize() {
    width = scroll.clientWidth;
    height = scroll.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    const fitted = scale && Math.abs(scale - fitScale()) < 1e-9;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.style.marginBottom = `${-height}px`;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    gutter = width < 620 ? 104 : 286;
    if (fitted) fit(); else clamp();
    filter();                           // which rows there are depends on the width
  }

  let queued = false;
  function redraw() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; draw(); });
  }

  const plotWidth = () => Math.max(50, width - gutter);
  // Right of the last step there is room for its mark, and for a callback's triangle behind it.
  const LEFT = 8, RIGHT = 20;
  const fitScale = () => (plotWidth() - LEFT - RIGHT) / warp.width;
  const MAX_SCALE = 20;                 // 20 px for a millisecond
  const columnWidth = () => Math.max(22, Math.min(64, (plotWidth() - 16) / Math.max(1, inOrder.length)));

  function clamp() {
    scale = Math.min(Math.max(scale, fitScale()), Math.max(MAX_SCALE, fitScale()));
    const visible = plotWidth() / scale;
    from = Math.min(Math.max(from, -LEFT / scale), Math.max(-LEFT / scale, warp.width + RIGHT / scale - visible));
    gridX = Math.min(Math.max(0, gridX), Math.max(0, inOrder.length * columnWidth() + 16 - plotWidth()));
    scroll.classList.toggle("pannable", view === "grid" ? inOrder.length * columnWidth() + 16 > plotWidth() : scale > fitScale() * 1.001);
  }
  function fit() {
    scale = fitScale();
    from = 0;
    gridX = 0;
    clamp();
  }
  const xOf = (t) => gutter + (warp.of(t) - from) * scale;

  function laneAt(y) {
    let lo = 0, hi = lanes.length - 1;
    while (lo < hi) {
      const mid = (lo + hi + 1) >> 1;
      if (tops[mid] <= y) lo = mid; else hi = mid - 1;
    }
    return lo;
  }

  function draw() {
    const c = context, top = scroll.scrollTop;
    c.clearRect(0, 0, width, height);
    c.fillStyle = colours.panel;
    c.fillRect(0, 0, width, height);
    if (!lanes.length) return;
    c.textBaseline = "middle";
    const firstLane = laneAt(top), lastLane = laneAt(top + height - axis);

    for (let i = firstLane; i <= lastLane; i++) {
      const y = axis + tops[i] - top, h = tops[i + 1] - tops[i];
      if (i === selectedLane) {
        c.globalAlpha = 0.12;
        c.fillStyle = colours.accent;
        c.fillRect(0, y, width, h);
        c.globalAlpha = 1;
      } else if (i % 2) {
        c.fillStyle = colours.stripe;
        c.fillRect(0, y, width, h);
      }
      c.fillStyle = colours["line-2"];
      c.fillRect(0, y + h - 1, width, 1);
    }

    c.save();
    c.beginPath();
    c.rect(gutter, axis, width - gutter, height - axis);
    c.clip();
    if (view === "timeline") drawLanes(firstLane, lastLane, top); else drawCells(firstLane, lastLane, top);
    c.restore();

    drawGutter(firstLane, lastLane, top);
    c.fillStyle = colours.bg;
    c.fillRect(0, 0, width, axis);
    if (view === "timeline") drawAxis(); else drawColumns();
    c.fillStyle = colours.line;
    c.fillRect(0, axis - 1, width, 1);
    c.fillRect(gutter - 1, 0, 1, height);
    c.fillStyle = colours.bg;
    c.fillRect(0, 0, gutter - 1, axis - 1);
    c.fillStyle = colours["ink-2"];
    c.font = fonts.label;
    c.textAlign = "left";
    c.fillText(width < 620 ? "Receiver" : `Receiver (${number(lanes.length)})`, 12, axis - 13);
  }

  function drawGutter(first, last, top) {
    const c = context, narrow = gutter < 200;
    c.save();
    c.beginPath();
    c.rect(0, axis, gutter - 1, height - axis);
    c.clip();
    for (let i = first; i <= last; i++) {
      const lane = lanes[i], y = axis + tops[i] - top + (tops[i + 1] - tops[i]) / 2;
      const name = receiverName(lane.r);
      c.textAlign = "left";
      c.font = fonts.mono;
      c.fillStyle = colours.ink;
      c.fillText(ellipsis(c, name, gutter - 20), 12, y - 7);
      let x = 12;
      c.font = fonts.small;
      for (const [o, many] of lane.counts) {
        mark(c, data.outcomes[o], x + 5, y + 9, 4.5);
        c.fillStyle = colours["ink-2"];
        c.textAlign = "left";
        const text = narrow ? String(many) : `${many} ${data.outcomes[o]}`;
        c.fillText(text, x + 13, y + 9.5);
        x += 13 + c.measureText(text).width + (narrow ? 6 : 10);
      }
    }
    c.restore();
  }

  const cut = new Map();
  function ellipsis(c, text, room) {
    const key = `${room}|${text}`;
    let short = cut.get(key);
    if (short === undefined) {
      short = text;
      if (c.measureText(text).width > room) {
        let keep = text.length;
        while (keep > 1 && c.measureText(`${text.slice(0, keep)}…`).width > room) keep--;
        short = `${text.slice(0, keep)}…`;
      }
      if (cut.size > 5000) cut.clear();
      cut.set(key, short);
    }
    return short;
  }

  function drawLanes(first, last, top) {
    const c = context;
    // Where time is cut out.
    const segments = warp.segments;
    for (let i = 1; i < segments.length; i++) {
      const a = gutter + (segments[i - 1].w1 - from) * scale, b = gutter + (segments[i].w0 - from) * scale;
      if (b < gutter || a > width) continue;
      c.fillStyle = colours.gap;
      c.fillRect(a, axis, b - a, height - axis);
    }
    c.fillStyle = colours["line-2"];
    for (const change of ofTraining) {
      const x = Math.round(xOf(change.at));
      if (x >= gutter && x <= width) c.fillRect(x, axis, 1, height - axis);
    }
    for (let i = first; i <= last; i++) {
      const lane = lanes[i], h = tops[i + 1] - tops[i];
      const y0 = axis + tops[i] - top + (h - lane.rows * ROW) / 2 + ROW / 2;
      // The worst on top, whatever is hovered or selected above all.
      for (let pass = 0; pass < 5; pass++) {
        for (let k = 0; k < lane.list.length; k++) {
          const n = lane.list[k];
          if (badness[n] !== pass) continue;
          drawNotification(c, n, y0 + lane.row.get(n) * ROW, roomAfter(lane, k));
        }
      }
      for (const n of [hovered, selected]) {
        if (n >= 0 && lane.row.has(n)) ring(c, n, y0 + lane.row.get(n) * ROW, n === selected);
      }
    }
  }

  // How many px are free for a label behind a notification, up to the next in its row.
  function roomAfter(lane, k) {
    const n = lane.list[k], row = lane.row.get(n);
    for (let j = k + 1; j < lane.list.length; j++) {
      if (lane.row.get(lane.list[j]) === row) return xOf(begin[lane.list[j]]) - xOf(end[n]);
    }
    return 200;
  }

  function drawNotification(c, n, y, room) {
    const x0 = xOf(begin[n]), x1 = xOf(end[n]);
    if (x1 < gutter - 30 || x0 > width + 10) return;
    const a = stepFrom[n], b = stepFrom[n + 1], outcome = outcomeOf[n];
    let markAt = x1, after = x1;
    if (x1 - x0 >= WIDE) {
      let x = x0, tried = false;
      for (let s = a; s < b; s++) {
        const kind = S.kind[s], xs = xOf(stepAt[s]);
        if (kind === ATTEMPTED) {
          const posted = Math.max(x, xOf(stepAt[s] - Math.max(0, S.latency[s])));
          link(c, x, posted, y, tried);
          const w = Math.max(2.5, xs - posted), left = xs - posted < 2.5 ? xs - 2.5 : posted;
          if (succeeded(s)) {
            c.fillStyle = colours.accepted;
            box(c, left, y - 5, w, 10);
            c.fill();
          } else {
            c.fillStyle = colours["try-fill"];
            c.strokeStyle = colours.try;
            c.lineWidth = 1.5;
            box(c, left + 0.75, y - 4.25, Math.max(1, w - 1.5), 8.5);
            c.fill();
            c.stroke();
          }
          // What is wider than the view is labelled where it can be seen.
          const seen0 = Math.max(left, gutter), seen1 = Math.min(left + w, width);
          if (seen1 - seen0 > 34) {
            c.font = fonts.small;
            c.textAlign = "center";
            c.fillStyle = succeeded(s) ? colours["on-mark"] : colours.ink;
            const text = S.status[s] ? String(S.status[s]) : reason(s);
            c.fillText(ellipsis(c, text, Math.floor(seen1 - seen0 - 8)), (seen0 + seen1) / 2, y + 0.5);
          }
          tried = true;
          x = xs;
        } else if (kind === HELD) {
          link(c, x, xs, y, tried);
          c.fillStyle = colours.held;
          c.fillRect(xs - 3, y - 5, 2, 10);
          c.fillRect(xs + 1, y - 5, 2, 10);
          x = Math.max(x, xs);
        } else if (kind === DEPOSITED || kind === FETCHED || kind === ACKNOWLEDGED) {
          // In the mailbox: nobody is called, so there is no bar, only when it was so.
          link(c, x, xs, y, tried);
          c.fillStyle = colours["ink-2"];
          c.fillRect(xs - 1, y - 4, 2, 8);
          tried = true;
          x = Math.max(x, xs);
        } else if (kind === CONCLUDED) {
          link(c, x, xs, y, tried);
          markAt = xs;
          x = Math.max(x, xs);
        } else if (kind === BUILT) {
          x = Math.max(x, xs);
        } else if (kind === CALLED) {
          after = Math.max(after, xs);
        }
      }
      for (let s = a; s < b; s++) {
        if (S.kind[s] !== CALLED) continue;
        const xs = Math.max(xOf(stepAt[s]), markAt + 9);
        c.fillStyle = colours.line;
        c.fillRect(markAt + 6, y - 0.5, Math.max(0, xs - markAt - 8), 1);
        c.strokeStyle = colours["ink-2"];
        c.lineWidth = 1.25;
        c.beginPath();
        c.moveTo(xs - 1, y - 4);
        c.lineTo(xs + 5, y);
        c.lineTo(xs - 1, y + 4);
        c.closePath();
        c.stroke();
        after = Math.max(after, xs + 6);
      }
    }
    mark(c, outcome, markAt, y, 6);
    after = Math.max(after, markAt + 6);
    c.font = fonts.small;
    const text = shortName(n), left = Math.max(after + 4, gutter + 4);
    const long = text.length * 6.4;
    if (room - (after - x1) > 14 + long && after > gutter - 20 && left + long < width) {
      c.textAlign = "left";
      // Over lines and gaps it stays readable.
      c.lineJoin = "round";
      c.lineWidth = 3;
      c.strokeStyle = colours.panel;
      c.strokeText(text, left, y + 0.5);
      c.fillStyle = colours["ink-2"];
      c.fillText(text, left, y + 0.5);
    }
  }

  function link(c, x0, x1, y, dotted) {
    if (x1 - x0 < 1) return;
    c.fillStyle = dotted ? colours.wait : colours.queue;
    if (!dotted) {
      c.fillRect(x0, y - 1, x1 - x0, 2);
    } else {
      const a = Math.max(x0, gutter - 6), b = Math.min(x1, width + 6);
      for (let x = a + 2; x < b - 1; x += 6) c.fillRect(x, y - 1, 2, 2);
    }
  }

  function box(c, x, y, w, h) {
    c.beginPath();
    c.roundRect(x, y, w, h, Math.min(2, w / 2));
  }

  function ring(c, n, y, strong) {
    const x0 = Math.max(gutter - 10, Math.min(xOf(begin[n]), xOf(end[n]) - 2) - 8), x1 = Math.min(width + 10, xOf(end[n]) + 9);
    c.strokeStyle = strong ? colours.accent : colours["ink-2"];
    c.lineWidth = strong ? 2 : 1;
    c.beginPath();
    c.roundRect(x0, y - 8.5, x1 - x0, 17, 5);
    c.stroke();
  }

  // The same shapes as the symbols of the page.
  function mark(c, outcome, x, y, r) {
    const known = drawn(outcome);
    c.lineWidth = r > 5 ? 1.6 : 1.3;
    c.fillStyle = c.strokeStyle = colours[known];
    c.beginPath();
    if (known === "accepted") {
      c.arc(x, y, r, 0, 7);
      c.fill();
      c.strokeStyle = colours["on-mark"];
      c.beginPath();
      c.moveTo(x - r * 0.5, y + r * 0.05);
      c.lineTo(x - r * 0.12, y + r * 0.42);
      c.lineTo(x + r * 0.52, y - r * 0.38);
      c.stroke();
    } else if (known === "rejected") {
      const d = r * 1.18;
      c.moveTo(x, y - d);
      c.lineTo(x + d, y);
      c.lineTo(x, y + d);
      c.lineTo(x - d, y);
      c.closePath();
      c.fill();
      c.fillStyle = colours["on-rejected"];
      c.fillRect(x - 0.8, y - r * 0.6, 1.6, r * 0.75);
      c.fillRect(x - 0.8, y + r * 0.38, 1.6, 1.6);
    } else if (known === "failed") {
      c.roundRect(x - r, y - r, 2 * r, 2 * r, 1);
      c.fill();
      c.strokeStyle = colours["on-mark"];
      c.beginPath();
      const d = r * 0.48;
      c.moveTo(x - d, y - d);
      c.lineTo(x + d, y + d);
      c.moveTo(x + d, y - d);
      c.lineTo(x - d, y + d);
      c.stroke();
    } else {
      if (known === "undecided") c.setLineDash([2.2, 1.8]);
      c.fillStyle = colours.panel;
      c.arc(x, y, r - 0.8, 0, 7);
      c.fill();
      c.stroke();
      c.setLineDash([]);
      if (known === "superseded") {
        c.beginPath();
        c.moveTo(x - r * 0.45, y);
        c.lineTo(x + r * 0.45, y);
        c.stroke();
      }
    }
  }

  // The changes of the training, each with the longest name that fits before the next: those
  // together for which there is no room by themselves.
  function headings(c) {
    const groups = ofTraining.map((change) => ({ x: xOf(change.at), changes: [change], name: "" }));
    for (let i = 0; i < groups.length; ) {
      const group = groups[i], next = groups[i + 1];
      const room = (next ? next.x : width) - group.x - 7;
      group.name = headingNames(group.changes).find((name) => c.measureText(name).width <= room) ?? "";
      if (group.name || !next) i++;
      else group.changes.push(...groups.splice(i + 1, 1)[0].changes);
    }
    return groups.filter((group) => group.name);
  }
  // What a heading may be, the longest first: "start, round 0", "round 3", "r3", "3".
  function headingNames(those) {
    const first = those[0], last = those[those.length - 1];
    const numbered = those.filter((change) => change.round >= 0), numbers = numbered.map((change) => change.round);
    const number = numbers.length < 2 || numbers[0] === numbers[numbers.length - 1]
      ? String(numbers[0] ?? "") : `${numbers[0]}–${numbers[numbers.length - 1]}`;
    const words = numbered.map((change) => change.name.split(" ")[0]), word = words[0] ?? last.name.split(" ")[0];
    const names = those.length < 3 ? [those.map((change) => change.name).join(", ")] : [];
    if (those.length > 1) names.push(`${first.name} … ${last.name}`);
    if (words.some((other) => other !== word)) {
      // Rounds of different kinds: "r1–S2".
      names.push(`${word[0]}${numbers[0]}–${words[words.length - 1][0]}${numbers[numbers.length - 1]}`, number);
    } else if (number) names.push(`${word} ${number}`, `${word[0]}${number}`, number);
    else names.push(word, `${word.slice(0, 3)}.`);
    return names;
  }

  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 12096e5, 26784e5, 80352e5, 316224e5];
  function drawAxis() {
    const c = context;
    c.save();
    c.beginPath();
    c.rect(gutter, 0, width - gutter, axis);
    c.clip();
    c.textAlign = "left";
    // Above: what changed. Below: when, in UTC.
    c.font = fonts.bold;
    const headingsShown = [];
    for (const { x, name } of headings(c)) {
      headingsShown.push(name);
      if (x > width || x + c.measureText(name).width < gutter) continue;
      c.fillStyle = colours.line;
      c.fillRect(Math.round(x), 4, 1, axis - 4);
      c.fillStyle = colours.ink;
      c.fillText(name, x + 4, 13);
    }
    canvas.dataset.headings = headingsShown.join("|");
    c.font = fonts.small;
    let free = gutter;
    const step = STEPS.find((ms) => ms * scale >= 84) || STEPS[STEPS.length - 1];
    const days = day(data.t0 + t0) !== day(data.t0 + t1);
    let labelledDay = "";
    const labels = [];
    for (let i = 0; i < warp.segments.length; i++) {
      const s = warp.segments[i];
      const x0 = gutter + (s.w0 - from) * scale, x1 = gutter + (s.w1 - from) * scale;
      if (i > 0) {
        const a = gutter + (warp.segments[i - 1].w1 - from) * scale;
        c.fillStyle = colours.gap;
        c.fillRect(a, axis - 22, x0 - a, 22);
        const text = duration(s.t0 - warp.segments[i - 1].t1);
        const w = c.measureText(text).width;
        if (x0 - a > w + 8 && a > free) {
          c.fillStyle = colours["ink-2"];
          c.textAlign = "center";
          c.fillText(text, (a + x0) / 2, axis - 12);
          c.textAlign = "left";
        }
      }
      if (x1 < gutter || x0 > width) continue;
      // From the last whole step before what is seen.
      const seen = s.t0 + Math.max(0, (gutter - x0) / scale);
      const start = data.t0 + seen, firstTick = Math.ceil(start / step) * step - data.t0;
      const ticks = [];
      if (firstTick > s.t1 || i > 0) ticks.push(Math.max(s.t0, seen));
      for (let t = firstTick; t <= s.t1 && (t - s.t0) * scale + x0 < width; t += step) ticks.push(t);
      for (const t of ticks) {
        const x = x0 + (t - s.t0) * scale;
        const exact = t === s.t0 && step > 1000 ? 1000 : step;
        let text = clock(data.t0 + t, exact);
        const d = day(data.t0 + t);
        if (days && d !== labelledDay) text = `${d.slice(5)} ${text}`;
        c.fillStyle = colours.line;
        c.fillRect(Math.round(x), axis - 7, 1, 7);
        const w = c.measureText(text).width;
        if (x < free || x + w + 6 > width) continue;
        labelledDay = d;
        labels.push([text, x + 4, w]);
        free = x + w + 14;
      }
    }
    for (const [text, x, w] of labels) {
      c.fillStyle = colours.bg;
      c.fillRect(x - 2, axis - 20, w + 4, 16);
      c.fillStyle = colours["ink-2"];
      c.fillText(text, x, axis - 12);
    }
    c.restore();
  }

  function drawColumns() {
    const c = context, w = columnWidth();
    c.save();
    c.beginPath();
    c.rect(gutter, 0, width - gutter, axis);
    c.clip();
    const left = (i) => gutter + 8 + i * w - gridX;
    for (let i = 0; i < inOrder.length; ) {
      const [word, ...rest] = inOrder[i].name.split(" ");
      let j = i + 1;
      while (rest.length && j < inOrder.length && inOrder[j].name.startsWith(`${word} `)) j++;
      c.font = fonts.small;
      const fits = c.measureText(word).width <= (j - i) * w - 4;
      if (rest.length && fits) {
        // A run of rounds: the word once, over the numbers.
        c.fillStyle = colours["ink-2"];
        c.textAlign = "left";
        c.fillText(word, Math.max(left(i), gutter) + 5, axis - 36);
        c.fillStyle = colours.line;
        c.fillRect(left(i) + 3, axis - 26, (j - i) * w - 6, 1);
        c.font = fonts.bold;
        c.fillStyle = colours.ink;
        c.textAlign = "center";
        for (let k = i; k < j; k++) c.fillText(inOrder[k].name.slice(word.length + 1), left(k) + w / 2, axis - 13);
      } else {
        for (let k = i; k < j; k++) {
          c.save();
          c.translate(left(k) + w / 2, axis - 7);
          if (c.measureText(inOrder[k].name).width > w - 4) c.rotate(-Math.PI / 2); else c.translate(0, -6);
          c.textAlign = c.measureText(inOrder[k].name).width > w - 4 ? "left" : "center";
          c.fillStyle = colours.ink;
          c.fillText(inOrder[k].name, 0, 0);
          c.restore();
        }
      }
      i = j;
    }
    c.restore();
  }

  function drawCells(first, last, top) {
    const c = context, w = columnWidth();
    for (let i = first; i <= last; i++) {
      const lane = lanes[i], y = axis + tops[i] - top + (tops[i + 1] - tops[i]) / 2;
      for (const n of lane.list.slice().sort((a, b) => badness[a] - badness[b])) {
        const x = gutter + 8 + (changes[changeOf[n]].index + 0.5) * w - gridX;
        if (x < gutter - w || x > width + w) continue;
        mark(c, outcomeOf[n], x, y, 7);
        if (attemptsOf[n] > 1 && w >= 22) {
          c.font = fonts.small;
          c.textAlign = "left";
          c.fillStyle = colours["ink-2"];
          c.fillText(`${attemptsOf[n]}`, x + (w < 30 ? 8 : 9), y - 8);
        }
        if (n === hovered || n === selected) {
          c.strokeStyle = n === selected ? colours.accent : colours["ink-2"];
          c.lineWidth = n === selected ? 2 : 1;
          c.beginPath();
          c.roundRect(x - 11, y - 14, 22, 28, 5);
          c.stroke();
        }
      }
    }
  }

  // -------------------------------------------------------------------------- what is at a point

  function laneIndexAt(y) {
    const inLanes = y - axis + scroll.scrollTop;
    if (y < axis || !lanes.length || inLanes >= tops[lanes.length]) return -1;
    return laneAt(inLanes);
  }

  function hit(x, y) {
    const i = laneIndexAt(y);
    if (i < 0 || x < gutter) return -1;
    const lane = lanes[i];
    let best = -1, bestScore = Infinity;
    const h = tops[i + 1] - tops[i];
    const y0 = axis + tops[i] - scroll.scrollTop + (h - lane.rows * ROW) / 2 + ROW / 2;
    for (const n of lane.list) {
      let score;
      if (view === "grid") {
        const cx = gutter + 8 + (changes[changeOf[n]].index + 0.5) * columnWidth() - gridX;
        score = Math.abs(x - cx) <= columnWidth() / 2 ? Math.abs(x - cx) - badness[n] * 0.01 : Infinity;
      } else {
        const a = xOf(begin[n]) - 8, b = xOf(end[n]) + 10, dy = Math.abs(y - (y0 + lane.row.get(n) * ROW));
        if (x < a || x > b || dy > ROW) continue;
        score = dy + Math.abs(x - xOf(end[n])) * 0.02 - badness[n] * 0.5;
      }
      if (score < bestScore) { best = n; bestScore = score; }
    }
    return best;
  }

  function place(n) {
    const i = lanes.findIndex((lane) => lane.r === N.receiver[n]);
    if (i < 0) return null;
    const x = view === "grid" ? gutter + 8 + (changes[changeOf[n]].index + 0.5) * columnWidth() - gridX : xOf(end[n]);
    return { i, x, y: axis + tops[i] - scroll.scrollTop + (tops[i + 1] - tops[i]) / 2 };
  }

  function reveal(n) {
    const at = place(n);
    if (!at) return;
    const top = tops[at.i], bottom = tops[at.i + 1], seen = height - axis;
    if (top < scroll.scrollTop || bottom > scroll.scrollTop + seen) {
      scroll.scrollTop = Math.max(0, (top + bottom) / 2 - seen / 2);
    }
    if (view === "grid") {
      const w = columnWidth(), x = changes[changeOf[n]].index * w;
      if (x < gridX || x + w > gridX + plotWidth()) gridX = x - plotWidth() / 2;
    } else if (at.x < gutter + 20 || at.x > width - 20) {
      from = warp.of(end[n]) - plotWidth() / scale / 2;
    }
    clamp();
  }

  // ------------------------------------------------------------------------------ tip and details

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") element.className = value;
      else if (key.startsWith("aria-") || key === "role" || key === "scope") element.setAttribute(key, value);
      else element[key] = value;
    }
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }
  function glyph(outcome) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "mark");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#o-${drawn(outcome)}`);
    svg.append(use);
    return svg;
  }

  const number = (value) => value.toLocaleString("en-US");
  const plural = (many, noun) => `${number(many)} ${noun}${many === 1 ? "" : "s"}`;
  const pad = (value, length = 2) => String(value).padStart(length, "0");
  const day = (ms) => new Date(ms).toISOString().slice(0, 10);
  function clock(ms, exact = 1) {
    const text = new Date(Math.round(ms)).toISOString();
    if (exact >= 864e5) return text.slice(5, 10);
    return exact >= 6e4 ? text.slice(11, 16) : exact >= 1e3 ? text.slice(11, 19) : text.slice(11, 23);
  }
  function duration(ms) {
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 10e3) return `${(ms / 1000).toFixed(1)} s`;
    const s = Math.round(ms / 1000);
    if (s < 120) return `${s} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ${pad(Math.floor(s / 60) % 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
  }
  const summary = (n) => {
    const parts = [outcomeOf[n], why(n), attemptsOf[n] ? plural(attemptsOf[n], "attempt") : ""];
    return parts.filter(Boolean).join(", ");
  };

  function showTip(n, x, y) {
    const tip = $("tip");
    tip.hidden = n < 0;
    if (n < 0) return;
    tip.replaceChildren(
      make("b", {}, glyph(outcomeOf[n]), `${shortName(n)}: ${outcomeOf[n]}`),
      why(n) ? make("p", { class: "why", textContent: why(n) }) : "",
      make("p", { textContent: `${plural(attemptsOf[n], "attempt")}, ${duration(end[n] - begin[n])} in all` }),
      make("p", { textContent: `${clock(data.t0 + begin[n])} to ${clock(data.t0 + end[n])} UTC` }),
      make("p", { class: "id", textContent: receiverName(N.receiver[n]) }),
    );
    const stage = $("stage"), w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = `${Math.max(4, Math.min(x + 14, stage.clientWidth - w - 8))}px`;
    tip.style.top = `${y + 18 + h > stage.clientHeight ? Math.max(4, y - h - 12) : y + 18}px`;
  }

  function hover(n, x = 0, y = 0) {
    if (n !== hovered) {
      hovered = n;
      scroll.classList.toggle("hit", n >= 0);
      redraw();
    }
    showTip(n, x, y);
  }

  function select(n, { focus = false } = {}) {
    selected = n;
    selectedLane = n < 0 ? -1 : lanes.findIndex((lane) => lane.r === N.receiver[n]);
    showDetails(n);
    if (n >= 0) {
      reveal(n);
      $("live").textContent = `${receiverName(N.receiver[n])}, ${longName(n)}: ${summary(n)}`;
    }
    for (const button of document.querySelectorAll("#trouble li button")) {
      button.setAttribute("aria-current", String(Number(button.dataset.n) === n));
    }
    hover(-1);
    redraw();
    if (focus) $("details").focus();
  }

  function showDetails(n) {
    const box = $("details");
    if (n < 0) {
      box.replaceChildren(
        make("h2", { textContent: "Details" }),
        make("p", { class: "hint", textContent: "Choose a notification: click it, or move to it with the arrow keys." }),
      );
      return;
    }
    const close = make("button", { class: "linkish", type: "button", textContent: "close" });
    close.onclick = () => { select(-1); scroll.focus(); };
    const only = make("button", { class: "linkish", type: "button", textContent: "only this receiver" });
    only.onclick = () => { $("search").value = chosen.text = data.receivers[N.receiver[n]]; filter(); };
    const zoomTo = make("button", { class: "linkish", type: "button", textContent: "zoom to it" });
    zoomTo.onclick = () => {
      if (view === "grid") show("timeline");
      const a = warp.of(begin[n]), b = warp.of(end[n]);
      scale = (plotWidth() * 0.6) / Math.max(1, b - a);
      clamp();
      from = (a + b) / 2 - plotWidth() / scale / 2;
      clamp();
      redraw();
    };
    const list = make("dl", {},
      make("dt", { textContent: "Receiver" }), make("dd", { class: "id", textContent: receiverName(N.receiver[n]) }),
      make("dt", { textContent: "Type" }), make("dd", { textContent: longName(n) }),
      make("dt", { textContent: "Id" }), make("dd", { class: "id", textContent: N.id[n] || "(none)" }),
      make("dt", { textContent: "Date" }), make("dd", { textContent: `${day(data.t0 + begin[n])}, times in UTC` }),
    );
    const body = make("tbody");
    for (let s = stepFrom[n]; s < stepFrom[n + 1]; s++) {
      const kind = S.kind[s];
      const bad = (kind === ATTEMPTED && !succeeded(s)) || (kind === CONCLUDED && badness[n] > 2);
      const words = [];
      if (S.status[s] && kind !== CALLED) words.push(`HTTP ${S.status[s]}`);
      if (kind === CONCLUDED && S.outcome[s] >= 0) words.unshift(data.outcomes[S.outcome[s]]);
      if (reason(s)) words.push(reason(s));
      const more = [];
      if (s > stepFrom[n] && S.dt[s] > 0) more.push(`+${duration(S.dt[s])}`);
      if (S.latency[s] >= 0) more.push(`POST took ${duration(S.latency[s])}`);
      if (S.queued[s] >= 0) more.push(`${duration(S.queued[s])} after the change`);
      const name = kind === ATTEMPTED && S.attempt[s] > 0 ? `attempt ${S.attempt[s]}` : STEP_NAMES[kind];
      body.append(make("tr", {},
        make("td", { textContent: clock(data.t0 + stepAt[s]) }),
        make("td", { textContent: name }),
        make("td", {}, make("span", { class: bad ? "bad" : "", textContent: words.join(", ") }), more.length ? make("small", { textContent: more.join(", ") }) : ""),
      ));
    }
    box.replaceChildren(
      make("h2", {}, glyph(outcomeOf[n]), make("span", { textContent: `${shortName(n)}: ${outcomeOf[n]}` }), make("span", { class: "grow" }), close),
      list, make("table", { class: "steps" }, body), make("p", { class: "links" }, zoomTo, only),
    );
  }

  // --------------------------------------------------------------------- head, chips, what failed

  function buildHead() {
    $("training").textContent = data.training;
    const a = data.t0 + t0, b = data.t0 + t1;
    const facts = count
      ? [
        `${day(a)} ${clock(a, 1000)} to ${day(a) === day(b) ? "" : `${day(b)} `}${clock(b, 1000)} UTC (${duration(b - a)})`,
        plural(data.receivers.length, "receiver"),
        plural(count, "notification"),
        `read ${day(data.made_at)} ${clock(data.made_at, 60000)} UTC`,
      ]
      : ["No steps in the log."];
    // A line ends between two of them only.
    $("span").replaceChildren(...facts.flatMap((fact, i) => [i ? " · " : "", make("span", { textContent: fact })]));
    $("key-mailbox").hidden = !S.kind.some((kind) => kind === DEPOSITED || kind === FETCHED);
    if (data.note) {
      $("note").textContent = data.note;
      $("note").hidden = false;
    }
    const many = new Map(), receivers = new Map();
    for (let n = 0; n < count; n++) {
      many.set(N.outcome[n], (many.get(N.outcome[n]) || 0) + 1);
      if (!receivers.has(N.outcome[n])) receivers.set(N.outcome[n], new Set());
      receivers.get(N.outcome[n]).add(N.receiver[n]);
    }
    data.outcomes.forEach((outcome, i) => {
      const c = many.get(i) || 0;
      if (!c && !KNOWN.includes(outcome)) return;
      const tile = make("button", { class: c ? "tile" : "tile none", type: "button", "aria-pressed": "false" },
        glyph(outcome), make("b", { textContent: number(c) }),
        make("small", {}, outcome, c ? make("span", { textContent: `, ${plural(receivers.get(i).size, "receiver")}` }) : ""));
      tile.dataset.outcome = String(i);
      tile.onclick = () => { toggle(chosen.outcomes, i, tile); filter(); };
      $("outcomes").append(tile);
    });
    const types = new Map();
    for (let n = 0; n < count; n++) types.set(N.type[n], (types.get(N.type[n]) || 0) + 1);
    for (const change of inOrder) {
      const t = change.type;
      if (!types.has(t)) continue;
      const chip = make("button", { class: "chip", type: "button", "aria-pressed": "false", title: data.types[t] },
        shortType(data.types[t]) || "(none)", make("span", { textContent: number(types.get(t)) }));
      chip.dataset.type = data.types[t];
      chip.onclick = () => { toggle(chosen.types, t, chip); filter(); };
      $("types").append(chip);
      types.delete(t);
    }
  }
  function toggle(set, value, button) {
    if (!set.delete(value)) set.add(value);
    button.setAttribute("aria-pressed", String(set.has(value)));
  }
  function clearFilters() {
    chosen.outcomes.clear();
    chosen.types.clear();
    $("search").value = chosen.text = "";
    for (const button of document.querySelectorAll(".tile, .chip")) button.setAttribute("aria-pressed", "false");
    filter();
  }

  // By reason, the most frequent first: a hundred receivers usually fail for two reasons.
  function buildTrouble() {
    const groups = new Map();
    for (let n = 0; n < count; n++) {
      if (badness[n] < 2) continue;
      const text = badness[n] === 2 ? (attemptsOf[n] ? "still trying" : inMailbox(n) ? "in its mailbox" : "not tried yet") : why(n) || "no reason given";
      const key = `${4 - badness[n]} ${outcomeOf[n]} ${text}`;
      if (!groups.has(key)) groups.set(key, { outcome: outcomeOf[n], text, rank: 4 - badness[n], list: [] });
      groups.get(key).list.push(n);
    }
    const bad = [...groups.values()].filter((g) => g.rank < 2);
    const open = [...groups.values()].filter((g) => g.rank === 2);
    const total = (list) => list.reduce((sum, g) => sum + g.list.length, 0);
    const box = $("trouble");
    box.append(make("h2", { textContent: bad.length ? `What failed (${number(total(bad))})` : "What failed" }));
    if (!bad.length) box.append(make("p", {}, glyph("accepted"), open.length ? " Nothing so far." : " Nothing."));
    bad.sort((a, b) => a.rank - b.rank || b.list.length - a.list.length).forEach((g) => box.append(group(g, bad.length < 4)));
    if (open.length) {
      box.append(make("h2", { textContent: `Without an outcome (${number(total(open))})` }));
      open.sort((a, b) => b.list.length - a.list.length).forEach((g) => box.append(group(g, false)));
    }
  }
  function group({ outcome, text, list }, open) {
    list.sort((a, b) => end[a] - end[b]);
    const items = make("ul");
    const head = make("summary", {}, glyph(outcome), make("span", { textContent: `${outcome}: ${text}` }), make("b", { textContent: number(list.length) }));
    const element = make("details", { class: "group", open: open && list.length < 30 }, head, items);
    let listed = 0;
    const more = make("button", { class: "more", type: "button" });
    const add = () => {
      for (const n of list.slice(listed, listed + 50)) {
        const button = make("button", { type: "button" },
          make("span", { class: "id", textContent: receiverName(N.receiver[n]) }),
          make("small", { textContent: `${shortName(n)}, ${clock(data.t0 + end[n], 1000)}, ${plural(attemptsOf[n], "attempt")}` }));
        button.dataset.n = String(n);
        button.onclick = () => {
          if (!lanes.some((lane) => lane.list.includes(n))) clearFilters();
          select(n);
        };
        items.append(make("li", {}, button));
      }
      listed = Math.min(list.length, listed + 50);
      more.hidden = listed >= list.length;
      more.textContent = `Show ${number(Math.min(50, list.length - listed))} more of ${number(list.length - listed)}`;
    };
    more.onclick = add;
    const fill = () => { if (element.open && !listed) { add(); element.append(more); } };
    element.addEventListener("toggle", fill);
    fill();
    return element;
  }

  // --------------------------------------------------------------------------------- interaction

  function zoom(factor, x = gutter + plotWidth() / 2) {
    if (view !== "timeline") return;
    const at = from + (x - gutter) / scale;
    scale *= factor;
    clamp();
    from = at - (x - gutter) / scale;
    clamp();
    hover(-1);
    redraw();
  }
  function pan(px) {
    if (view === "grid") gridX += px; else from += px / scale;
    clamp();
    redraw();
  }
  function move(lanesDown, notificationsRight) {
    if (!lanes.length) return;
    let i = selectedLane;
    if (i < 0) {
      i = laneAt(scroll.scrollTop + 1);
      return select(lanes[i].list[0]);
    }
    const lane = lanes[i];
    if (notificationsRight) {
      const k = lane.list.indexOf(selected);
      return select(lane.list[Math.min(Math.max(k + notificationsRight, 0), lane.list.length - 1)]);
    }
    const next = lanes[Math.min(Math.max(i + lanesDown, 0), lanes.length - 1)];
    // Stay at the same change if that lane has it, else at the nearest in time.
    let best = next.list[0];
    for (const n of next.list) {
      const distance = (m) => (changeOf[m] === changeOf[selected] ? -1 : Math.abs(begin[m] - begin[selected]));
      if (distance(n) < distance(best)) best = n;
    }
    select(best);
  }

  scroll.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowDown: () => move(1, 0), ArrowUp: () => move(-1, 0),
      ArrowRight: () => (event.shiftKey ? pan(120) : move(0, 1)), ArrowLeft: () => (event.shiftKey ? pan(-120) : move(0, -1)),
      PageDown: () => move(Math.max(1, Math.floor(height / 60)), 0), PageUp: () => move(-Math.max(1, Math.floor(height / 60)), 0),
      Home: () => move(-lanes.length, 0), End: () => move(lanes.length, 0),
      "+": () => zoom(1.5, selected < 0 ? undefined : place(selected)?.x), "=": () => zoom(1.5, selected < 0 ? undefined : place(selected)?.x),
      "-": () => zoom(1 / 1.5, selected < 0 ? undefined : place(selected)?.x),
      0: () => { fit(); redraw(); },
      Enter: () => selected >= 0 && $("details").focus(),
      Escape: () => select(-1),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      $("search").focus();
    } else if (event.key === "Escape" && $("details").contains(document.activeElement)) {
      scroll.focus();
    }
  });

  scroll.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.004)), event.offsetX);
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan(event.deltaX || event.deltaY);
    }
  }, { passive: false });

  let drag = null;
  const point = (event) => {
    const box = scroll.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  scroll.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const [x, y] = point(event);
    if (x > width) return;              // the scroll bar
    drag = { x, y, moved: false, id: event.pointerId };
  });
  scroll.addEventListener("pointermove", (event) => {
    const [x, y] = point(event);
    if (drag) {
      if (!drag.moved && Math.abs(x - drag.x) < 4) return;
      if (!drag.moved) {
        scroll.setPointerCapture(drag.id);
        scroll.classList.add("panning");
        hover(-1);
      }
      drag.moved = true;
      pan(drag.x - x);
      drag.x = x;
    } else if (event.pointerType === "mouse") {
      hover(hit(x, y), x, y);
    }
  });
  scroll.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [x, y] = point(event);
    scroll.classList.remove("panning");
    if (!drag.moved) {
      const n = hit(x, y), i = laneIndexAt(y);
      if (n >= 0) select(n);
      else if (i >= 0 && x < gutter) select(lanes[i].list.reduce((a, b) => (badness[b] > badness[a] ? b : a)));
    }
    drag = null;
  });
  scroll.addEventListener("pointercancel", () => { drag = null; scroll.classList.remove("panning"); });
  scroll.addEventListener("pointerleave", () => hover(-1));
  scroll.addEventListener("dblclick", (event) => { const [x] = point(event); if (x > gutter) zoom(3, x); });
  scroll.addEventListener("scroll", () => { hover(-1); redraw(); }, { passive: true });

  $("zoom-in").onclick = () => zoom(1.8);
  $("zoom-out").onclick = () => zoom(1 / 1.8);
  $("zoom-fit").onclick = () => { fit(); redraw(); };
  $("idle").checked = worthSkipping;
  $("idle-pick").hidden = !worthSkipping;
  $("idle").onchange = (event) => { warp = event.target.checked ? skipped : plain; fit(); filter(); };
  $("order").onchange = (event) => { order = event.target.value; scroll.scrollTop = 0; filter(); };
  let typing = 0;
  $("search").oninput = (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => { chosen.text = event.target.value; scroll.scrollTop = 0; filter(); }, 80);
  };
  $("clear").onclick = $("empty-clear").onclick = clearFilters;
  function show(name) {
    view = name;
    axis = name === "grid" ? 66 : 46;
    document.body.dataset.view = name;
    for (const each of ["timeline", "grid"]) $(`view-${each}`).setAttribute("aria-pressed", String(each === name));
    $("zoom").hidden = name === "grid";
    $("idle-pick").hidden = name === "grid" || !worthSkipping;
    filter();
    clamp();
    if (selected >= 0) reveal(selected);
  }
  $("view-timeline").onclick = () => show("timeline");
  $("view-grid").onclick = () => show("grid");

  // --------------------------------------------------------------------------------------- start

  readStyle();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readStyle(); redraw(); });
  buildHead();
  buildTrouble();
  showDetails(-1);
  filter();
  new ResizeObserver(resize).observe(scroll);
  resize();
  fit();
  draw();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
