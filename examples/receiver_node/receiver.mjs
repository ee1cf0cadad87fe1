// A participant in Node.js 18 or later, without any package:
//
//   WEBHOOK_SECRET=$(fl-notifications secret UUID) PORT=8902 node receiver.mjs
//
// With the package `standardwebhooks`, `new Webhook(secret).verify(body, headers)` does what
// `verify` does here.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace("whsec_", ""), "base64");
const TOLERANCE_SECONDS = 300;
const MOST_BYTES = 1_000_000;
const seen = new Set(); // in a database, if it is to outlive this process

// Whether the body is signed by the service, and not long ago. The body as it came: before JSON.parse.
function verify(headers, body) {
  const [id, at] = [headers["webhook-id"], headers["webhook-timestamp"]];
  if (!id || !at || !(Math.abs(Date.now() / 1000 - Number(at)) <= TOLERANCE_SECONDS)) return false;
  const expected = createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest();
  // Two while the secret is being rotated: one that fits is enough.
  return (headers["webhook-signature"] ?? "").split(" ").some((signature) => {
    const given = Buffer.from(signature.replace("v1,", ""), "base64");
    return signature.startsWith("v1,") && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

function work({ notification_type, body }) {
  console.log(`working on ${notification_type}${body.round === undefined ? "" : ` ${body.round}`}`);
}

const server = createServer((request, response) => {
  const answer = (status) => response.writeHead(status, { "Content-Length": 0 }).end();
  const chunks = [];
  let size = 0;
  request.on("data", (chunk) => {
    size += chunk.length;
    if (size > MOST_BYTES) request.destroy();
    else chunks.push(chunk);
  });
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    if (request.method !== "POST" || request.url !== "/messages") return answer(404);
    if (!verify(request.headers, body)) return answer(401);
    const id = request.headers["webhook-id"];
    answer(202); // at once: the service waits a few seconds only
    if (seen.has(id)) return; // after a crash on the other side it may come once more
    seen.add(id);
    setImmediate(work, JSON.parse(body));
  });
});

server.listen(Number(process.env.PORT ?? 8902), "127.0.0.1", () =>
  console.log(`listening at http://127.0.0.1:${server.address().port}/messages`),
);
