// The official MCP client, as it comes: it finds out by itself where to get a token, signs in, calls a tool, refreshes,
// and asks for more when a scope is missing. Only where names lead is said here: both hosts are on this machine.
import https from "node:https";
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

const places = new Map(JSON.parse(process.env.PLACES)); // host -> { host, port } here
const server = new URL(process.env.SERVER);

// fetch over TLS with the test's authority (NODE_EXTRA_CA_CERTS), to where the names lead here.
async function fetchHere(input, init = {}) {
  const request = new Request(input, { ...init, duplex: "half" });
  const url = new URL(request.url);
  const body = request.body ? Buffer.from(await request.arrayBuffer()) : undefined;
  return await new Promise((resolve, reject) => {
    const headers = { ...Object.fromEntries(request.headers), host: url.host };
    if (body) headers["content-length"] = String(body.length);
    const options = { ...places.get(url.hostname), servername: url.hostname, method: request.method, path: url.pathname + url.search, headers };
    const sent = https.request(options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => {
        const told = new Headers();
        for (const [name, value] of Object.entries(answer.headers)) told.set(name, String(value));
        const empty = [101, 204, 205, 304].includes(answer.statusCode);
        resolve(new Response(empty ? null : Buffer.concat(parts), { status: answer.statusCode, headers: told }));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

const kept = {};
const provider = {
  redirectUrl: "http://localhost:1/callback",
  clientMetadata: { client_name: "test", redirect_uris: ["http://localhost:1/callback"], token_endpoint_auth_method: "none" },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  redirectToAuthorization: (url) => void (kept.url = url),
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  codeVerifier: () => kept.verifier,
};

// The person at the browser: signs in, and comes back with a code.
async function signIn(transport) {
  const answer = await fetchHere(kept.url);
  const back = new URL(answer.headers.get("location"));
  await transport.finishAuth(back.searchParams);
}

const made = () => new StreamableHTTPClientTransport(server, { authProvider: provider, fetch: fetchHere });
const say = (what, value) => console.log(JSON.stringify({ [what]: value }));

async function attempt(run) {
  for (let tries = 0; ; tries += 1) {
    const transport = made();
    const client = new Client({ name: "test", version: "1" });
    try {
      await client.connect(transport);
      return await run(client);
    } catch (error) {
      if (!(error instanceof UnauthorizedError) || tries >= 4) throw error;
      await signIn(transport);
    }
  }
}

const call = async (client) => (await client.callTool({ name: "whoami", arguments: {} })).content[0].text;
say("called", await attempt(call));
say("scope", kept.tokens.scope);
// A token that is good no more: the client gets another one by itself.
kept.tokens = { ...kept.tokens, access_token: kept.tokens.access_token.slice(0, -8) + "AAAAAAAA" };
say("refreshed", await attempt(call));
