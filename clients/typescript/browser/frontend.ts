// Serves the example of docs/tutorials/frontend.md as a frontend on an origin of its own.
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";

const TYPES: Record<string, string> = { html: "text/html; charset=utf-8", js: "text/javascript", mjs: "text/javascript" };
const root = new URL("../../", import.meta.url);
const places: [prefix: string, folder: string][] = [
  ["/gatepost-client/", "dist/"],
  ["/openapi-fetch/", "node_modules/openapi-fetch/dist/"],
  ["/app.js", "out/example/app.js"],
  ["/", "example/index.html"],
];

export async function serve(port: number, gatepost: string): Promise<Server> {
  const server = createServer(async (request, answer) => {
    const path = request.url ?? "/";
    const [prefix, folder] = places.find(([start]) => path.startsWith(start)) ?? ["", ""];
    const name = folder.endsWith("/") ? folder + path.slice(prefix.length) : folder;
    const text = await readFile(new URL(name, root), "utf8");
    answer.setHeader("Content-Type", TYPES[name.split(".").at(-1) ?? ""] ?? "text/plain");
    answer.end(text.replace('content="http://127.0.0.1:8000"', `content="${gatepost}"`));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}
